"""An app's instance in the repository, and an edit of the places that the locator found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import get_close_matches

from infra_mcp.actions.base import Look, more
from infra_mcp.errors import InfraError
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.policy.owners import is_within
from infra_mcp.policy.sections import AppRules
from infra_mcp.repository.census.apps import Instance, instances
from infra_mcp.repository.census.unit import Unit
from infra_mcp.repository.edit import apply_edits
from infra_mcp.repository.edits import Edit, InstanceChange, Location, SetValue
from infra_mcp.repository.layers import Spot
from infra_mcp.repository.partial import get_path, same
from infra_mcp.repository.scalars import Json

_UNREAD = 3  # files that could not be read, named in a message
_NAMED = 10  # environments or apps named in a message


def instance_of(look: Look, app: str, environment: str | None) -> Instance:
    """The instance of an app that a request is about.

    Raises:
        InfraError: `not-found`: there is no such app or environment; `environment-needed`: it has several.
    """
    found = environments_of(look, app)
    named = look.policy.apps.get(app, AppRules()).environments
    if not found and named and environment is None:
        raise InfraError("environment-needed", f"{app} is deployed by environment: {_some(named)}.")
    if not found and named and environment not in named:
        raise InfraError("not-found", f"{app} has no environment {environment}; it has {_some(named)}.")
    if not found:
        near = get_close_matches(app, look.census.apps, n=3, cutoff=0.6)
        step = f"The repository has {', '.join(near)}." if near else "`infra-mcp apps` lists the repository's apps."
        unread = "".join(f" Not read: {why}" for why in look.census.index.unread(app)[:_UNREAD])
        raise InfraError("not-found", f"There is no app {app} in this repository.{unread}", next_step=step)
    if environment is None:
        if len(found) == 1:
            return next(iter(found.values()))
        raise InfraError("environment-needed", f"{app} runs in {len(found)} environments: {_some(found)}.")
    hits = [one for name, one in found.items() if environment in {name, *name.split("/")}]
    if environment in found:
        return found[environment]
    if len(hits) == 1:
        return hits[0]
    only = next(iter(found.values()))
    if len(found) == 1 and not only.environment and environment in only.entry.trail:
        return only
    what = f"{app} has no environment {environment}" if not hits else f"{app} has several environments {environment}"
    raise InfraError("not-found", f"{what}; it has {_some(found) or 'one without a name'}.")


def instance_or_named(look: Look, app: str, environment: str | None) -> Instance:
    """The instance of an app; one without units for an app that only policy knows.

    Raises:
        InfraError: as `instance_of`, for an app that the repository has.
    """
    known = environments_of(look, app)
    return instance_of(look, app, environment) if known else Instance(app, environment, ())


def environments_of(look: Look, app: str) -> dict[str, Instance]:
    """The instances of an app, by the names that policy gives to their environments, else by their own."""
    rules = look.policy.apps.get(app, AppRules())
    found = look.census.find(app)
    if not found and rules.workload_parts:  # policy calls it by another name than the repository
        found = instances(app, [unit for unit in look.census.units if _is_meant(rules, unit)])
    found = tuple(one for one in found if any(_is_meant(rules, unit) for unit in one.units)) or found
    named: dict[str, Instance] = {}
    for name, its in rules.environments.items():
        mine = [one for one in found if _is_at(one, its.paths)]
        if len(mine) == 1:
            named[name] = replace(mine[0], environment=name)
    known = [one.units for one in named.values()]
    return named | {one.environment or "": one for one in found if one.units not in known}


def _is_at(instance: Instance, paths: Sequence[str]) -> bool:
    """Whether an instance is in one of these files or folders, or its version is."""
    own = {unit.path for unit in instance.units} | {unit.entry.root for unit in instance.units}
    own |= {hold.decides.spot.path for unit in instance.units for hold in unit.holds}
    return any(is_within(path, folder) for path in own for folder in paths)


def change_of(instance: Instance, former: str, version: str) -> InstanceChange:
    """The instance of an edit, for its plan."""
    units = tuple(map(str, instance.units))
    return InstanceChange(
        app=instance.app,
        environment=instance.environment,
        units=units,
        delivery=instance.entry.delivery if instance.units else "",
        entries=tuple(dict.fromkeys((unit.entry.root, unit.entry.by) for unit in instance.units)),
        former=former,
        version=version,
    )


def edited(look: Look, edit: Edit, sets: Iterable[tuple[Spot, Json]]) -> Edit:
    """An edit that writes these values, too.

    Raises:
        InfraError: `manifest-invalid`: a value cannot be written there; `encrypted`: the file is encrypted.
    """
    pairs = list(sets)
    for spot, _ in pairs:
        require_plain(look, spot)
    changes = [
        SetValue(
            path=spot.path,
            document=spot.document,
            ref=_object(look, spot),
            field=spot.field,
            inside=spot.inside,
            before=spot.value,
            after=value,
        )
        for spot, value in pairs
    ]
    addressed = tuple(
        Location(path=spot.path, document=spot.document, field=spot.field, inside=spot.inside) for spot, _ in pairs
    )
    made = tuple(one for one in changes if not same(one.before, one.after))
    return more(edit, apply_edits(edit.tree, made), made, addressed)


def _object(look: Look, spot: Spot) -> ObjectRef | None:
    """The object that is all of a document and is applied as it is: it is found again wherever it is by then."""
    found = (one for one in look.tree.objects_of(spot.path) if (one.index, one.at) == (spot.document, ()))
    ref = next((one.ref for one in found), None)
    try:
        alone = look.tree.find(ref) if ref else None
    except InfraError:
        return None  # it is built, or in several files
    return ref if alone is not None and alone.path == spot.path else None


def require_plain(look: Look, spot: Spot) -> None:
    """Refuse a value that is encrypted, or signed with the encrypted ones (sops, without `mac_only_encrypted`).

    Raises:
        InfraError: `encrypted`.
    """
    if spot.path in look.census.index.encrypted or (isinstance(spot.value, str) and spot.value.startswith("ENC[")):
        sealed = get_path(look.tree.document(spot.path, spot.document).object, ("sops", "mac_only_encrypted"))
        if sealed != (True, True) or str(spot.value).startswith("ENC["):
            what = f"{spot.path} is encrypted, and its authentication code would no longer fit an edited file."
            raise InfraError("encrypted", what)


def _is_meant(rules: AppRules, unit: Unit) -> bool:
    if rules.workload_parts:
        _, kind, name = rules.workload_parts
        return (unit.kind, unit.name) == (kind, name) and unit.namespace in {None, *rules.namespaces()}
    return rules.file is None or unit.path == rules.file or rules.file in unit.entry.files


def _some(names: Iterable[str]) -> str:
    listed = sorted(name for name in names if name)
    return ", ".join(listed[:_NAMED]) + (", …" if len(listed) > _NAMED else "")
