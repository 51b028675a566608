"""Restart: new pods for an app as it is. No file changes: the driver marks the pod template in the cluster."""

from infra_mcp.actions.base import Look
from infra_mcp.actions.workload import catalogued, goal, ref_of
from infra_mcp.errors import InfraError
from infra_mcp.model.actions.restart import Restart
from infra_mcp.repository.edits import Beside, Edit


async def edit(look: Look, action: Restart) -> Edit:
    """Change no file, and ask the driver for a restart.

    Raises:
        InfraError: `not-found`; `environment-needed`; `not-in-repository`.
    """
    app = catalogued(look, action.app)
    ref = ref_of(look.place, app)
    namespaces = app.namespaces(action.environment) if app.environments else {ref.namespace}
    if action.environment is not None and action.environment not in app.environments:
        known = ", ".join(sorted(app.environments)) or "none"
        what = f"infra.toml names no environment {action.environment} of {action.app}; it names {known}."
        raise InfraError("not-found", what)
    if len(namespaces) > 1:
        what = f"{action.app} runs in several environments: {', '.join(sorted(app.environments))}."
        raise InfraError("environment-needed", what)
    target = ref.model_copy(update={"namespace": next(iter(namespaces))}).target
    work = Beside(driver="kubernetes", target=target, work="restart")
    return Edit(look.tree, goal(app, f"Restart {action.app}", action.app, done="restarted"), beside=(work,))
