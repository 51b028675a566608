"""Configure: sets values of an app where they stand, and nothing else."""

from __future__ import annotations

from dataclasses import replace

from anyio import to_thread

from infra_mcp.actions.base import Look
from infra_mcp.actions.located import change_of, edited, instance_of
from infra_mcp.actions.scale import with_replicas
from infra_mcp.actions.settings import instance_if_known, with_declared
from infra_mcp.actions.workload import goal
from infra_mcp.errors import InfraError
from infra_mcp.model.actions.configure import Configure
from infra_mcp.model.setting import check
from infra_mcp.policy.sections import SettingRules
from infra_mcp.repository.census.apps import Instance
from infra_mcp.repository.edits import Edit
from infra_mcp.repository.locator.version import locate

_NAMED = 4  # settings named in a commit's subject


async def edit(look: Look, action: Configure) -> Edit:
    """Set each value in every place of its setting, all of them in one commit.

    Raises:
        InfraError: `not-in-repository`: a place is not there; `ambiguous-setting`: several documents have it;
            `environment-needed`; `shared-place`; `no-effect`; `automation`; `encrypted`; `invalid-argument`;
            `manifest-invalid`: the file cannot be edited.
    """
    return await to_thread.run_sync(_edit, look, action)


def _edit(look: Look, action: Configure) -> Edit:
    names = sorted(action.settings)
    shown = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
    app = look.policy.apps.get(action.app)
    title = f"Configure {action.app}: {shown}"
    made = Edit(look.tree, goal(app, title, action.app, done="configured", on_failure=action.on_failure))
    for name in names:
        rule = look.policy.setting(action.app, name)
        if rule is None:
            declared = ", ".join(sorted(look.policy.settings_of(action.app)))
            what = f"App {action.app} has no setting {name}."
            raise InfraError("not-found", what, next_step=f"One of: {declared}; or declare it in infra.toml.")
        made = _with(look, made, action, name, rule)
    known = instance_if_known(look, action.app, action.environment)
    instance = known or Instance(action.app, action.environment, ())
    values = ", ".join(f"{name}={action.settings[name]}" for name in names)
    return replace(made, instance=change_of(instance, "", values))


def _with(look: Look, made: Edit, action: Configure, name: str, rule: SettingRules) -> Edit:
    value = action.settings[name]
    if rule.at:
        return with_declared(look, made, action, name, rule, value)
    if name == "replicas":
        number = check(rule, value, name=name)
        if type(number) is not int:
            raise InfraError("invalid-argument", "The number of replicas is a whole number.")
        return with_replicas(look, made, action, number)
    if name == "chart":
        version = str(check(rule, value, name=name))
        instance = instance_of(look, action.app, action.environment)
        found = locate(look.census, instance, version, setting="chart")
        made = replace(made, instance=change_of(instance, found.former, found.version))
        return edited(look, replace(made, notes=(*made.notes, *found.notes)), found.sets)
    what = f"infra.toml does not say where setting {name} of {action.app} stands."
    step = f'Add at = "path#field" to [apps.{action.app}.settings.{name}].'
    raise InfraError("not-in-repository", what, next_step=step)
