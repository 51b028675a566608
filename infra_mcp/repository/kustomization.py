"""Reads one kustomization: every file and folder that it names, as kustomize takes them. Nothing is followed or built.

What kustomize could take differently from us is refused, since it would read what we do not see: Go takes a key in any
case, and a text that is no object is a path. Source: kustomize's api, `types` and `internal/target`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from infra_mcp.repository.lenient import items
from infra_mcp.repository.nodes import Unreadable, compose, decode, values
from infra_mcp.text import named

NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_MAX_KEPT = 16 * 1024  # bytes of a kustomization whose content is remembered

_TARGETS: dict[str, Literal["target", "folder", "file"]] = {
    "resources": "target",
    "bases": "target",
    "components": "folder",
    "crds": "file",
    "configurations": "file",
}
_PLUGINS = ("generators", "transformers", "validators")
_SOURCES = ("configMapGenerator", "secretGenerator")
_HELM = ("helmCharts", "helmChartInflationGenerator")
_PLAIN = (
    "apiVersion buildMetadata commonAnnotations commonLabels generatorOptions helmGlobals imageTags images kind labels"
    " metadata namePrefix nameSuffix namespace openapi patches patchesJson6902 patchesStrategicMerge replacements"
    " replicas sortOptions vars"
)
_KEYS = frozenset({*_PLAIN.split(), *_TARGETS, *_PLUGINS, *_SOURCES, *_HELM})
_OF_PLUGIN_FOLDERS = frozenset({"apiVersion", "kind", "metadata", "resources", "bases"})
_FILE_KEYS = ("path", "paths", "targetFilePath", "files", "envs", "env", "replacements", "literals", "patches")
_BUILTIN = frozenset(
    {f"{name}Generator" for name in ("ConfigMap", "IAMPolicy", "Secret")}
    | {f"{name}Transformer" for name in ("Annotations", "Hash", "ImageTag", "Label", "Namespace", "Patch")}
    | {f"Patch{name}Transformer" for name in ("Json6902", "StrategicMerge")}
    | {f"{name}Transformer" for name in ("PrefixSuffix", "Prefix", "Replacement", "ReplicaCount", "Suffix", "ValueAdd")}
)
# What kustomize clones or downloads: a scheme, a forced protocol, a user before a host, or GitHub without a scheme.
_REMOTE = re.compile(
    r"(?:[a-z]+::)?(?:[a-z][a-z0-9+.-]*://|gh:|[a-z][a-z0-9-]*@|github\.com[:/])|https?:", re.IGNORECASE
)


class Reference(NamedTuple):
    """A file or folder that a kustomization names."""

    field: str  # the kustomization's key, such as `resources`
    entry: str  # where it stands, such as `configMapGenerator[0].files[1]`
    text: str  # as it stands
    kind: Literal[
        "target", "folder", "file", "plugin", "inline"
    ]  # a target is a file or folder; inline text is no path
    secret: bool = False


class SelectorLabel(NamedTuple):
    """A label that a kustomization writes into selectors."""

    file: str
    entry: str
    key: str
    value: str


@dataclass(frozen=True)
class Kustomization:
    """What one kustomization says about its build."""

    kind: str = ""
    references: tuple[Reference, ...] = ()
    selector_labels: tuple[tuple[str, str, str], ...] = ()  # entry, key, value
    secrets: tuple[str, ...] = field(default=(), repr=False)  # literals of secret generators
    refused: tuple[str, ...] = ()  # why a build of it is not closed: the entry and the reason
    is_plain: bool = False  # names resources and changes nothing


def is_kustomization(path: str) -> bool:
    """Whether a file has the name of a kustomization."""
    return path.endswith(NAMES) and posixpath.basename(path) in NAMES


def is_remote(text: str) -> bool:
    """Whether kustomize would fetch this from elsewhere, where no file of that name is here."""
    return _REMOTE.match(text) is not None


def parse_kustomization(data: bytes) -> Kustomization:
    """What a kustomization says. One that cannot be read is refused, with the line."""
    return _kept(data) if len(data) <= _MAX_KEPT else _parse(data)


def parse_plugins(data: bytes, entry: str) -> Kustomization:
    """The references of a file with configurations of generators, transformers or validators, as of a kustomization.

    Args:
        data: the file.
        entry: the kustomization's entry that names it.
    """
    try:
        documents = values(compose(decode(data)))
    except Unreadable as error:
        return Kustomization(refused=(f"{entry}: line {error.line}: {error.why}",))
    found = _Reader()
    for document in documents:
        if document is not None:
            found.plugin(document, entry.partition("[")[0], entry)
    return found.done()


def _parse(data: bytes) -> Kustomization:
    try:
        documents = values(compose(decode(data)))
    except Unreadable as error:
        return Kustomization(refused=(f"line {error.line}: {error.why}",))
    found = _Reader()
    read = [one for one in documents if one is not None]
    if len(read) != 1 or documents[0] is None:
        found.refused.append("it is not one YAML document")
    for document in read:
        if isinstance(document, dict):
            found.kustomization(document)
        else:
            found.refused.append("it is no mapping")
    return found.done(read[0] if read and isinstance(read[0], dict) else {})


_kept = lru_cache(maxsize=4096)(_parse)


class _Reader:
    def __init__(self) -> None:
        self.references: list[Reference] = []
        self.refused: list[str] = []
        self.labels: list[tuple[str, str, str]] = []
        self.secrets: list[str] = []

    def done(self, document: Mapping[str, Any] | None = None) -> Kustomization:
        about = document or {}
        return Kustomization(
            kind=str(about.get("kind") or "Kustomization"),
            references=tuple(self.references),
            selector_labels=tuple(self.labels),
            secrets=tuple(self.secrets),
            refused=tuple(self.refused),
            is_plain=_OF_PLUGIN_FOLDERS.issuperset(about),
        )

    def kustomization(self, document: dict[str, Any]) -> None:
        for key in document.keys() - _KEYS:
            self.refused.append(f"{named(key)} is no key of a kustomization, or is written differently")
        for name, kind in _TARGETS.items():
            for entry, text in self.texts(document.get(name), name):
                self.references.append(Reference(name, entry, text, kind))
        self.plugins(document)
        self.patches(document)
        for name in _SOURCES:
            for entry, args in self.mappings(document.get(name), name):
                self.path(args, name, entry)
                self.sources(args, name, entry, secret=name == "secretGenerator")
        self.selectors(document)

    def plugins(self, document: dict[str, Any]) -> None:
        for name in _HELM:
            for entry, _ in self.each(document.get(name), name):
                self.refused.append(f"{entry}: a build runs no Helm")
        for name in _PLUGINS:
            for entry, text in self.texts(document.get(name), name):
                self.plugin_text(text, name, entry)

    def patches(self, document: dict[str, Any]) -> None:
        for name in ("patches", "patchesJson6902", "replacements"):
            self.paths(document.get(name), name, name)
        for entry, text in self.texts(document.get("patchesStrategicMerge"), "patchesStrategicMerge"):
            self.patch_text(text, "patchesStrategicMerge", entry)
        openapi = document.get("openapi")
        if isinstance(openapi, dict):
            self.path(openapi, "openapi", "openapi")

    def plugin_text(self, text: str, name: str, entry: str) -> None:
        """An entry of `generators` and the like: a configuration, or the path of some."""
        inline = _objects(text)
        if inline is None:
            self.references.append(Reference(name, entry, text, "plugin"))
            return
        self.references.append(Reference(name, entry, text, "inline"))
        for document in inline:
            self.plugin(document, name, entry)

    def plugin(self, document: Any, name: str, entry: str) -> None:  # noqa: ANN401 - any JSON value
        about = document if isinstance(document, dict) else {}
        version, kind = about.get("apiVersion"), about.get("kind")
        if version != "builtin" or str(kind) not in _BUILTIN:
            tool = "Helm" if kind == "HelmChartInflationGenerator" else "plugin or function"
            self.refused.append(f"{entry}: {named(str(kind))} of {named(str(version))}: a build runs no {tool}")
            return
        self.path(about, name, entry)
        self.paths(about.get("replacements"), name, f"{entry}.replacements")
        if "targetFilePath" in about:
            self.file(about["targetFilePath"], name, f"{entry}.targetFilePath")
        for where, text in self.texts(about.get("paths"), f"{entry}.paths"):
            self.patch_text(text, name, where)
        self.sources(about, name, entry, secret=kind == "SecretGenerator")

    def patch_text(self, text: str, name: str, entry: str) -> None:
        """An entry of `patchesStrategicMerge`: a patch, or the path of one."""
        kind: Literal["inline", "file"] = "file" if _objects(text) is None else "inline"
        self.references.append(Reference(name, entry, text, kind))

    def paths(self, entries: Any, name: str, entry: str) -> None:  # noqa: ANN401
        for where, one in self.mappings(entries, entry):
            self.path(one, name, where)

    def path(self, one: dict[str, Any], name: str, entry: str) -> None:
        for key in one:
            if key not in _FILE_KEYS and key.casefold() in _FOLDED:  # Go would take it
                self.refused.append(f"{entry}.{named(key)}: the key is written differently")
        if one.get("path") not in (None, ""):
            self.file(one["path"], name, f"{entry}.path")

    def sources(self, args: dict[str, Any], name: str, entry: str, *, secret: bool) -> None:
        for where, text in self.texts(args.get("files"), f"{entry}.files"):
            key, _, path = text.rpartition("=")
            if "=" in key or (not key and "=" in text) or not path:
                self.refused.append(f"{where}: it is neither a path nor KEY=PATH")
            else:
                self.references.append(Reference(name, where, path, "file", secret))
        for where, text in self.texts(args.get("envs"), f"{entry}.envs"):
            self.references.append(Reference(name, where, text, "file", secret))
        if args.get("env") not in (None, ""):
            self.file(args["env"], name, f"{entry}.env", secret=secret)
        if secret:
            for _, text in self.texts(args.get("literals"), f"{entry}.literals"):
                self.secrets.append(text.partition("=")[2] or text)

    def selectors(self, document: dict[str, Any]) -> None:
        common = document.get("commonLabels")
        found = [("commonLabels", common)] + [
            (f"{entry}.pairs", one.get("pairs"))
            for entry, one in self.mappings(document.get("labels"), "labels")
            if one.get("includeSelectors") is True
        ]
        for entry, pairs in found:
            if isinstance(pairs, dict):
                self.labels += [(f"{entry}.{key}", key, str(value)) for key, value in pairs.items()]

    def file(self, text: Any, name: str, entry: str, *, secret: bool = False) -> None:  # noqa: ANN401
        if isinstance(text, str):
            self.references.append(Reference(name, entry, text, "file", secret))
        else:
            self.refused.append(f"{entry}: it is no text")

    def texts(self, entries: Any, entry: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401
        for where, one in self.each(entries, entry):
            if isinstance(one, str):
                yield where, one
            else:
                self.refused.append(f"{where}: it is no text")

    def mappings(self, entries: Any, entry: str) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: ANN401
        for where, one in self.each(entries, entry):
            if isinstance(one, dict):
                yield where, one
            else:
                self.refused.append(f"{where}: it is no mapping")

    def each(self, entries: Any, entry: str) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
        if entries is not None and not isinstance(entries, list):
            self.refused.append(f"{entry}: it is no list")
        yield from ((f"{entry}[{index}]", one) for index, one in enumerate(items(entries)))


_FOLDED = frozenset(key.casefold() for key in _FILE_KEYS)


def _objects(text: str) -> list[dict[str, Any]] | None:
    """The objects of an inline text; None for a text that kustomize takes as a path."""
    try:
        documents = [one for one in values(compose(text)) if one is not None]
    except Unreadable:
        return None
    whole = [one for one in documents if isinstance(one, dict) and {"apiVersion", "kind"} <= one.keys()]
    return whole if documents and len(whole) == len(documents) else None
