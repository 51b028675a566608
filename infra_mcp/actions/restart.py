"""Restart: new pods for an app as it is. No file changes: the driver marks the pod template in the cluster."""

from infra_mcp.actions.base import Look
from infra_mcp.actions.workload import catalogued, goal, ref_of
from infra_mcp.model.actions.restart import Restart
from infra_mcp.repository.edits import Beside, Edit


async def edit(look: Look, action: Restart) -> Edit:
    """Change no file, and ask the driver for a restart.

    Raises:
        InfraError: `not-found`.
    """
    app = catalogued(look, action.app)
    work = Beside(driver="kubernetes", target=ref_of(look.place, app).target, work="restart")
    return Edit(look.tree, goal(app, f"Restart {action.app}", action.app, done="restarted"), beside=(work,))
