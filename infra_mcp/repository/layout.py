"""Places a new object's file, and finds the manifests that kustomize builds.

Kustomize builds the manifests in a folder with a kustomization, below one, or named by one. Nothing is built here.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from typing import Any

from infra_mcp.errors import InfraError
from infra_mcp.repository.kustomization import parse_kustomization
from infra_mcp.repository.paths import SUFFIXES, normal

_FIELD = re.compile(r"\{([^{}]*)\}")
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_REFERENCES = ("resources", "bases", "components")
# Files that change a build: they may look like an object and are none.
_CHANGES = ("patches", "patchesStrategicMerge", "patchesJson6902", "replacements", "transformers", "configurations")


def place(template: str, root: str, obj: Mapping[str, Any]) -> str:
    """The path of a new object's file, from policy's `[tree] new`.

    Fields are `{root}`, `{namespace}`, `{kind}` (in small letters) and `{name}`. A Namespace goes into the folder of
    its own name; other objects without a namespace into `cluster`. A colon in a name (RBAC) becomes an underscore.

    Args:
        template: such as `{root}/{namespace}/{kind}-{name}.yaml`.
        root: one of the tree's roots.
        obj: the object.

    Raises:
        InfraError: `policy-invalid`: another field, or not the path of a manifest under the root; `manifest-invalid`:
            the object's kind, namespace or name makes no file name.
    """
    metadata = obj.get("metadata") or {}
    kind, name = str(obj.get("kind", "")).lower(), str(metadata.get("name", ""))
    namespace = metadata.get("namespace") or (name if kind == "namespace" else "cluster")
    below = normal(root)
    words = {"namespace": str(namespace), "kind": kind, "name": name.replace(":", "_")}
    for field, word in words.items():
        if not _SEGMENT.fullmatch(word):
            raise InfraError("manifest-invalid", f"No file can be named for an object with {field} {word!r}.")
    words["root"] = below
    if unknown := [field for field in _FIELD.findall(template) if field not in words]:
        what = f"[tree] new has no field {unknown[0]!r}; it has root, namespace, kind, name."
        raise InfraError("policy-invalid", what)
    path = _FIELD.sub(lambda match: words[match[1]], template).lstrip("/")
    is_inside = not below or path.startswith(f"{below}/")
    if path != posixpath.normpath(path) or not path.endswith(SUFFIXES) or not is_inside:
        raise InfraError("policy-invalid", "[tree] new makes a path that is no manifest's under the root.")
    if any(not _SEGMENT.fullmatch(part) for part in path.removeprefix(below).strip("/").split("/")):
        raise InfraError("policy-invalid", "[tree] new makes a path with hidden or odd parts.")
    return path


def governed(kustomizations: Mapping[str, bytes], paths: Collection[str]) -> dict[str, str]:
    """The kustomization of each of these paths that belongs to one.

    Args:
        kustomizations: the content of each, by path. An unreadable one still governs its folder.
        paths: paths of manifests.
    """
    there = frozenset(paths)
    folders = {posixpath.dirname(path): path for path in kustomizations}
    files: dict[str, str] = {}
    for path, data in sorted(kustomizations.items()):
        for target in _references(path, data, _REFERENCES):
            if target in there:
                files.setdefault(target, path)
            else:
                folders.setdefault(target, path)

    @cache
    def nearest(folder: str) -> str | None:
        while folder and folder not in folders:
            folder = posixpath.dirname(folder)
        return folders.get(folder)

    found = {path: files.get(path) or nearest(posixpath.dirname(path)) for path in paths}
    return {path: owner for path, owner in found.items() if owner is not None}


def patches(kustomizations: Mapping[str, bytes]) -> frozenset[str]:
    """The files, anywhere, that a kustomization names as a patch or another change of its build."""
    every = kustomizations.items()
    named = {target for path, data in every for target in _references(path, data, _CHANGES)}
    return frozenset(named - {target for path, data in every for target in _references(path, data, _REFERENCES)})


def _references(path: str, data: bytes, fields: Collection[str]) -> Iterable[str]:
    for one in parse_kustomization(data).references:
        if one.field in fields and one.kind != "inline" and "://" not in one.text:
            target = posixpath.normpath(posixpath.join(posixpath.dirname(path), one.text))
            if not target.startswith(("..", "/")):
                yield target if target != "." else ""
