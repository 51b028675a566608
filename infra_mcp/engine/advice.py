"""What to do about an object that no root has: its owner in the cluster is asked first, and leads to the right file.

A file is named only where one alone can be meant. Nothing here advises to delete a file, or to write a namespace.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from anyio import to_thread

from infra_mcp.drivers.base import Context, Driver, Owner
from infra_mcp.errors import InfraError
from infra_mcp.model.actions import ActionModel, AppAction
from infra_mcp.repository.census import helmfile
from infra_mcp.repository.census.built import Built
from infra_mcp.repository.census.index import Index
from infra_mcp.repository.census.templates import documents
from infra_mcp.repository.layers import Document
from infra_mcp.repository.lenient import as_text, mapping, maps
from infra_mcp.repository.value import NotInRepository, Tree

_HELM = "helm.toolkit.fluxcd.io"
# What an object of the kind cannot be without, and a patch of one mostly is: one of each group.
_NEEDED: Final[Mapping[str, tuple[frozenset[str], ...]]] = {
    "HelmRelease": (frozenset({"chart", "chartRef"}),),
    "Kustomization": (frozenset({"sourceRef"}),),
    "Application": (frozenset({"source", "sources"}),),
    **dict.fromkeys(("Deployment", "StatefulSet", "DaemonSet"), (frozenset({"selector"}), frozenset({"template"}))),
}


async def advise(
    driver: Driver, context: Context, tree: Tree, action: ActionModel, error: NotInRepository
) -> InfraError:
    """The error with the file to change, or with what delivers the object; itself where nothing is known of it."""
    try:
        owner = await driver.owner(context, error.ref.target)
    except InfraError:
        owner = None
    return await to_thread.run_sync(_advise, tree, action, error, owner)


def _advise(tree: Tree, action: ActionModel, error: NotInRepository, owner: Owner | None) -> InfraError:
    ref, index = error.ref, Index(tree)
    if owner is None:
        own = _own(index, error, None)
        if own is None:
            return error
        step = f"Add a root that holds {own.path} to infra.toml, if it is applied to this cluster as it is."
        return NotInRepository(ref, f"{ref} is in {own.path}, which is below no root of infra.toml.", next_step=step)
    what, elsewhere = f"{ref} is delivered by {owner}", f"Change it where {owner} comes from."
    defined = _defined(index, owner) if owner.name else []
    one: Document | None = defined[0] if len(defined) == 1 else None
    if owner.kind in {"Kustomization", "application"}:
        one = _own(index, error, one) or one
    if one is not None:
        step = f"Change it in {one.path}."
        if isinstance(action, AppAction):
            step = f"Name its file in infra.toml: [apps.{action.app}] file = {json.dumps(one.path)}"
        return NotInRepository(ref, f"{what}; its file is {one.path}.", next_step=step)
    if defined:
        what = f"{what}, which {len(defined)} files of this repository define."
        return NotInRepository(ref, what, next_step="Name in infra.toml the file that is for this cluster.")
    where = ", which no file of this repository defines" if owner.name else ""
    return NotInRepository(ref, f"{what}{where}.", next_step=elsewhere)


def _defined(index: Index, owner: Owner) -> list[Document]:
    """Where the owner's own object is."""
    if owner.tool == "Argo CD":
        return _find_anywhere(index, owner.group, "Application", owner.name, owner.namespace)
    if owner.tool != "Helm":
        return _find_anywhere(index, owner.group, owner.kind, owner.name, owner.namespace)

    def releases(one: Built) -> bool:
        spec = mapping(one.value, "spec")
        into = spec.get("targetNamespace") or one.namespace or owner.namespace
        return (spec.get("releaseName") or one.name) == owner.name and into == owner.namespace

    return _find_anywhere(index, _HELM, "HelmRelease", owner.name, "", releases) or _find_release(index, owner.name)


def _own(index: Index, error: NotInRepository, deliverer: Document | None) -> Document | None:
    """The object's own manifest, where one alone can be meant: below the folder that its deliverer names, if any."""
    ref = error.ref
    found = _find_anywhere(index, ref.group, ref.kind, ref.name, ref.namespace or "")
    spec = mapping(deliverer.value, "spec") if deliverer else {}
    folder = as_text(spec.get("path") or mapping(spec, "source").get("path")).removeprefix("./").rstrip("/")
    found = [one for one in found if folder and one.path.startswith(f"{folder}/")] or found
    return found[0] if len(found) == 1 else None


def _find_anywhere(
    index: Index, group: str, kind: str, name: str, namespace: str, fits: Callable[[Built], bool] | None = None
) -> list[Document]:
    """Where an object of this kind and name is, in any readable file that counts; patches only where all are such.

    Those with this namespace go before those without one. Of the latter, whose namespace something else gives, those
    in a folder of the namespace's name go first. The namespace is empty where it is unknown; `fits` says whether an
    object of the kind is meant, instead of its name.
    """
    found = [one for one in index.of_kinds({kind: group}) if (fits(one) if fits else one.name == name)]
    found = [one for one in found if not namespace or one.namespace in {None, namespace}]
    for better in (_is_whole, lambda one: one.namespace, lambda one: namespace in one.path.split("/")):
        found = [one for one in found if better(one)] or found
    return [one.base for one in found]


def _find_release(index: Index, name: str) -> list[Document]:
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
