"""Which manifests kustomize builds into something else, so that they are not taken for what is applied.

Only told apart, not built: a manifest in a folder with a kustomization, below one, or named by one.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Mapping
from functools import cache, lru_cache
from typing import Any

from infra_mcp.repository.nodes import Unreadable, compose, decode, values

_NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_REFERENCES = ("resources", "bases", "components")
# Files that change what is built: they may look like an object and are none.
_CHANGES = ("patches", "patchesStrategicMerge", "patchesJson6902", "replacements", "transformers", "configurations")


def is_kustomization(path: str) -> bool:
    """Whether kustomize takes a file of this name for its own."""
    return path.endswith(_NAMES) and posixpath.basename(path) in _NAMES


def governed(kustomizations: Mapping[str, bytes], paths: Collection[str]) -> dict[str, str]:
    """The kustomization that each of these paths belongs to, where one does.

    Args:
        kustomizations: the content of each, by path. One that cannot be read still has its folder.
        paths: the manifests asked about.
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
    """The files that a kustomization names as a patch, or another change of what it builds, wherever they lie."""
    every = kustomizations.items()
    named = {target for path, data in every for target in _references(path, data, _CHANGES)}
    return frozenset(named - {target for path, data in every for target in _references(path, data, _REFERENCES)})


def _references(path: str, data: bytes, keys: Collection[str]) -> Iterable[str]:
    for document in _documents(data):
        for key in keys if isinstance(document, dict) else ():
            named = document.get(key)
            for one in named if isinstance(named, list) else ():
                entry = one.get("path") if isinstance(one, dict) else one
                if isinstance(entry, str) and "\n" not in entry and "://" not in entry:
                    target = posixpath.normpath(posixpath.join(posixpath.dirname(path), entry))
                    if not target.startswith(("..", "/")):
                        yield target if target != "." else ""


@lru_cache(maxsize=4096)
def _documents(data: bytes) -> list[Any]:
    try:
        return values(compose(decode(data)))
    except Unreadable:
        return []
