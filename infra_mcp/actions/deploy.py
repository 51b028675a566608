"""Deploy: sets the image of the app's containers in the workload's manifest, and nothing else."""

from anyio import to_thread

from infra_mcp.actions.base import Look, set_fields
from infra_mcp.actions.workload import goal, workload
from infra_mcp.errors import InfraError
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.policy.images import containers_of
from infra_mcp.repository.edits import Edit


async def edit(look: Look, action: Deploy) -> Edit:
    """Set the image of every container that runs the app's repository.

    Raises:
        InfraError: `not-found`, `not-in-repository`, or the manifest cannot be found or edited.
    """
    return await to_thread.run_sync(_edit, look, action)  # it searches every file that could not be read


def _edit(look: Look, action: Deploy) -> Edit:
    app, located = workload(look, action.app)
    image, repository = app.image_for(action.version), app.repository
    if image is None or repository is None:
        what = f"The app {action.app} has no image in infra.toml."
        raise InfraError("not-in-repository", what, next_step='Add image = "…:{version}" to its section.')
    lists: dict[str, list[dict[str, str]]] = {}
    for which, name, _ in containers_of(located.object, repository):
        lists.setdefault(which, []).append({"name": name, "image": image})
    if not lists:
        what = f"No container of {located.ref} in {located.path} has an image of {repository}."
        raise InfraError("not-in-repository", what, next_step="Correct the app's image in infra.toml, or the manifest.")
    runs = f"{action.app} {action.version}"
    made = Edit(look.tree, goal(app, f"Deploy {runs}", runs, on_failure=action.on_failure))
    return set_fields(made, located, {"spec": {"template": {"spec": lists}}})
