"""Scale: sets the replicas of an app where they are decided, and nothing else."""

from dataclasses import replace

from anyio import to_thread

from infra_mcp.actions.base import Look, set_fields
from infra_mcp.actions.located import change_of, edited, instance_of
from infra_mcp.actions.settings import instance_if_known, with_declared
from infra_mcp.actions.workload import goal, manifest
from infra_mcp.errors import InfraError
from infra_mcp.model.actions.base import InstanceAction
from infra_mcp.model.actions.scale import Scale
from infra_mcp.model.setting import check
from infra_mcp.repository.edits import Edit
from infra_mcp.repository.locator.value import locate_replicas


async def edit(look: Look, action: Scale) -> Edit:
    """Set the number of replicas; in a manifest that is applied as it is, add it where it is not there.

    Raises:
        InfraError: `invalid-argument`: it is a DaemonSet; `not-found`, `environment-needed`, `not-in-repository`,
            `ambiguous-setting`; or a file cannot be read or edited.
    """
    return await to_thread.run_sync(_edit, look, action)  # it searches the files of the repository


def _edit(look: Look, action: Scale) -> Edit:
    done = f"scaled to {action.replicas}"
    title = f"Scale {action.app} to {action.replicas}"
    made = Edit(look.tree, goal(look.policy.apps.get(action.app), title, action.app, done=done))
    return with_replicas(look, made, action, action.replicas)


def with_replicas(look: Look, made: Edit, about: InstanceAction, replicas: int) -> Edit:
    """An edit that sets the number of an app's replicas, too: where policy declares it, else where it is found.

    Raises:
        InfraError: as `edit`.
    """
    app = about.app
    rule = look.policy.setting(app, "replicas")
    if rule is not None:
        check(rule, replicas, name="replicas")
    if rule is not None and rule.at:
        made = with_declared(look, made, about, "replicas", rule, replicas)
        instance = instance_if_known(look, app, about.environment)
        return made if instance is None else replace(made, instance=change_of(instance, "", str(replicas)))
    located = manifest(look, app, about.environment)
    if located is not None:
        _require_scalable(app, located.ref.kind, str(located.ref))
        return set_fields(made, located, {"spec": {"replicas": replicas}})
    instance = instance_of(look, app, about.environment)
    for unit in instance.units:
        _require_scalable(app, unit.kind, str(unit))
    found = locate_replicas(look.census, instance, replicas)
    made = replace(made, instance=change_of(instance, found.former, found.version), notes=tuple(found.notes))
    return edited(look, made, found.sets)


def _require_scalable(app: str, kind: str, name: str) -> None:
    if kind == "DaemonSet":
        what = f"{app} cannot be scaled: {name} is a DaemonSet, which runs one pod on each node."
        step = "Change in its manifest which nodes it selects."
        raise InfraError("invalid-argument", what, next_step=step)
