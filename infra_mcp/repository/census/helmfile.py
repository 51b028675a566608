"""helmfile: the releases of a helmfile in each of its environments (helmfile.readthedocs.io, configuration and values).

Environment values are merged in their order, and a release's values in theirs. A helmfile whose templates decide which
lines it has is left out, and named.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from functools import partial
from typing import Any, Final

from infra_mcp.repository.census.chart import chart_holds, files_of, local_chart, replicas_of, sources_of
from infra_mcp.repository.census.entries import Entry, cluster_of
from infra_mcp.repository.census.index import Index
from infra_mcp.repository.census.templates import Rendered, documents, is_template, render
from infra_mcp.repository.census.unit import Unit
from infra_mcp.repository.layers import Below, Document, Source, Stack, helm_values
from infra_mcp.repository.lenient import as_text, items, joined, mapping, maps, name_steps, texts
from infra_mcp.repository.locator.holds import Hold, images_in_values
from infra_mcp.repository.locator.places import Place

_NAME = re.compile(r"(?:.*/)?(?:helmfile[^/]*|helmfile\.d/[^/]+)\.ya?ml(?:\.gotmpl)?", re.IGNORECASE)
_DEEPEST: Final = 10  # bases of bases, helmfiles of helmfiles
_MOST_FILES: Final = 500  # that one helmfile names


@dataclass
class _State:
    """A helmfile with its bases: its documents in order, and every file that was read for it."""

    path: str
    documents: list[Document] = field(default_factory=list)
    files: set[str] = field(default_factory=set)

    @property
    def environments(self) -> list[str | None]:
        """The names of its environments; the default one only where it has values, or is the only one."""
        named: dict[str, bool] = {}
        for one in self.documents:
            for name, about in mapping(one.value, "environments").items():
                named[name] = bool(mapping(about).get("values")) or named.get(name, False)
        kept = [name for name, has_values in named.items() if name != "default" or has_values]
        return [*kept] or [None]

    def each(self, key: str) -> Iterator[tuple[Document, Any]]:
        """Every item of the lists of this name, with its place."""
        for one in self.documents:
            listed = items(one.value, key)
            for step, item in zip(name_steps(listed, "name"), listed, strict=True):
                yield Document(one.path, one.document, item, (*one.at, key, step)), item


def entries(index: Index, read: Collection[str]) -> list[Entry]:
    """An entry for each helmfile and environment."""
    inherited: dict[str, list[str | None]] = {path: [] for path in paths(index)}
    waiting = [(path, 0) for path in inherited if path not in read]
    found: list[Entry] = []
    done: set[str] = set()
    while waiting:
        path, depth = waiting.pop(0)
        if path in done:
            continue
        done.add(path)
        state = _State(path)
        _load(index, state, path)
        names = [one for one in state.environments if one is not None] or inherited.get(path) or [None]
        for inner in _helmfiles(index, state) if depth < _DEEPEST else ():
            inherited.setdefault(inner, []).extend(one for one in names if one not in inherited.get(inner, ()))
            waiting.append((inner, depth + 1))
        found += [one for name in names if (one := _entry(index, state, name)) is not None]
    return found


def paths(index: Index) -> list[str]:
    """The path of each helmfile."""
    return [path for path in index.paths if _NAME.fullmatch(path)]


def unread(index: Index) -> list[str]:
    """The helmfiles that cannot be read without running their templates."""
    return [path for path in paths(index) if not documents(index, path)]


def with_bootstraps(units: list[Unit]) -> list[Unit]:
    """The units, but for releases that a cluster is born with before Flux delivers them: their chart goes along.

    A release without an environment is that of the HelmRelease of its name and namespace.
    """
    delivered: dict[tuple[str, str | None], list[Unit]] = {}
    for one in units:
        if one.kind == "HelmRelease":
            delivered.setdefault((one.app, one.namespace), []).append(one)
    before: dict[int, list[Unit]] = {}
    for one in units:
        by_flux = delivered.get((one.app, one.namespace), [])
        if one.kind == "Release" and one.entry.environment is None and len(by_flux) == 1:
            before.setdefault(id(by_flux[0]), []).append(one)
    taken = {id(one) for some in before.values() for one in some}
    kept = [one for one in units if id(one) not in taken]
    return [replace(one, find=partial(_after, one, before[id(one)])) if id(one) in before else one for one in kept]


def _after(unit: Unit, before: list[Unit]) -> Iterator[Hold]:
    """The versions of a unit; under its chart the places of those before it."""
    low = tuple(place for one in before for hold in one.find() if hold.setting == "chart" for place in hold.places)
    for hold in unit.find():
        yield replace(hold, places=(*low, *hold.places)) if hold.setting == "chart" and hold.places else hold


def _load(index: Index, state: _State, path: str, depth: int = 0) -> None:
    """The documents of a helmfile, those of its bases before them; each file once."""
    if path in state.files or depth > _DEEPEST or not index.tree.is_file(path) or len(state.files) > _MOST_FILES:
        return
    state.files.add(path)
    for number, value in enumerate(documents(index, path)):
        if isinstance(value, dict):
            for base in texts(value, "bases"):
                _load(index, state, _near(path, base), depth + 1)
            state.documents.append(Document(path, number, value))


def _helmfiles(index: Index, state: _State) -> Iterator[str]:
    """The helmfiles that a helmfile takes in."""
    for one, item in state.each("helmfiles"):
        named = item.get("path") if isinstance(item, dict) else item
        if isinstance(named, str) and "{{" not in named and "://" not in named:
            path = _near(one.path, named)
            folder = posixpath.dirname(path.partition("*")[0])
            hits = [other for other in index.below(folder) if fnmatch(other, path)] if "*" in path else [path]
            yield from (hit for hit in hits[:_MOST_FILES] if index.tree.is_file(hit))


def _entry(index: Index, state: _State, environment: str | None) -> Entry | None:
    names = {"Environment.Name": environment or "default"}
    files = set(state.files)
    given = _environment(index, state, environment, names, files)
    units = [
        one
        for source, item in state.each("releases")
        if isinstance(item, dict) and (one := _Release.read(index, state, source, item, given, names, files))
    ]
    if not units:
        return None
    by = f"{state.path}, environment {environment}" if environment else state.path
    parts = partial(_units, index, units)
    cluster = cluster_of(state.path)
    return Entry("helm", state.path, by, (), frozenset(files), cluster, environment=environment, parts=parts)


def _environment(index: Index, state: _State, name: str | None, names: dict[str, str], files: set[str]) -> Stack:
    """What `.Values` is in an environment: the helmfile's own values, and those of the environment over them."""
    low: list[Source] = []
    high: list[Source] = []
    for one in state.documents:
        low += _given(index, Below(one, ("values",)), one, names, files)
        at = ("environments", name or "default", "values")
        high += _given(index, Below(one, at), one, names, files)
    return helm_values([*low, *high])


