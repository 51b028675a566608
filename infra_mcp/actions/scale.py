"""Scale: the replicas of an app's workload, where its manifest says them, and nothing beside it."""

from __future__ import annotations

from anyio import to_thread

from infra_mcp.actions.base import Look, set_fields
from infra_mcp.actions.workload import goal, workload
from infra_mcp.errors import InfraError
from infra_mcp.model.actions.scale import Scale
from infra_mcp.repository.edits import Edit


async def edit(look: Look, action: Scale) -> Edit:
    """Set the number of replicas; where the manifest says none it is added.

    Raises:
        InfraError: `invalid-argument`: it is a DaemonSet; `not-found`, `not-in-repository`, and what finding and
            editing raise.
    """
    return await to_thread.run_sync(_edit, look, action)  # every file that could not be read is looked through


def _edit(look: Look, action: Scale) -> Edit:
    app, located = workload(look, action.app)
    if located.ref.kind == "DaemonSet":
        what = f"{action.app} cannot be scaled: {located.ref} is a DaemonSet, which runs one pod on each node."
        step = "Change in its manifest which nodes it selects."
        raise InfraError("invalid-argument", what, next_step=step)
    done = set_fields(look.tree, located, {"spec": {"replicas": action.replicas}})
    said = f"Scale {action.app} to {action.replicas}"
    end = goal(app, said, action.app, done=f"scaled to {action.replicas}")
    return Edit(done.tree, end, done.changes, done.addressed)
