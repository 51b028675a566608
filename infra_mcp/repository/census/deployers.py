"""Releases of charts by a deployer of one's own: a file that names each release's chart and values files.

`hubs: [{name: prod, helm_chart: hub, helm_chart_values_files: [common.values.yaml, prod.values.yaml]}]`, for one.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from infra_mcp.repository.census.chart import files_of, local_chart, name_of
from infra_mcp.repository.census.entries import Entry, cluster_of
from infra_mcp.repository.census.index import Index
from infra_mcp.repository.census.release import Release
from infra_mcp.repository.census.unit import Unit
from infra_mcp.repository.lenient import joined
from infra_mcp.repository.scalars import Json

_FILES = re.compile(r".*values[-_]?files?", re.IGNORECASE)
_CHART = re.compile(r"(?:helm[-_]?)?chart(?:[-_]?(?:name|path))?", re.IGNORECASE)
_NAME: Final = ("name", "release", "environment", "id")
_DEEPEST: Final = 6


@dataclass(frozen=True)
class _Release:
    """A release as such a file names it."""

    name: str
    chart: str
    files: tuple[str, ...]  # values files that exist, lowest first


def entries(index: Index, read: Collection[str]) -> list[Entry]:
    """An entry for each release."""
    found = []
    for path in index.listing_values():
        if path in read or index.says_kinds(path) or posixpath.dirname(path) in index.charts:
            continue
        for one in _releases(index, path):
            chart = local_chart(index, posixpath.dirname(path), one.chart) if one.chart else None
            files = files_of(index, chart).union({path, *one.files})
            by = f"{path} {one.name}".strip()
            parts = partial(_units, index, one, chart, posixpath.dirname(path))
            name = one.name or None
            found.append(Entry("helm", path, by, (), files, cluster_of(path), environment=name, parts=parts))
    return found


def _releases(index: Index, path: str) -> Iterator[_Release]:
    for value in index.documents(path):
        for chain in _maps(value, ()):
            named = next((item for key, item in chain[-1].items() if _FILES.fullmatch(key)), None)
            listed = [named] if isinstance(named, str) else named if isinstance(named, list) else []
            files = [file for one in listed if isinstance(one, str) and (file := _file(index, path, one))]
            if files:
                own = (str(chain[-1].get(key) or "") for key in _NAME)
                chart = next((name for one in reversed(chain) if (name := _chart(one))), "")
                yield _Release(next(filter(None, own), ""), chart, tuple(files))


def _maps(value: Json, above: tuple[dict[str, Any], ...]) -> Iterator[tuple[dict[str, Any], ...]]:
    """Every map, with those around it."""
    if len(above) > _DEEPEST:
        return
    if isinstance(value, dict):
        yield (*above, value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inner:
        yield from _maps(one, (*above, value) if isinstance(value, dict) else above)


def _chart(value: dict[str, Any]) -> str:
    return next((item for key, item in value.items() if _CHART.fullmatch(key) and isinstance(item, str)), "")


def _file(index: Index, path: str, named: str) -> str | None:
    """The path of a file that a file names, from its own folder or from the top."""
    for base in (posixpath.dirname(path), ""):
        if index.tree.is_file(found := joined(base, named)):
            return found
    return None


def _units(index: Index, one: _Release, chart: str | None, folder: str, entry: Entry) -> Iterator[Unit]:
    release = Release(index, chart, one.files)
    app = name_of(index, chart) if chart is not None else posixpath.basename(one.chart) or posixpath.basename(folder)
    read = release.holds, release.replicas
    unit = Unit(app, "Release", one.name or app, None, entry.root, entry, *read, release=lambda: release)
    if unit.holds or unit.replicas():
        yield unit
