"""Helm release: sets its chart version and values where the repository declares it, or declares a new release."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from anyio import to_thread

from infra_mcp.actions.base import Look, more
from infra_mcp.errors import InfraError
from infra_mcp.model.actions.helm_release import HelmRelease
from infra_mcp.model.effect import FieldPath
from infra_mcp.model.inert import inert
from infra_mcp.model.location import parse_field
from infra_mcp.policy.declared_releases import declared, roots
from infra_mcp.repository.edit import apply_edits
from infra_mcp.repository.edits import Edit, Goal, Location, PutFile
from infra_mcp.repository.helm.declared import Release
from infra_mcp.repository.helm.edit import Sets, set_values, set_version, typed
from infra_mcp.repository.partial import set_path
from infra_mcp.repository.render import dump
from infra_mcp.repository.scalars import Json
from infra_mcp.repository.styles import lines

_NAMED: Final = 4  # of a release's values, in a commit's subject
_TIMEOUT: Final = 600.0  # seconds: hooks, and a rollout after them


async def edit(look: Look, action: HelmRelease) -> Edit:
    """Set what is asked in the release's declaration; or write the declaration of a new one.

    Raises:
        InfraError: `not-found`: it is not declared, and the request names no chart; `place-needed`: policy has no root
            for releases; `invalid-argument`: a value would be interpreted; `shared-place`; `manifest-invalid`.
    """
    return await to_thread.run_sync(_edit, look, action)


def _edit(look: Look, action: HelmRelease) -> Edit:
    values = dict(_values(action))
    release = f"release {action.namespace}/{action.release}"
    goal = Goal(
        title=f"Install {release}",
        subject=release,
        on_failure=action.on_failure or "rollback",
        timeout=_TIMEOUT,
    )
    every = list(declared(look.policy, look.tree, look.place))
    found = next((one for one in every if one.key == (action.namespace, action.release)), None)
    made = Edit(look.tree, goal)
    if found is None:
        return _new(look, action, made, values)
    named = [*([] if action.version is None else [f"version {action.version}"]), *sorted(action.values)]
    shown = ", ".join(named[:_NAMED]) + (", …" if len(named) > _NAMED else "")
    made = replace(made, goal=replace(goal, title=f"Upgrade {release}" + (f": {shown}" if shown else "")))
    return _changed(look, action, made, found, [one for one in every if one is not found], values)


def _values(action: HelmRelease) -> Iterator[tuple[FieldPath, Json]]:
    """The values by their places; texts in them are data."""
    for name, value in action.values.items():
        for text in _texts(value):
            if why := inert(text):
                raise InfraError("invalid-argument", f"values: {name} cannot be taken as it is: {why}.")
        yield parse_field(name), value


def _texts(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(inner)
    if isinstance(value, dict):
        yield from value


def _changed(
    look: Look, action: HelmRelease, made: Edit, found: Release, others: list[Release], values: dict[FieldPath, Json]
) -> Edit:
    sets = Sets(look.tree)
    if action.chart is not None:
        _require_same_chart(look, action, found)
    if action.version is not None:
        set_version(sets, found, action.version)
    set_values(sets, found, values, others)
    changes = tuple(sets.changes())
    addressed = tuple(Location(path=path, field=place) for path, place in sets.places)
    addressed = addressed or (Location(path=found.path, field=found.at),)
    return more(made, apply_edits(look.tree, changes), changes, addressed)


def _require_same_chart(look: Look, action: HelmRelease, found: Release) -> None:
    """The chart of a release is changed by hand: what it would take away is no matter of values."""
    asked = _declaration(action, _path(look, action))
    now = look.tree.document(found.path, 0).object if not found.at else {}
    same = ("chart", "repository")
    if found.at or any(asked.get(key) != (now or {}).get(key) for key in same):
        what = f"{found} is declared in {found.path} with another chart."
        raise InfraError("invalid-argument", what, next_step="Leave the chart out, or change it there by hand.")


def _new(look: Look, action: HelmRelease, made: Edit, values: dict[FieldPath, Json]) -> Edit:
    if action.chart is None:
        what = f"No release {action.namespace}/{action.release} is declared below a root of delivery helm."
        raise InfraError("not-found", what, next_step="Name its chart to install it: chart, repository, version.")
    path = _path(look, action)
    its: dict[str, Any] = {}
    folder = posixpath.normpath(action.chart) if action.chart.startswith("./") else None
    for place, value in values.items():
        if value is not None:
            set_path(its, ("values", *place), typed(look.tree, folder, place, value) if folder else value)
    if look.tree.read(path) is not None:
        raise InfraError("manifest-invalid", f"{path} exists, and declares no release.")
    about = "".join(f"{line}\n" for line in lines(_declaration(action, path)))
    tree = look.tree.write(path, about.encode() + (dump(its) if its else b""))
    made = more(made, tree, (PutFile(path=path),), (Location(path=path),))
    return replace(made, notes=("An install is kept when it does not land.",))


def _path(look: Look, action: HelmRelease) -> str:
    """The file of a new release: below the only root for releases of the cluster."""
    found = roots(look.policy, look.place)
    if len(found) != 1:
        which = "several roots" if found else "no root"
        what = f"infra.toml has {which} of delivery helm for {look.place}, so it does not say where a release goes."
        step = 'Add to infra.toml: [[tree.roots]] path = "helm", delivery = "helm"; for several, declare it by hand.'
        raise InfraError("place-needed", what, next_step=step)
    return posixpath.normpath(posixpath.join(found[0], action.namespace, f"{action.release}.yaml"))


def _declaration(action: HelmRelease, path: str) -> dict[str, Any]:
    """The content of the file of a new release, without its values."""
    chart = action.chart or ""
    if chart.startswith("./"):
        chart = posixpath.relpath(posixpath.normpath(chart), posixpath.dirname(path))
    body = {"chart": chart, "repository": action.repository, "version": action.version}
    return {key: value for key, value in body.items() if value is not None}