def _given(index: Index, listed: Source, near: Document, names: dict[str, str], files: set[str]) -> Iterator[Source]:
    """The sources of a list of values: files, and maps where they stand."""
    for position, item in enumerate(listed.value if isinstance(listed.value, list) else ()):
        if isinstance(item, dict):
            yield Below(listed, (position,))
        elif isinstance(item, str) and len(files) < _MOST_FILES:
            path = render(item, names)
            yield from _file(index, _near(near.path, str(path)), files)


def _file(index: Index, path: str, files: set[str]) -> Iterator[Source]:
    if index.tree.is_file(path):
        files.add(path)
        yield from (Document(path, number, value) for number, value in enumerate(documents(index, path)[:1]))


@dataclass(frozen=True)
class _Release:
    """A release of a helmfile in one environment."""

    name: str
    namespace: str | None
    chart: str | None  # the folder of a chart of the repository
    version: Source
    values: Stack
    chart_name: str

    @classmethod
    def read(
        cls,
        index: Index,
        state: _State,
        source: Document,
        item: dict[str, Any],
        given: Stack,
        names: dict[str, str],
        files: set[str],
    ) -> _Release | None:
        """A release, as an item of `releases` says it; None for one without name or chart."""
        sources = [*_inherited(state, item), source]
        about: dict[str, Any] = {}
        for one in sources:
            about |= (
                {key: value for key, value in one.value.items() if key != "name"} if one is not source else one.value
            )
        name = render(str(about.get("name") or ""), names, given.value)
        names = names | {"Release.Name": str(name)}
        named = render(str(about.get("chart") or ""), names, given.value)
        space = render(str(about.get("namespace") or ""), names, given.value)
        if not name or not named or is_template(name):
            return None
        own = str(named)
        folder = posixpath.dirname(source.path)
        chart = local_chart(index, folder, own) if own.startswith((".", "/")) or own in index.charts else None
        layers: list[Source] = []
        for key in ("values", "secrets"):
            last = [one for one in sources if key in one.value]
            layers += [Rendered(one, given, names) for one in _values(index, last[-1:], key, names, files)]
        if chart is not None:
            files |= files_of(index, chart)
            layers = [*sources_of(index, chart), *layers]
        version = helm_values([Rendered(one, given, names) for one in sources])
        return cls(str(name), str(space) or None, chart, version, helm_values(layers), own)


def _values(index: Index, last: list[Document], key: str, names: dict[str, str], files: set[str]) -> Iterator[Source]:
    for one in last:
        yield from _given(index, Below(one, (key,)), one, names, files)


def _inherited(state: _State, item: dict[str, Any]) -> Iterator[Document]:
    """The templates that a release inherits from."""
    for one in maps(item, "inherit"):
        name = as_text(one.get("template"))
        for document in state.documents:
            if found := mapping(document.value, "templates", name):
                yield Document(document.path, document.document, found, ("templates", name))


def _units(index: Index, releases: list[_Release], entry: Entry) -> Iterator[Unit]:
    for one in releases:
        yield Unit(
            one.name,
            "Release",
            one.name,
            one.namespace,
            entry.root,
            entry,
            partial(_holds, index, one),
            partial(replicas_of, one.values),
        )


def _holds(index: Index, one: _Release) -> Iterator[Hold]:
    if one.chart is not None:
        yield from chart_holds(index, one.chart, one.values)
        return
    yield from images_in_values(one.values)
    places = tuple(Place("plain", spot) for spot in one.version.spots(("version",)))
    yield Hold("chart", f"chart {one.chart_name}", places)


def _near(path: str, named: str) -> str:
    return joined(posixpath.dirname(path), named)
