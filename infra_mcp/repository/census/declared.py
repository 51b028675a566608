"""Releases that files of our own form declare, one a file: `helm/{namespace}/{release}.yaml` (docs/helm.md)."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterator
from functools import partial
from typing import Any

from infra_mcp.repository.census.chart import files_of, local_chart
from infra_mcp.repository.census.entries import Entry, cluster_of
from infra_mcp.repository.census.index import Index
from infra_mcp.repository.census.release import Release, Values, chart_version
from infra_mcp.repository.census.unit import Unit
from infra_mcp.repository.helm.release_file import KEYS, is_release
from infra_mcp.repository.layers import Below, Document
from infra_mcp.repository.lenient import joined, texts


def entries(index: Index, read: Collection[str]) -> list[Entry]:
    """An entry for each of them."""
    found = []
    for path in index.naming_charts():
        folder, file = posixpath.split(path)
        value = index.document(path)
        if path in read or index.says_kinds(path) or not folder or not is_release(value) or not value.keys() <= KEYS:
            continue
        name, namespace = posixpath.splitext(file)[0], posixpath.basename(folder)
        chart = local_chart(index, folder, value["chart"]) if value["chart"].startswith(".") else None
        values = [joined(folder, one) for one in texts(value, "valuesFiles")]
        files = files_of(index, chart).union({path, *(one for one in values if index.tree.is_file(one))})
        by = f"release {namespace}/{name}"
        parts = partial(_units, index, path, value, chart, values)
        found.append(Entry("helm", path, by, (), files, cluster_of(path), parts=parts))
    return found


def _units(
    index: Index, path: str, value: dict[str, Any], chart: str | None, files: list[str], entry: Entry
) -> Iterator[Unit]:
    source = Document(path, 0, value)
    layers: list[Values] = [*files, Below(source, ("values",))]
    named = posixpath.basename(value["chart"])
    others = () if chart is not None else (chart_version(named, source.spots(("version",))),)
    release = Release(index, chart, layers, others=others)
    name, namespace = posixpath.splitext(posixpath.basename(path))[0], posixpath.basename(posixpath.dirname(path))
    read = release.holds, release.replicas
    yield Unit(name, "Release", name, namespace, path, entry, *read, release=lambda: release)
