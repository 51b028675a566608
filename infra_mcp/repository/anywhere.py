"""Finds an object's file anywhere in the repository, also outside the roots: for advice, never for an edit. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from infra_mcp.repository.nodes import Unreadable, compose, decode, values
from infra_mcp.repository.render import Found, Located, read
from infra_mcp.repository.value import SAMPLES, SUFFIXES, Tree

# What an object of the kind cannot be without, and a patch of one mostly is: one of each group.
_NEEDED: Final[Mapping[str, tuple[frozenset[str], ...]]] = {
    "HelmRelease": (frozenset({"chart", "chartRef"}),),
    "Kustomization": (frozenset({"sourceRef"}),),
    "Application": (frozenset({"source", "sources"}),),
    **dict.fromkeys(("Deployment", "StatefulSet", "DaemonSet"), (frozenset({"selector"}), frozenset({"template"}))),
}


def find_anywhere(
    tree: Tree, group: str, kind: str, name: str, namespace: str, fits: Callable[[dict[str, Any]], bool] | None = None
) -> list[Located]:
    """Where an object of this kind and name is, in any readable file but samples; patches only where all are such.

    Those with this namespace go before those without one. Of the latter, whose namespace something else gives, those
    in a folder of the namespace's name go first.

    Args:
        tree: the repository.
        group: the kind's API group.
        kind: the kind.
        name: its name.
        namespace: its namespace; empty where it is unknown.
        fits: whether an object of the kind is meant, instead of its name.
    """
    found = [
        one
        for path, data in _saying(tree, SUFFIXES, kind, name)
        for one in _objects(data, path)
        if (one.ref.group, one.ref.kind) == (group, kind)
        and (fits(one.object) if fits else one.ref.name == name)
        and (not namespace or one.ref.namespace in {None, namespace})
    ]
    for better in (_is_whole, lambda one: one.ref.namespace, lambda one: namespace in one.path.split("/")):
        found = [one for one in found if better(one)] or found
    return found


def find_release(tree: Tree, name: str) -> list[Found]:
    """The helmfiles that have a release of this name."""
    found = []
    for path, data in _saying(tree, SUFFIXES, "releases", name):
        if posixpath.basename(path).startswith("helmfile") or "helmfile.d/" in path:
            for number, document in enumerate(_documents(data)):
                releases = document.get("releases") if isinstance(document, dict) else None
                listed = releases if isinstance(releases, list) else []
                if any(isinstance(one, dict) and one.get("name") == name for one in listed):
                    found.append(Found(path, number, document, ()))
    return found


def _saying(tree: Tree, suffixes: tuple[str, ...], *words: str) -> Iterator[tuple[str, bytes]]:
    paths = [path for path in tree.entries if path.endswith(suffixes) and not SAMPLES.search(path)]
    for path, data in tree.read_all(paths).items():
        if data and all(word.encode() in data for word in words):
            yield path, data


def _objects(data: bytes, path: str) -> list[Located]:
    try:
        return read(data, path, malformed=[])
    except Unreadable:
        return []


def _documents(data: bytes) -> list[Any]:
    try:
        return values(compose(decode(data)))
    except Unreadable:
        return []


def _is_whole(one: Located) -> bool:
    spec = one.object.get("spec")
    return isinstance(spec, dict) and not any(keys.isdisjoint(spec) for keys in _NEEDED.get(one.ref.kind, ()))
