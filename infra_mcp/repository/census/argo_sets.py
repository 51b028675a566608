"""The applications of Argo CD's ApplicationSets, as far as the repository says: lists, and files and folders of git.

Other generators ask a cluster or a forge. What they would give is not known; the rest of the template is.
Source: Argo CD, "ApplicationSet: Generators".
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import Any, Final

from infra_mcp.model.effect import FieldPath
from infra_mcp.repository.census.argo_templates import (
    OPEN,
    Fixed,
    PathParameter,
    Rendered,
    TemplateParameters,
    Text,
    Under,
)
from infra_mcp.repository.census.index import Index
from infra_mcp.repository.layers import Below, Document, Source, Stack, helm_values
from infra_mcp.repository.lenient import as_text, items, mapping, maps
from infra_mcp.repository.partial import get_path
from infra_mcp.repository.scalars import Json

MOST: Final = 1000  # applications of one set
_DEEPEST: Final = 4
_LONGEST: Final = 500  # characters of a pattern
_NAMING = ("name", "cluster", "env", "environment")  # keys that may name an element
_BESIDE = frozenset({"selector", "template"})


@dataclass(frozen=True)
class Given:
    """What a generator gives for one application."""

    layers: tuple[Source, ...] = ()  # the last one decides
    files: frozenset[str] = frozenset()

    @cached_property
    def source(self) -> Stack:
        """All of them."""
        return helm_values(self.layers)

    def with_(self, other: Given) -> Given:
        """This one, with another laid over it."""
        return Given((*self.layers, *other.layers), self.files | other.files)


@dataclass
class Generators:
    """Reads the generators of one set.

    Args:
        index: of the repository.
        source: the set.
        is_go: whether its templates are Go's.
        is_ours: tells whether a URL is this repository's.
    """

    index: Index
    source: Source
    is_go: bool
    is_ours: Callable[[Json], bool]
    unknown: list[str] = field(default_factory=list)  # generators that only the cluster or a forge can answer

    def all(self) -> list[Given]:
        """What they give."""
        found: list[Given] = []
        for one in self._each(self.source, ("spec", "generators"), 0):
            found += islice(one, MOST + 1 - len(found))
        if len(found) > MOST:
            self.unknown.append(f"more than {MOST} applications")
        return found[:MOST]

    def _each(self, source: Source, at: FieldPath, depth: int) -> Iterator[Iterable[Given]]:
        listed = get_path(source.value, at)[1]
        for position, one in enumerate(listed[: MOST + 1] if isinstance(listed, list) else ()):
            if isinstance(one, dict):
                yield self._one(source, (*at, position), one, depth)

    def _one(self, source: Source, at: FieldPath, generator: Json, depth: int) -> Iterator[Given]:
        kind = next((key for key in generator if key not in _BESIDE), "") if isinstance(generator, dict) else ""
        value = generator.get(kind) if kind else None
        given: Iterable[Given] | None = None
        if isinstance(value, dict) and not generator.get("template"):
            match kind:
                case "list":
                    given = self._list(source, (*at, kind))
                case "git" if self.is_ours(value.get("repoURL")):
                    given = self._git(source, (*at, kind), value)
                case "matrix" if depth < _DEEPEST:
                    given = self._matrix(source, (*at, kind, "generators"), depth)
                case "merge" if depth < _DEEPEST:
                    given = self._merge(source, (*at, kind), value, depth)
        if given is None:
            self.unknown.append(kind or "an empty generator")
            yield Given()
            return
        yield from (one for one in given if self._is_selected(one, generator.get("selector")))

    def _list(self, source: Source, at: FieldPath) -> Iterator[Given]:
        elements: Source = Below(source, (*at, "elements"))
        if elements.value is None:
            elements = Text(source, (*at, "elementsYaml"))
            if OPEN in str(get_path(source.value, (*at, "elementsYaml"))[1]):
                self.unknown.append("elementsYaml with a template")
                yield Given()
                return
        listed = items(elements.value)
        for step, one in zip(_steps(listed), listed, strict=True):
            if isinstance(one, dict):
                yield Given((Below(elements, (step,)),))

    def _git(self, source: Source, at: FieldPath, value: dict[str, Any]) -> Iterator[Given]:
        prefix = value.get("pathParamPrefix")
        below = (str(prefix), "path") if prefix else ("path",)
        for path, layers in self._files(value) if value.get("files") else self._folders(value):
            given = Given((*layers, Under(below, Fixed(_path(path, is_file=bool(layers))))))
            given = replace(given, files=frozenset({path} if layers else ()))
            if isinstance(value.get("values"), dict):
                own = Rendered(Below(source, (*at, "values")), TemplateParameters(given.source, self.is_go))
                given = given.with_(Given((Under(("values",), own),)))
            yield given

    def _files(self, value: dict[str, Any]) -> Iterator[tuple[str, tuple[Source, ...]]]:
        patterns = _patterns(maps(value, "files"))
        for path in self.index.tree.entries if patterns[0] else ():
            if _is_taken(path, patterns, _of_git) and self.index.tree.is_file(path):
                for number, document in enumerate(self.index.documents(path)):
                    if isinstance(document, dict):
                        yield path, (Document(path, number, document),)
                    for position, one in enumerate(document if isinstance(document, list) else ()):
                        if isinstance(one, dict):
                            yield path, (Document(path, number, one, (position,)),)

    def _folders(self, value: dict[str, Any]) -> Iterator[tuple[str, tuple[Source, ...]]]:
        patterns = _patterns(maps(value, "directories"))
        for folder in sorted(self.index.listing.folders) if patterns[0] else ():
            if not f"/{folder}".count("/.") and _is_taken(folder, patterns, is_like):
                yield folder, ()

    def _matrix(self, source: Source, at: FieldPath, depth: int) -> Iterator[Given]:
        """Each of the first with each of the second, which may name what the first one gives."""
        listed = get_path(source.value, at)[1]
        first, second = listed if isinstance(listed, list) and len(listed) == 2 else ({}, {})  # noqa: PLR2004 - by its rule
        if not (isinstance(first, dict) and isinstance(second, dict)):
            return
        for one in islice(self._one(source, (*at, 0), first, depth + 1), MOST):
            inner: Source = Below(source, (*at, 1))
            if OPEN in str(second):
                inner = Rendered(inner, TemplateParameters(one.source, self.is_go))
            for other in self._one(inner, (), inner.value, depth + 1):
                yield one.with_(other)

    def _merge(self, source: Source, at: FieldPath, value: dict[str, Any], depth: int) -> Iterator[Given]:
        """Those of the first, each with those of the others laid over it that have the same keys."""
        keys = [as_text(key).split(".") for key in items(value, "mergeKeys")]
        given = [list(islice(one, MOST)) for one in self._each(source, (*at, "generators"), depth + 1)]

        def key(one: Given) -> str:
            return repr([as_text(get_path(one.source.value, tuple(words))[1]) for words in keys])

        over: list[dict[str, Given]] = [{key(one): one for one in some} for some in given[1:]]
        for one in given[0] if given else ():
            made = one
            for others in over:
                made = made.with_(others.get(key(one), Given()))
            yield made

    def _is_selected(self, given: Given, selector: Json) -> bool:
        """Whether the labels of a selector are among the parameters."""
        if not isinstance(selector, dict):
            return True
        parameters = TemplateParameters(given.source, is_go=False)
        labels, rules = mapping(selector, "matchLabels"), maps(selector, "matchExpressions")
        every: list[tuple[str, Json, Json]] = [(key, "In", [value]) for key, value in labels.items()]
        every += [(str(one.get("key")), one.get("operator"), one.get("values") or []) for one in rules]
        return all(_fits(parameters.text(key), operator, wanted) for key, operator, wanted in every)


def _fits(text: str | None, operator: Json, wanted: Json) -> bool:
    named = {as_text(one) for one in wanted} if isinstance(wanted, list) else set()
    match operator:
        case "In":
            return text in named
        case "NotIn":
            return text not in named
        case "Exists":
            return text is not None
        case _:
            return operator == "DoesNotExist" and text is None


def _steps(listed: list[Any]) -> list[Any]:
    """How to name each element: by a key that tells them apart, else by its position."""
    for key in _NAMING:
        names = [one.get(key) if isinstance(one, dict) else None for one in listed]
        if all(isinstance(one, str) and OPEN not in one for one in names) and len(set(names)) == len(names):
            return [{key: name} for name in names]
    return list(range(len(listed)))


def _patterns(listed: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """The patterns of what is taken, and of what is not."""
    found: tuple[list[str], list[str]] = ([], [])
    for one in listed:
        text = one.get("path")
        if isinstance(text, str) and len(text) <= _LONGEST:
            found[one.get("exclude") is True].append(re.sub(r"\*+", "*", text.strip("/")))
    return found


def _of_git(path: str, pattern: str) -> bool:
    """As git matches files: a star stands for slashes, too."""
    return fnmatch.fnmatchcase(path, pattern)


def is_like(path: str, pattern: str) -> bool:
    """Whether a path fits a pattern as Go's `path.Match` takes it: a star stands for a part of a name."""
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def _is_taken(path: str, patterns: tuple[list[str], list[str]], fits: Callable[[str, str], bool]) -> bool:
    taken, left = patterns
    return any(fits(path, one) for one in taken) and not any(fits(path, one) for one in left)


def _path(path: str, *, is_file: bool) -> PathParameter:
    folder = posixpath.dirname(path) if is_file else path
    base, name = posixpath.basename(folder), posixpath.basename(path)
    return PathParameter(
        path=folder,
        basename=base,
        basenameNormalized=_normal(base),
        segments=folder.split("/"),
        **({"filename": name, "filenameNormalized": _normal(name)} if is_file else {}),
    )


def _normal(name: str) -> str:
    """A name as DNS takes it, as Argo CD makes it."""
    return re.sub(r"[^a-z0-9.-]", "-", name.lower())[:253].strip("-.")
