"""helmfile: the releases of a helmfile in each of its environments (helmfile.readthedocs.io, configuration and values).

Environment values are merged in their order, and a release's values in theirs. A helmfile whose templates decide which
lines it has is left out, and named.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from functools import cached_property, partial
from typing import Any, Final

from infra_mcp.model.effect import FieldPath
from infra_mcp.repository.census.chart import files_of, local_chart
from infra_mcp.repository.census.entries import Entry, cluster_of
from infra_mcp.repository.census.index import Index
from infra_mcp.repository.census.release import Release, Values, chart_version
from infra_mcp.repository.census.templates import Rendered, documents, is_template, render
from infra_mcp.repository.census.unit import Unit
from infra_mcp.repository.layers import Below, Document, Source, Stack, helm_values
from infra_mcp.repository.lenient import as_text, items, joined, mapping, maps, name_steps, texts
from infra_mcp.repository.locator.holds import Hold

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
        found += [one for name in names if (one := _Environment(index, state, name, {*state.files}).entry())]
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


@dataclass
class _Environment:
    """A helmfile as one of its environments has it."""

    index: Index
    state: _State
    name: str | None
    files: set[str]  # every file that is read for it

    @cached_property
    def values(self) -> Stack:
        """What `.Values` is: the helmfile's own values, and those of the environment over them."""
        low: list[Source] = []
        high: list[Source] = []
        for one in self.state.documents:
            low += self._listed(one, ("values",))
            high += self._listed(one, ("environments", self.name or "default", "values"))
        return helm_values([*low, *high])

    def _listed(self, near: Document, at: FieldPath, names: Mapping[str, str] | None = None) -> Iterator[Source]:
        """The sources of a list of values: files, and maps where they stand."""
        listed = Below(near, at)
        for position, item in enumerate(listed.value if isinstance(listed.value, list) else ()):
            if isinstance(item, dict):
                yield Below(listed, (position,))
            elif isinstance(item, str) and len(self.files) < _MOST_FILES:
                path = _near(near.path, str(render(item, names or self._names)))
                if self.index.tree.is_file(path):
                    self.files.add(path)
                    yield from (Document(path, 0, value) for value in documents(self.index, path)[:1])

    @property
    def _names(self) -> dict[str, str]:
        """What templates may name beside values."""
        return {"Environment.Name": self.name or "default"}

    def entry(self) -> Entry | None:
        """What it delivers; None without a release."""
        listed = [(source, item) for source, item in self.state.each("releases") if isinstance(item, dict)]
        releases = [found for source, item in listed if (found := self._release(source, item))]
        if not releases:
            return None
        path = self.state.path
        by = f"{path}, environment {self.name}" if self.name else path
        parts, files = partial(_units, releases), frozenset(self.files)
        return Entry("helm", path, by, (), files, cluster_of(path), environment=self.name, parts=parts)

    def _release(self, source: Document, item: dict[str, Any]) -> tuple[str, str | None, Release] | None:
        """Name, namespace and release of an item of `releases`; None for one without name or chart."""
        layers = [*self._inherited(item), source]
        about = {key: value for one in layers for key, value in one.value.items()} | {"name": item.get("name")}
        names, given = self._names, self.values
        name = render(str(about["name"] or ""), names, given.value)
        names["Release.Name"] = str(name)
        named, space = (str(render(str(about.get(key) or ""), names, given.value)) for key in ("chart", "namespace"))
        if not name or not named or is_template(name):
            return None
        is_path = named.startswith((".", "/")) or named in self.index.charts
        chart = local_chart(self.index, posixpath.dirname(source.path), named) if is_path else None
        self.files |= files_of(self.index, chart)
        values: list[Values] = []
        for key in ("values", "secrets"):
            last = [one for one in layers if key in one.value][-1:]
            values += [Rendered(found, given, names) for one in last for found in self._listed(one, (key,), names)]
        version = [spot for one in layers for spot in Rendered(one, given, names).spots(("version",))]
        others = () if chart is not None else (chart_version(named, version),)
        return str(name), space or None, Release(self.index, chart, values, others=others)

    def _inherited(self, item: dict[str, Any]) -> Iterator[Document]:
        """The templates that a release inherits from."""
        for one in maps(item, "inherit"):
            name = as_text(one.get("template"))
            for document in self.state.documents:
                if found := mapping(document.value, "templates", name):
                    yield Document(document.path, document.document, found, ("templates", name))


def _units(releases: list[tuple[str, str | None, Release]], entry: Entry) -> Iterator[Unit]:
    for name, space, one in releases:
        yield Unit(name, "Release", name, space, entry.root, entry, one.holds, one.replicas)


def _near(path: str, named: str) -> str:
    return joined(posixpath.dirname(path), named)
