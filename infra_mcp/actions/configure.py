"""Configure: sets values of an app where they stand, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from anyio import to_thread

from infra_mcp.actions.base import Look
from infra_mcp.actions.located import change_of, edited, instance_of
from infra_mcp.actions.scale import with_replicas
from infra_mcp.actions.workload import goal
from infra_mcp.errors import InfraError
from infra_mcp.model.actions.configure import Configure, SettingValue
from infra_mcp.model.effect import FieldPath
from infra_mcp.model.location import At, show_field
from infra_mcp.model.setting import check
from infra_mcp.policy.owners import is_within
from infra_mcp.policy.sections import AppRules, SettingRules
from infra_mcp.repository.edit import apply_edits
from infra_mcp.repository.edits import Edit, Location, SetValue
from infra_mcp.repository.layers import parsed
from infra_mcp.repository.locator.version import locate
from infra_mcp.repository.nodes import Unreadable, compose, decode, values
from infra_mcp.repository.partial import get_path, same
from infra_mcp.repository.value import Tree

_NAMED = 4  # settings named in a commit's subject


async def edit(look: Look, action: Configure) -> Edit:
    """Set each value in every location of its setting, all of them in one commit.

    Raises:
        InfraError: `not-in-repository`: a location is not there; `ambiguous-setting`: several documents have it;
            `environment-needed`; `encrypted`; `invalid-argument`; `manifest-invalid`: the file cannot be edited.
    """
    return await to_thread.run_sync(_edit, look, action)


def _edit(look: Look, action: Configure) -> Edit:
    app = look.policy.apps.get(action.app, AppRules())
    names = sorted(action.settings)
    shown = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
    title = f"Configure {action.app}: {shown}"
    made = Edit(look.tree, goal(app, title, action.app, done="configured", on_failure=action.on_failure))
    changes: dict[str, SetValue] = {}
    for name in names:
        rule = look.policy.setting(action.app, name)
        if rule is None:
            raise InfraError("not-found", f"App {action.app} has no setting {name}.")
        if not rule.at:
            made = _built_in(look, made, action, name, rule)
            continue
        for at in _of_environment(app, name, rule.places, action):
            change = _set(look, name, rule, at, action.settings[name])
            if changes.setdefault(str(at), change) is not change:
                raise InfraError("invalid-argument", f"Two of the settings stand at {at}.")
    wanted = [one for one in changes.values() if not same(one.before, one.after)]
    places = tuple(Location(path=one.path, document=one.document, field=one.field) for one in changes.values())
    return replace(
        made,
        tree=apply_edits(made.tree, wanted),
        changes=(*made.changes, *wanted),
        addressed=(*made.addressed, *places),
    )


def _built_in(look: Look, made: Edit, action: Configure, name: str, rule: SettingRules) -> Edit:
    """A setting whose place policy does not name: the replicas and the chart's version, where they are decided."""
    if name == "chart":
        return _with_chart(look, made, action, str(check(rule, action.settings[name], name=name)))
    if name != "replicas":
        what = f"infra.toml does not say where setting {name} of {action.app} stands."
        step = f'Add at = "path#field" to [apps.{action.app}.settings.{name}].'
        raise InfraError("not-in-repository", what, next_step=step)
    number = check(rule, action.settings[name], name=name)
    if type(number) is not int:
        raise InfraError("invalid-argument", "The number of replicas is a whole number.")
    return with_replicas(look, made, action.app, action.environment, number)


def _with_chart(look: Look, made: Edit, action: Configure, version: str) -> Edit:
    instance = instance_of(look, action.app, action.environment)
    found = locate(look.census, instance, version, setting="chart")
    change = change_of(instance, found.former, found.version)
    return edited(look, replace(made, instance=change, notes=(*made.notes, *found.notes)), found.sets)


