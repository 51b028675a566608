"""Scale: sets the replicas of an app's workload in its manifest, and nothing else."""

from anyio import to_thread

from infra_mcp.actions.base import Look, set_fields
from infra_mcp.actions.workload import goal, workload
from infra_mcp.errors import InfraError
from infra_mcp.model.actions.scale import Scale
from infra_mcp.repository.edits import Edit


async def edit(look: Look, action: Scale) -> Edit:
    """Set the number of replicas, or add it to the manifest.

    Raises:
        InfraError: `invalid-argument`: it is a DaemonSet; `not-found`, `not-in-repository`, or the manifest cannot be
            found or edited.
    """
    return await to_thread.run_sync(_edit, look, action)  # it searches every file that could not be read


def _edit(look: Look, action: Scale) -> Edit:
    app, located = workload(look, action.app)
    if located.ref.kind == "DaemonSet":
        what = f"{action.app} cannot be scaled: {located.ref} is a DaemonSet, which runs one pod on each node."
        step = "Change in its manifest which nodes it selects."
        raise InfraError("invalid-argument", what, next_step=step)
    title = f"Scale {action.app} to {action.replicas}"
    made = Edit(look.tree, goal(app, title, action.app, done=f"scaled to {action.replicas}"))
    return set_fields(made, located, {"spec": {"replicas": action.replicas}})
