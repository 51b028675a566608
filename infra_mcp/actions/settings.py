"""Where the settings of an app stand: the places that policy declares, for the instance that a request is about."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import JsonValue

from infra_mcp.actions.base import Look
from infra_mcp.actions.located import edited, environments_of, instance_of, require_plain
from infra_mcp.actions.workspaces import escapes_of, fitted
from infra_mcp.errors import InfraError
from infra_mcp.model.actions.base import InstanceAction
from infra_mcp.model.effect import FieldPath
from infra_mcp.model.location import At, show_field
from infra_mcp.model.setting import check
from infra_mcp.policy.owners import is_within
from infra_mcp.policy.sections import AppRules, SettingRules
from infra_mcp.policy.terraform import SYSTEM
from infra_mcp.repository.census.apps import Instance
from infra_mcp.repository.census.unit import Unit
from infra_mcp.repository.edits import Edit, FileEdit, SetValue
from infra_mcp.repository.layers import Spot, parsed
from infra_mcp.repository.locator.automation import automation
from infra_mcp.repository.locator.version import require_own
from infra_mcp.repository.partial import get_path, same
from infra_mcp.repository.value import Tree

_NAMED = 4  # places named in a message


def instance_if_known(look: Look, app: str, environment: str | None) -> Instance | None:
    """The instance of an app that a request is about; None for one that only policy knows, with its environments.

    Raises:
        InfraError: `not-found`: the app has no such environment.
    """
    rules = look.policy.apps.get(app, AppRules())
    found = environments_of(look, app)
    if not found or (environment is None and len(found) > 1):
        return None
    if environment in rules.environments and environment not in found:
        return None
    return instance_of(look, app, environment)


def places(look: Look, app: str, environment: str | None, name: str, rule: SettingRules) -> list[Spot]:
    """The declared places of a setting in one environment, each with the value that stands there.

    Raises:
        InfraError: `not-in-repository`: a place is not there, or none is of this environment; `ambiguous-setting`:
            several documents have it; `environment-needed`; `shared-place`: it is another environment's, too;
            `no-effect`: something else decides in this environment.
    """
    chosen = _of_environment(look, app, environment, name, rule.places)
    spots = [spot_at(look.tree, app, name, at) for at in chosen]
    instance = instance_if_known(look, app, environment)
    if instance is not None:
        for spot in spots:
            _require_deciding(look, instance, app, spot)
    return spots


def declared_version(look: Look, about: InstanceAction) -> list[Spot]:
    """The places where policy says that an app's version stands: its setting, or the fields that an environment names.

    Raises:
        InfraError: as `places`.
    """
    rule = look.policy.setting(about.app, "version")
    if rule is not None and rule.at:
        return places(look, about.app, about.environment, "version", rule)
    rules = look.policy.apps.get(about.app, AppRules())
    chosen = rules.environments.get(about.environment or "")
    return [spot_at(look.tree, about.app, "version", one) for one in (chosen.places if chosen else ()) if one.field]


def _of_environment(
    look: Look, app: str, environment: str | None, name: str, declared: tuple[At, ...]
) -> tuple[At, ...]:
    """The places of one environment, by what policy says of it and by what reads their files."""
    rules = look.policy.apps.get(app, AppRules())
    homes = [(one, _homes(look, app, rules, one)) for one in declared]
    everywhere = {name for _, found in homes for name in found}
    known = any(its.places for its in rules.environments.values()) or len(environments_of(look, app)) > 1
    if environment is None:
        if len(everywhere) > 1 and len({frozenset(found) for _, found in homes}) > 1:
            what = f"Setting {name} stands in several environments: {', '.join(sorted(everywhere))}."
            raise InfraError("environment-needed", what)
        return declared
    own = [(one, found) for one, found in homes if environment in found or not known]
    alone = tuple(one for one, found in own if len(found) == 1)
    if not own:
        for one, _ in homes:
            require_plain(look, spot_at(look.tree, app, name, one))
        what = f"Setting {name} has no location of its own in environment {environment}."
        step = f"Add one to at in [apps.{app}.settings.{name}], below what the environment names."
        raise InfraError("not-in-repository", what, next_step=step)
    return alone or tuple(one for one, _ in own)


def _homes(look: Look, app: str, rules: AppRules, at: At) -> list[str]:
    """The environments that a place belongs to."""
    scopes = {one: its.places for one, its in rules.environments.items()}
    if named := [one for one, places in scopes.items() if any(_covers(its, at) for its in places)]:
        return named
    # Any value of a file is an environment's, where the file is named by one of its values and by no other's.
    files = [one for one, places in scopes.items() if any(its.path == at.path for its in places)]
    return files or [
        name
        for name, one in environments_of(look, app).items()
        if name and any(at.path == unit.path or at.path in unit.entry.files for unit in one.units)
    ]


def _covers(scope: At, at: At) -> bool:
    if scope.field or scope.document is not None:
        same_document = scope.document in (None, at.document)
        return at.path == scope.path and same_document and at.field[: len(scope.field)] == scope.field
    return is_within(at.path, scope.path)


def _require_deciding(look: Look, instance: Instance, app: str, spot: Spot) -> None:
    """Refuse a place that does not decide here, or that decides elsewhere, too."""
    for unit in instance.units:
        over = _over(unit, spot)
        if over is not None:
            what = (
                f"{spot.path} is masked by {over.path} in {instance.environment or app}: it would change nothing here."
            )
            raise InfraError("no-effect", what, next_step=f"Declare the place in {over.path} in infra.toml.")
    require_own(look.census, instance, spot)


def _over(unit: Unit, spot: Spot) -> Spot | None:
    """The place that masks this one in a unit; None without one, or where the unit does not read this place."""
    found = unit.layers(spot)
    keys = [one.key for one in found]
    return found[-1] if spot.key in keys and keys[-1] != spot.key else None


def spot_at(tree: Tree, app: str, name: str, at: At) -> Spot:
    """A declared place with its value; the field may go on in a text that holds YAML.

    Raises:
        InfraError: `not-in-repository`, `ambiguous-setting`, `manifest-invalid`.
    """
    step = f"Correct at in [apps.{app}.settings.{name}] of infra.toml, or add the value by hand."
    documents = tree.documents(at.path)
    if documents is None:
        raise InfraError("not-in-repository", f"There is no file {at.path}.", next_step=step)
    numbered = [(i, body) for i, body in enumerate(documents) if at.document in (None, i)]
    found = [spot for i, body in numbered for spot in _spots(at, i, body)]
    if not found:
        raise InfraError("not-in-repository", f"There is no value at {at}.", next_step=step)
    if len(found) > 1:
        lines = ", ".join(str(at._replace(document=one.document)) for one in found[:_NAMED])
        what = f"{len(found)} documents of {at.path} have {show_field(at.field)}."
        raise InfraError("ambiguous-setting", what, next_step=f"Name one of them in infra.toml: {lines}.")
    return found[0]


def _spots(at: At, number: int, body: Any) -> Iterator[Spot]:  # noqa: ANN401 - a JSON value
    there, value = get_path(body, at.field)
    if there:
        yield Spot(at.path, number, at.field, value)
        return
    for length in range(1, len(at.field)):
        there, text = get_path(body, at.field[:length])
        if there and isinstance(text, str):
            rest: FieldPath = at.field[length:]
            inner, value = get_path(parsed(text), rest)
            if inner:
                yield Spot(at.path, number, at.field[:length], value, rest)
            return


def with_declared(
    look: Look, made: Edit, about: InstanceAction, name: str, rule: SettingRules, value: JsonValue
) -> Edit:
    """An edit that also sets a declared setting in each of its places.

    Raises:
        InfraError: as `places`; `invalid-argument`; `encrypted`; `automation`; `manifest-invalid`.
    """
    sets: list[tuple[Spot, JsonValue]] = []
    spots = places(look, about.app, about.environment, name, rule)
    for spot in spots:
        if any(_is_at(one, spot) for one in made.changes):
            raise InfraError("invalid-argument", f"Two of the settings stand at {spot}.")
        if isinstance(spot.value, dict | list):
            what = f"{spot} holds a map or a list, and setting {name} is a single value."
            raise InfraError("manifest-invalid", what)
        after = check(rule, value, name=name, delivery=_replaces(look, spot), before=spot.value)
        if not same(spot.value, after) and (by := automation(look.census.index, spot)):
            raise InfraError("automation", f"{spot} is written by {by}, which would undo the change.")
        sets.append((spot, after))
    return edited(look, made, fitted(look, sets))


def _is_at(change: FileEdit, spot: Spot) -> bool:
    if not isinstance(change, SetValue):
        return False
    return Spot(change.path, change.document, change.field, None, change.inside).key == spot.key


def _replaces(look: Look, spot: Spot) -> str:
    """The delivery that replaces variables in a file; empty where none does."""
    found = [one for one in look.census.entries if spot.path in one.files and one.by]
    if found:
        return next((one.delivery for one in found if one.substitutes), "")
    root = look.policy.root_of(spot.path)
    return escapes_of(spot.path) if root and root.delivery == SYSTEM else root.delivery if root else ""