def _of_environment(app: AppRules, name: str, places: tuple[At, ...], action: Configure) -> tuple[At, ...]:
    """The locations of a setting in one environment: those below what it names, where environments name anything."""
    scopes = {one: its.places for one, its in app.environments.items() if its.places}
    homes = [(at, [one for one, scope in scopes.items() if any(_covers(its, at) for its in scope)]) for at in places]
    if action.environment is None:
        several = sorted({one for _, found in homes for one in found})
        if len(several) > 1:
            what = f"Setting {name} stands in several environments: {', '.join(several)}."
            raise InfraError("environment-needed", what)
        return places
    if not scopes:
        return places
    found = tuple(at for at, own in homes if own == [action.environment])
    if not found:
        what = f"Setting {name} has no location of its own in environment {action.environment}."
        step = f"Add one to at in [apps.{action.app}.settings.{name}], below what the environment names."
        raise InfraError("not-in-repository", what, next_step=step)
    return found


def _covers(scope: At, at: At) -> bool:
    if scope.field or scope.document is not None:
        same_document = scope.document in (None, at.document)
        return at.path == scope.path and same_document and at.field[: len(scope.field)] == scope.field
    return is_within(at.path, scope.path)


def _set(look: Look, name: str, rule: SettingRules, at: At, value: SettingValue) -> SetValue:
    """The change of one location."""
    index, body, field, inside = _find(look.tree, name, at)
    before = get_path(body, field)[1]
    if inside is not None:
        before = get_path(parsed(before), inside)[1]
    if isinstance(before, dict | list):
        raise InfraError("manifest-invalid", f"{at} holds a map or a list, and setting {name} is a single value.")
    sealed = body.get("sops") if isinstance(body, dict) else None
    if (isinstance(before, str) and before.startswith("ENC[")) or (
        isinstance(sealed, dict) and sealed.get("mac_only_encrypted") is not True
    ):
        what = f"{at.path} is encrypted, and its authentication code would no longer fit an edited file."
        raise InfraError("encrypted", what)
    root = look.policy.root_of(at.path)
    after = check(rule, value, name=name, delivery=root.delivery if root else "", before=before)
    whole = [one for one in look.tree.objects_of(at.path) if (one.index, one.at) == (index, ())]
    ref = whole[0].ref if whole else None
    return SetValue(path=at.path, document=index, ref=ref, field=field, inside=inside, before=before, after=after)


def _find(tree: Tree, name: str, at: At) -> tuple[int, Any, FieldPath, FieldPath | None]:
    """The document of a location: its number, its content, the field, and the field in the text that it may hold.

    Raises:
        InfraError: as `edit`.
    """
    step = f"Correct at of setting {name} in infra.toml, or add the value by hand."
    data = tree.read(at.path)
    if data is None:
        raise InfraError("not-in-repository", f"There is no file {at.path}.", next_step=step)
    try:
        documents = values(compose(decode(data)))
    except Unreadable as error:
        raise InfraError("manifest-invalid", f"{at.path}, line {error.line}: {error.why}.") from None
    found = list(_having(documents, at))
    if not found:
        raise InfraError("not-in-repository", f"There is no value at {at}.", next_step=step)
    if len(found) > 1:
        lines = ", ".join(str(at._replace(document=index)) for index, *_ in found[:_NAMED])
        what = f"{len(found)} documents of {at.path} have {show_field(at.field)}."
        raise InfraError("ambiguous-setting", what, next_step=f"Name one of them in infra.toml: {lines}.")
    return found[0]


def _having(documents: list[Any], at: At) -> Iterator[tuple[int, Any, FieldPath, FieldPath | None]]:
    for index, body in enumerate(documents):
        if at.document not in (None, index):
            continue
        if get_path(body, at.field)[0]:
            yield index, body, at.field, None
            continue
        for end in range(1, len(at.field)):
            text = get_path(body, at.field[:end])[1]
            if isinstance(text, str):  # YAML in a text, as Argo CD's `helm.values` is
                if get_path(parsed(text), at.field[end:])[0]:
                    yield index, body, at.field[:end], at.field[end:]
                break
