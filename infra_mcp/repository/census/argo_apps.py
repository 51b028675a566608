"""Argo CD's Applications that a repository holds: written out, patched by kustomize, or made by ApplicationSets."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Final

from infra_mcp.model.effect import FieldPath
from infra_mcp.repository.census.argo_sets import Generators
from infra_mcp.repository.census.argo_templates import Rendered, TemplateParameters, Text
from infra_mcp.repository.census.built import Built
from infra_mcp.repository.census.composition import compose
from infra_mcp.repository.census.entries import ARGO_APPLICATIONS, cluster_of
from infra_mcp.repository.census.environments import ENVIRONMENTS, SHARED, STAGES
from infra_mcp.repository.census.index import Index
from infra_mcp.repository.kustomization import is_kustomization
from infra_mcp.repository.layers import Below, Source, helm_values
from infra_mcp.repository.lenient import as_text, joined, mapping, maps, texts
from infra_mcp.repository.load import remembered
from infra_mcp.repository.partial import get_path
from infra_mcp.repository.scalars import Json

_HERE: Final = "in-cluster"  # the cluster that Argo CD itself runs in
_WORD = re.compile(r"(?!v?\d)[A-Za-z][\w.-]{0,62}")
_HOST = re.compile(r"https?://([A-Za-z][\w-]*)\.[\w.-]+(?::\d+)?/?")
_LOCAL = re.compile(r"https?://kubernetes\.default(?:[.:/].*)?")
_GLOB = re.compile(r"[*?\[{]")
# Values files that are named after what they are for: `values-prod.yaml`, `prod.values.yaml`, `env/prod/values.yaml`.
_VALUES = re.compile(r"(?:values|secrets|config|settings)[-_.]|[-_.](?:values|secrets)$", re.IGNORECASE)


@dataclass(frozen=True)
class Application:
    """One Application, as its file or its set has it."""

    source: Source  # a map with `metadata` and `spec`
    path: str  # the file that holds it
    files: frozenset[str]  # every file that makes it
    set_name: str = ""  # of the ApplicationSet
    given: tuple[str, ...] = ()  # words from the parameters that its set gave it, and from the folder of its file

    @cached_property
    def spec(self) -> dict[str, Any]:
        """Its spec; empty where there is none."""
        return mapping(self.source.value, "spec")

    @cached_property
    def name(self) -> str:
        """Its name; its set's where only the cluster knows it."""
        return as_text(get_path(self.source.value, ("metadata", "name"))[1]) or self.set_name

    @property
    def by(self) -> str:
        """As people call it."""
        namespace = get_path(self.source.value, ("metadata", "namespace"))[1]
        return f"{'Application' if self.is_named else 'ApplicationSet'} {namespace or 'argocd'}/{self.name}"

    @property
    def is_named(self) -> bool:
        """Whether its own name is known."""
        return bool(get_path(self.source.value, ("metadata", "name"))[1])

    @property
    def sources(self) -> list[tuple[FieldPath, dict[str, Any]]]:
        """Where each source stands, and what it says. With `sources`, `source` is not read."""
        several = self.spec.get("sources")
        if isinstance(several, list) and several:
            return [(("spec", "sources", i), one) for i, one in enumerate(several) if isinstance(one, dict)]
        one = self.spec.get("source")
        return [(("spec", "source"), one)] if isinstance(one, dict) else []

    @cached_property
    def destination(self) -> dict[str, str]:
        """Where it goes."""
        return {key: as_text(one) for key, one in mapping(self.spec, "destination").items()}

    @property
    def cluster(self) -> str | None:
        """The name of its cluster, as far as the repository says."""
        name = self.destination.get("name")
        return name if name and name != _HERE else cluster_of(self.path)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The words that may tell it from other instances of an app."""
        found = [*self.given, *self._of_values()]
        if not found and not self.cluster:
            host = _HOST.fullmatch(server := self.destination.get("server", ""))
            found += [host[1]] if host and not _LOCAL.fullmatch(server) else []
        return tuple(dict.fromkeys(word for word in found if _WORD.fullmatch(word)))

    def _of_values(self) -> Iterator[str]:
        """What the names of its values files say."""
        for _, one in self.sources:
            for path in texts(one.get("helm"), "valueFiles"):
                stem = _VALUES.sub("", posixpath.splitext(posixpath.basename(path))[0])
                above = posixpath.basename(posixpath.dirname(path))
                yield from (word for word in (above, stem) if word and not SHARED.fullmatch(word))

    @cached_property
    def app(self) -> str:
        """Its name without the environment."""
        clusters = {self.cluster} if self.cluster else set()
        names = {word for word in self.words if ENVIRONMENTS.fullmatch(word)} | clusters
        name = short = self.name
        while cut := _cut(short, names):
            short = cut
        return short if short != name else _cut(name, set(self.words), at_end=True) or name


def _cut(name: str, words: set[str], *, at_end: bool = False) -> str:
    """A name without a word at one end; empty where it has none, or is one."""
    for word in sorted(words, key=len, reverse=True):
        if name.endswith((f"-{word}", f"_{word}", f".{word}")):
            return name[: -len(word) - 1]
        if not at_end and name.startswith((f"{word}-", f"{word}_", f"{word}.")):
            return name[len(word) + 1 :]
    head, _, last = name.rpartition("-")
    return head if not at_end and STAGES.fullmatch(last) else ""


@dataclass
class Applications:
    """The Applications of a repository, and which URLs are its own."""

    index: Index
    _unknown: list[str] = field(default_factory=list)

    @property
    def unknown(self) -> list[str]:
        """What only the cluster or a forge knows: each set with its generator."""
        _ = self.all
        return self._unknown

    @cached_property
    def all(self) -> list[Application]:
        """Every one, by path."""
        found: list[Application] = []
        for one, files, words in self._objects:
            if one.kind == "Application":
                key = "application", one.path, one.base.document, one.base.at, words
                make = partial(Application, one, one.path, files, given=words)
                found.append(remembered(self.index.listing.memo, key, one, make))
            else:
                found += self._of_set(one, files, words)
        return found

    def is_ours(self, url: Json) -> bool:
        """Whether a URL is this repository's: what most paths that exist here are said to be in, however it is written.

        Where only the cluster knows a URL, its paths are looked for here.
        """
        name = _repository(url)
        return not name or name == self._own

    @cached_property
    def _objects(self) -> list[tuple[Built, frozenset[str], tuple[str, ...]]]:
        """Each object with all of its files, and the words of its folder."""
        if not self.index.saying(*ARGO_APPLICATIONS):
            return []
        found: list[tuple[Built, frozenset[str], tuple[str, ...]]] = []
        read: set[str] = set()
        for folder in sorted(self.index.roots):
            made = compose(self.index, folder)
            for one in made.objects if not made.kinds.isdisjoint(ARGO_APPLICATIONS) else ():
                if ARGO_APPLICATIONS.get(one.kind) == one.group:
                    files = frozenset(filter(is_kustomization, made.files)) | {one.path} | _patches(one)
                    found.append((one, files, _folders(f"{folder}/")))
                    read.add(one.path)
        alone = (one for one in self.index.of_kinds(ARGO_APPLICATIONS) if one.path not in read)
        return found + [(one, frozenset({one.path}), _folders(one.path)) for one in alone]

    @cached_property
    def _own(self) -> str:
        """The repository that most paths point to which are here."""
        here: Counter[str] = Counter()
        for one, *_ in self._objects:
            for url, path in _claims(get_path(one.value, ("spec",))[1]):
                if path and (name := _repository(url)):
                    here[name] += 1 if path in self.index.listing.folders or self.index.tree.is_file(path) else -1
        best = max(here, key=lambda name: here[name], default="")
        return best if here[best] > 0 else ""

    def _of_set(self, one: Built, files: frozenset[str], words: tuple[str, ...]) -> Iterator[Application]:
        spec = get_path(one.value, ("spec",))[1]
        name = as_text(get_path(one.value, ("metadata", "name"))[1])
        if not isinstance(spec, dict) or not isinstance(spec.get("template"), dict):
            return
        is_go = spec.get("goTemplate") is True
        generators = Generators(self.index, one, is_go, self.is_ours)
        for given in generators.all():
            parameters = TemplateParameters(given.source, is_go)
            template = Below(one, ("spec", "template"))
            made: Source = Rendered(template, parameters)
            if patch := spec.get("templatePatch"):
                over = Rendered(Text(one, ("spec", "templatePatch")), parameters)
                if not isinstance(over.value, dict):
                    generators.unknown.append(f"a templatePatch of {len(str(patch))} characters")
                    break
                made = helm_values([made, over])
            named = tuple(_named(parameters, template.value))
            yield Application(made, one.path, files | given.files, name, (*named, *words))
        for what in dict.fromkeys(generators.unknown):
            self._unknown.append(f"ApplicationSet {name} in {one.path}: {what}")


def _named(parameters: TemplateParameters, template: Json) -> Iterator[str]:
    """The parameters that tell one Application from another: in its name, source and destination."""
    yield from parameters.named(get_path(template, ("metadata", "name"))[1])
    spec = get_path(template, ("spec",))[1]
    for one in (*maps(spec, "sources"), get_path(spec, ("source",))[1]):
        for at in (("path",), ("helm", "valueFiles"), ("helm", "releaseName")):
            yield from parameters.named(get_path(one, at)[1])
    yield from parameters.named(get_path(spec, ("destination",))[1])


def _claims(spec: Json) -> Iterator[tuple[Json, str]]:
    """Each URL with a path that must be in it, up to its first template or pattern."""
    if isinstance(spec, list):
        for one in spec:
            yield from _claims(one)
    if not isinstance(spec, dict):
        return
    url, path = spec.get("repoURL"), spec.get("path")
    if isinstance(path, str) and not spec.get("chart"):
        yield url, _fixed(path)
    for one in (*maps(spec, "directories"), *maps(spec, "files")):
        if one.get("exclude") is not True:
            yield url, _fixed(as_text(one.get("path")))
    yield from _claimed_values(spec)
    for key in ("source", "sources", "template", "spec", "generators", "git", "matrix", "merge"):
        if inner := spec.get(key):
            yield from _claims(inner)


def _claimed_values(spec: dict[str, Any]) -> Iterator[tuple[Json, str]]:
    """The values files that sources name through the `ref` of another one."""
    refs = {f"${one['ref']}": one.get("repoURL") for one in maps(spec, "sources") if one.get("ref")}
    for one in maps(spec, "sources") if refs else ():
        for path in texts(one.get("helm"), "valueFiles"):
            ref, _, rest = path.partition("/")
            if ref in refs:
                yield refs[ref], _fixed(rest)


def _fixed(path: str) -> str:
    found = _GLOB.search(path)
    return normal(path if found is None else path[: found.start()].rpartition("/")[0])


def normal(path: str) -> str:
    """A path from the top of the repository; `..` is left in front where it leads out."""
    return joined("", path.lstrip("/"))


def _repository(url: Json) -> str:
    """The owner and name of a repository, however its URL is written; empty where it is not known."""
    text = as_text(url)
    if not text or "{{" in text or not text.isprintable():
        return ""
    path = re.sub(r"^[a-z+]+://[^/]*/|^[^/@]*@?[^/:]*:", "", text.strip(), flags=re.IGNORECASE)
    return "/".join(path.rstrip("/").removesuffix(".git").lower().split("/")[-2:])


def _patches(one: Built) -> frozenset[str]:
    found = (getattr(getattr(step, "source", None), "path", None) for step in one.steps)
    return frozenset(path for path in found if isinstance(path, str))


def _folders(path: str) -> tuple[str, ...]:
    return tuple(part for part in posixpath.dirname(path).split("/") if part)
