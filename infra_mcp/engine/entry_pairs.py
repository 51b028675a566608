"""Which deliveries of two commits read a file that differs, and which files that differ nothing is known to read.

More than the census knows of counts as read: templates of a chart, charts that another one is made of, and symbolic
links on the way to a file.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest
from typing import Any, Final

from infra_mcp.engine.reach import read_by
from infra_mcp.repository.builds import view_of
from infra_mcp.repository.census.apps import Census
from infra_mcp.repository.census.chart import dependencies, local_chart
from infra_mcp.repository.census.entries import Entry
from infra_mcp.repository.census.index import Index
from infra_mcp.repository.kustomize import inputs
from infra_mcp.repository.lenient import lineage, maps
from infra_mcp.repository.paths import is_chart
from infra_mcp.repository.value import Tree

_FLUX: Final = "kustomize.toolkit.fluxcd.io"
_ARGO: Final = "argoproj.io"
_NAMES: Final = ("Chart.yaml", "chart.yaml", "Chart.yml", "chart.yml")


@dataclass(frozen=True)
class Side:
    """One of the two commits."""

    tree: Tree
    census: Census


@dataclass(frozen=True)
class Pair:
    """A delivery at both commits; None where it is only in the other one."""

    entries: tuple[Entry | None, Entry | None]
    files: frozenset[str]  # those that differ and that either one reads
    former: frozenset[str]  # of these, those that the first one reads

    @property
    def entry(self) -> Entry:
        """The one of the second commit, where it is there."""
        found = self.entries[1] or self.entries[0]
        if found is None:  # pragma: no cover - a pair has one
            raise AssertionError
        return found


def pairs(before: Side, after: Side, files: frozenset[str]) -> list[Pair]:
    """Every delivery that reads one of the files that differ. Blocks.

    What was delivered by itself still is where its file or kustomization is there, also when another kustomization of
    the second commit reads it: its deliverer may not know of that one.
    """
    found: dict[tuple[Any, ...], tuple[list[Any], list[Any]]] = {}
    for number, side in enumerate((before, after)):
        for entry, read in _read(side, files):
            key = (entry.root, entry.by, entry.cluster, entry.environment)
            found.setdefault(key, ([], []))[number].append((entry, read))
    nothing: tuple[None, frozenset[str]] = None, frozenset()
    made = []
    for several in found.values():
        for (old, read), (new, also) in zip_longest(*several, fillvalue=nothing):
            kept = _kept(after, old) if old is not None and new is None else None
            made.append(Pair((old, new if kept is None else old), read | also | ((kept or frozenset()) & files), read))
    return [one for one in made if one.files]


def _kept(after: Side, entry: Entry) -> frozenset[str] | None:
    """What is read at the second commit for an entry that the census finds no more; None where it has really gone."""
    index = after.census.index
    if entry.by:
        return None  # what delivers it is an object, which has gone
    if entry.root in index.kustomizations:
        view = view_of(after.tree)
        read = inputs(view.read, view.paths, entry.root, view.links)
        return frozenset(read.files) | read.links.keys()
    return frozenset({entry.root}) if index.tree.is_file(entry.root) else None


def left_over(before: Side, found: Collection[Pair], files: Collection[str]) -> frozenset[str]:
    """The files that differ and that no delivery reads, or none did while the file was there already."""
    former, all_read = (frozenset[str]().union(*(getattr(one, name) for one in found)) for name in ("former", "files"))
    return frozenset(path for path in files if path not in (former if before.tree.is_file(path) else all_read))


def _read(side: Side, files: frozenset[str]) -> Iterator[tuple[Entry, frozenset[str]]]:
    """Each entry with the files that differ and that it reads."""
    charts = {path: found for path in files if (found := charts_of(side.census.index, path))}
    for entry, read in read_by(side.census, side.tree):
        own = read & files
        own |= {path for path, found in charts.items() if not found.isdisjoint(entry.files)}
        yield entry, own


def charts_of(index: Index, path: str) -> frozenset[str]:
    """The Chart.yaml of every chart that a file is a part of: those above it, and those made of one of these."""
    tree = index.tree
    above = [posixpath.join(folder, name) for folder in lineage(posixpath.dirname(path)) for name in _NAMES]
    rest = [one for one in above if tree.is_file(one) and is_chart(one)]
    found = set(rest)
    while rest:
        more = _made_of(index).get(rest.pop(), frozenset()) - found
        found |= more
        rest += more
    return frozenset(found)


@lru_cache(maxsize=2)  # of the two commits of one check
def _made_of(index: Index) -> Mapping[str, frozenset[str]]:
    """The Chart.yaml of each chart that other charts name by `file://`, with those of the others."""
    found: dict[str, set[str]] = {}
    for folder, path in index.charts.items():
        for one in dependencies(index, folder):
            origin = str(one.value.get("repository") or "")
            named = origin.removeprefix("file:").removeprefix("//")
            if origin.startswith("file:") and (inner := local_chart(index, folder, named)) is not None:
                found.setdefault(index.charts[inner], set()).add(path)
    return {path: frozenset(others) for path, others in found.items()}


def named_folders(census: Census) -> frozenset[str]:
    """The folders that a Kustomization of Flux or an Application of Argo CD names, but for the top of all."""
    kinds = {"Kustomization": _FLUX, "Application": _ARGO, "ApplicationSet": _ARGO}
    named = {text for one in census.index.of_kinds(kinds) for text in _paths(one.value.get("spec"))}
    folders = (posixpath.normpath(re.split(r"[*{]", text)[0] or ".") for text in named)
    return frozenset(folder for folder in folders if folder != ".")


def _paths(value: object) -> Iterator[str]:
    """Every text with the key `path` in a value."""
    rest = [value]
    while rest:
        one = rest.pop()
        if isinstance(one, dict):
            rest += [inner for key, inner in one.items() if key != "path"]
            yield from [one["path"]] if isinstance(one.get("path"), str) else []
        elif isinstance(one, list):
            rest += one


def values_read(census: Census) -> frozenset[tuple[str, str]]:
    """Kind and name of each object whose content a HelmRelease or a Flux Kustomization takes values from."""
    kinds = {"HelmRelease": "helm.toolkit.fluxcd.io", "Kustomization": _FLUX}
    return frozenset(
        (str(ref.get("kind")), str(ref.get("name")))
        for one in census.index.of_kinds(kinds)
        for path in (("spec", "valuesFrom"), ("spec", "postBuild", "substituteFrom"))
        for ref in maps(one.value, *path)
    )
