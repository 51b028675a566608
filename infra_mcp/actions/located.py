"""An app's instance in the repository, and an edit of the places that the locator found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from infra_mcp.actions.base import Look, more
from infra_mcp.errors import InfraError
from infra_mcp.policy.sections import AppRules
from infra_mcp.repository.census.apps import Instance
from infra_mcp.repository.census.unit import Unit
from infra_mcp.repository.edit import apply_edits, resolve, rewrite
from infra_mcp.repository.edits import Edit, InstanceChange, Location, SetValue
from infra_mcp.repository.layers import Spot, parsed
from infra_mcp.repository.partial import get_path, same
from infra_mcp.repository.scalars import Json

_NAMED = 10  # environments or apps named in a message


def instance_of(look: Look, app: str, environment: str | None) -> Instance:
    """The instance of an app that a request is about.

    Raises:
        InfraError: `not-found`: there is no such app or environment; `environment-needed`: it has several.
    """
    found = look.census.find(app)
    if rules := look.policy.apps.get(app):
        found = tuple(one for one in found if any(_is_meant(rules, unit) for unit in one.units)) or found
    if not found:
        near = get_close_matches(app, look.census.apps, n=3, cutoff=0.6)
        step = (
            f"The repository has {', '.join(near)}." if near else "`infra-mcp apps` lists the apps of the repository."
        )
        raise InfraError("not-found", f"There is no app {app} in this repository.", next_step=step)
    names = [one.environment or "" for one in found]
    if environment is None:
        if len(found) == 1:
            return found[0]
        what = f"{app} runs in {len(found)} environments: {_some(names)}."
        raise InfraError("environment-needed", what)
    hits = [one for one in found if _matches(one, environment)]
    if len(hits) == 1:
        return hits[0]
    if len(found) == 1 and not names[0] and environment in found[0].entry.trail:
        return found[0]
    what = f"{app} has no environment {environment}" if not hits else f"{app} has several environments {environment}"
    others = _some([one.environment or "" for one in hits] or names)
    raise InfraError("not-found", f"{what}; it has {others or 'one without a name'}.")


def change_of(instance: Instance, former: str, version: str) -> InstanceChange:
    """The instance of an edit, for its plan."""
    units = tuple(map(str, instance.units))
    return InstanceChange(
        app=instance.app,
        environment=instance.environment,
        units=units,
        delivery=instance.entry.delivery,
        entries=tuple(dict.fromkeys((unit.entry.root, unit.entry.by) for unit in instance.units)),
        former=former,
        version=version,
    )


def edited(look: Look, edit: Edit, sets: Iterable[tuple[Spot, Json]]) -> Edit:
    """An edit that writes these values, too.

    Raises:
        InfraError: `manifest-invalid`: a value cannot be written there; `encrypted`: the file is encrypted.
    """
    changes: list[SetValue] = []
    texts: dict[tuple[str, int, str], tuple[Spot, str]] = {}
    pairs = list(sets)
    for spot, value in pairs:
        _require_plain(look, spot)
        if spot.inside is None:
            changes.append(_set(spot, spot.value, value))
        elif not same(spot.value, value):
            key = spot.path, spot.document, repr(spot.field)
            _, text = texts.get(key) or (spot, _text(edit, spot))
            keys = tuple(resolve(parsed(text), spot.inside))
            texts[key] = spot, rewrite(text.encode(), [(0, keys, value)]).decode()
    changes += [_set(spot, _text(edit, spot), after) for spot, after in texts.values()]
    addressed = tuple(
        Location(path=spot.path, document=spot.document, field=spot.field, inside=spot.inside) for spot, _ in pairs
    )
    made = tuple(one for one in changes if not same(one.before, one.after))
    return more(edit, apply_edits(edit.tree, made), made, addressed)


def _set(spot: Spot, before: Json, after: Json) -> SetValue:
    return SetValue(path=spot.path, document=spot.document, field=spot.field, before=before, after=after)


def _text(edit: Edit, spot: Spot) -> str:
    return str(get_path(edit.tree.document(spot.path, spot.document).object, spot.field)[1])


def _require_plain(look: Look, spot: Spot) -> None:
    if spot.path in look.census.index.encrypted:
        what = f"{spot.path} is encrypted, and its authentication code would no longer fit an edited file."
        raise InfraError("encrypted", what)


def _is_meant(rules: AppRules, unit: Unit) -> bool:
    if rules.workload_parts:
        namespace, kind, name = rules.workload_parts
        return (unit.kind, unit.name) == (kind, name) and unit.namespace in {namespace, None}
    return rules.file is None or unit.path == rules.file or rules.file in unit.entry.files


def _matches(instance: Instance, environment: str) -> bool:
    return environment in {instance.environment or "", *(instance.environment or "").split("/")}


def _some(names: Sequence[str]) -> str:
    listed = sorted(name for name in names if name)
    return ", ".join(listed[:_NAMED]) + (", …" if len(listed) > _NAMED else "")
