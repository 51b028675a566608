"""A Helm chart in the repository: its own values, the charts that it is made of, and the versions in them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from infra_mcp.model.effect import FieldPath
from infra_mcp.model.image import Image
from infra_mcp.repository.census.index import Index
from infra_mcp.repository.layers import Below, Document, Source, Spot, parts
from infra_mcp.repository.lenient import joined, mapping
from infra_mcp.repository.locator.holds import Hold, images_in_values, is_scalar, steps
from infra_mcp.repository.locator.places import places_of
from infra_mcp.repository.scalars import Json

_REPLICAS = re.compile(r"replica(?:s|_?count)", re.IGNORECASE)
_COUNT = re.compile(r"\d+|\$\{\w+[^{}]*\}")  # a text where a number is: one, or a variable of Flux
_VERSIONED = re.compile(r"(?:image[-_]?)?(?:tag|digest|sha|version)", re.IGNORECASE)  # keys that a version is under
_DEEPEST: Final = 4  # keys above a number of replicas


def files_of(index: Index, folder: str | None) -> frozenset[str]:
    """The files of a chart in this folder that this module reads; none where there is no chart."""
    if folder is None:
        return frozenset()
    names = ("values.yaml", "requirements.yaml", "Chart.lock")
    there = [posixpath.join(folder, name) for name in names]
    return frozenset({index.charts[folder], *(path for path in there if index.tree.is_file(path))})


def local_chart(index: Index, folder: str, named: str) -> str | None:
    """The folder of a chart that is named by a path, or by its name where one chart has it; None where there is none.

    Args:
        index: of the repository.
        folder: what a path is relative to; then the repository's top is tried.
        named: `../charts/web`, `charts/web`, `web`.
    """
    for base in (folder, ""):
        if (path := joined(base, named)) in index.charts:
            return path
    if "/" in named:
        return None
    hits = index.charts_named.get(named, [])
    return hits[0] if len(hits) == 1 else None


def name_of(index: Index, folder: str) -> str:
    """The name of a chart."""
    return str(index.document(index.charts[folder]).get("name") or "") or posixpath.basename(folder)


def chart_holds(index: Index, folder: str, values: Source) -> Iterator[Hold]:
    """The versions of a release of a chart: images in its values, the charts that it is made of, its appVersion.

    Where no tag is set, charts take their appVersion by convention: then that place decides.

    Args:
        index: of the repository.
        folder: the chart's.
        values: everything that is laid over each other for the release, the chart's own values lowest.
    """
    about = Document(index.charts[folder], 0, index.document(index.charts[folder]))
    given = places_of("plain", [spot for spot in about.spots(("appVersion",)) if is_scalar(spot.value)])
    found = list(images_in_values(values))
    main = _main_part(index, folder, values)
    for hold in found:
        leads = hold.leads or hold.decides.spot.key in main
        without = given and not hold.version and not hold.decides.pinned
        yield replace(hold, leads=leads, places=given if without else hold.places)
    image = _untagged(values.value)
    if given and image:
        yield Hold("version", "appVersion", given, image, leads=True)
    yield from _dependencies(index, folder)
    if given:
        yield Hold("app-version", "appVersion", given)


def replicas_of(values: Source) -> tuple[Spot, ...]:
    """The places that set the number of pods, lowest first: the number that is nearest to the top, if there is one."""
    level: list[tuple[FieldPath, Json]] = [((), values.value)]
    for _ in range(_DEEPEST):
        inner = [
            ((*path, step), item) for path, value in level if isinstance(value, dict) for step, item in steps(value)
        ]
        hits = [path for path, item in inner if _REPLICAS.fullmatch(str(path[-1])) and _is_count(item)]
        if hits:
            return values.spots(hits[0]) if len(hits) == 1 else ()
        level = inner
    return ()


def _is_count(value: Json) -> bool:
    return type(value) is int or (isinstance(value, str) and _COUNT.fullmatch(value) is not None)


def dependencies(index: Index, folder: str) -> list[Below]:
    """The charts that a chart is made of, each with its place."""
    paths = (index.charts[folder], posixpath.join(folder, "requirements.yaml"))
    files = [Document(path, 0, index.document(path)) for path in paths]
    found = [one for file in files for one in parts(file, ("dependencies",), "name", "alias")]
    return [one for one in found if isinstance(one.value, dict)]


def _dependencies(index: Index, folder: str) -> Iterator[Hold]:
    lock = posixpath.join(folder, "Chart.lock")
    note = (
        f"{lock} has the former version: `helm dependency update {folder}` writes it."
        if lock in index.tree.entries
        else ""
    )
    for source in dependencies(index, folder):
        one = source.value
        names = [str(one[key]) for key in ("alias", "name") if one.get(key)]
        origin = str(one.get("repository") or "")
        if names and origin and not origin.startswith("file:") and is_scalar(one.get("version")):
            places = places_of("plain", source.spots(("version",)))
            leads = not {name_of(index, folder), posixpath.basename(folder)}.isdisjoint(names)
            yield Hold("chart", f"chart {names[0]}", places, leads=leads, note=note)


def _main_part(index: Index, folder: str, values: Source) -> set[tuple[Any, ...]]:
    """Where the images stand that lead in the chart that an umbrella is for: its only one, or the one of its name."""
    listed = [str(one.value.get("alias") or one.value.get("name")) for one in dependencies(index, folder)]
    mine = listed if len(listed) == 1 else [one for one in listed if one == name_of(index, folder)]
    inner = [hold for one in mine[:1] for hold in images_in_values(Below(values, (one,)))]
    return {hold.decides.spot.key for hold in inner if hold.leads and hold.places}


def _untagged(value: Json) -> str:
    """The image of an app without a tag in the values, in full; empty where there is none."""
    value = mapping(value)
    image = value.get("image")
    if isinstance(image, dict):
        named, registry, beside = image.get("repository"), image.get("registry"), image
    else:
        named, registry, beside = image, None, value
    versioned = any(_VERSIONED.fullmatch(key) for key, item in beside.items() if item is not None)
    if not isinstance(named, str) or not named or "{{" in named or versioned:
        return ""
    found = Image.parse(f"{registry}/{named}" if isinstance(registry, str) and registry else named)
    return "" if found.tag or found.digest else found.repository
