"""Finds an object's file anywhere in the repository, also outside the roots: for advice, never for an edit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from infra_mcp.repository.census import helmfile
from infra_mcp.repository.census.built import Built
from infra_mcp.repository.census.index import Index
from infra_mcp.repository.census.templates import documents
from infra_mcp.repository.layers import Document
from infra_mcp.repository.lenient import mapping, maps

# What an object of the kind cannot be without, and a patch of one mostly is: one of each group.
_NEEDED: Final[Mapping[str, tuple[frozenset[str], ...]]] = {
    "HelmRelease": (frozenset({"chart", "chartRef"}),),
    "Kustomization": (frozenset({"sourceRef"}),),
    "Application": (frozenset({"source", "sources"}),),
    **dict.fromkeys(("Deployment", "StatefulSet", "DaemonSet"), (frozenset({"selector"}), frozenset({"template"}))),
}


def find_anywhere(
    index: Index, group: str, kind: str, name: str, namespace: str, fits: Callable[[Built], bool] | None = None
) -> list[Document]:
    """Where an object of this kind and name is, in any readable file that counts; patches only where all are such.

    Those with this namespace go before those without one. Of the latter, whose namespace something else gives, those
    in a folder of the namespace's name go first.

    Args:
        index: of the repository.
        group: the kind's API group.
        kind: the kind.
        name: its name.
        namespace: its namespace; empty where it is unknown.
        fits: whether an object of the kind is meant, instead of its name.
    """
    found = [one for one in index.of_kinds({kind: group}) if (fits(one) if fits else one.name == name)]
    found = [one for one in found if not namespace or one.namespace in {None, namespace}]
    for better in (_is_whole, lambda one: one.namespace, lambda one: namespace in one.path.split("/")):
        found = [one for one in found if better(one)] or found
    return [one.base for one in found]


def find_release(index: Index, name: str) -> list[Document]:
    """The helmfiles that have a release of this name."""
    return [
        Document(path, number, document)
        for path in helmfile.paths(index)
        for number, document in enumerate(documents(index, path))
        if any(one.get("name") == name for one in maps(document, "releases"))
    ]


def _is_whole(one: Built) -> bool:
    spec: dict[str, Any] = mapping(one.value, "spec")
    return bool(spec) and not any(keys.isdisjoint(spec) for keys in _NEEDED.get(one.kind, ()))
