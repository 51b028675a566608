"""The fewest folders that tell who delivers what: `[[tree.roots]]` as `infra-mcp init` proposes them. Pure."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from infra_mcp.repository.census.apps import Census
from infra_mcp.repository.census.entries import ARGO_APPLICATIONS, FLUX_KUSTOMIZATION, cluster_of
from infra_mcp.repository.census.index import Index
from infra_mcp.repository.census.others import Other
from infra_mcp.repository.kustomization import is_kustomization
from infra_mcp.repository.lenient import nearest
from infra_mcp.repository.paths import SUFFIXES

OURS = "kubernetes"
UNKNOWN = "unknown"  # something is to be delivered, and the repository does not say by what
_GROUPS = {"toolkit.fluxcd.io": "flux", "argoproj.io": "argocd"}
_NEVER_APPLIED = frozenset({"backstage.io"})  # groups of files that only look like objects


@dataclass(frozen=True)
class Root:
    """A folder whose content becomes live in one way."""

    path: str  # empty for the whole repository
    delivery: str  # `kubernetes`, `flux`, `argocd`, `helm`, `terraform`, `dns`, `unknown`
    by: tuple[str, ...]  # what delivers it, for people


@dataclass
class Delivered:
    """Who delivers each file of a repository that something delivers.

    Args:
        census: of the repository.
        others: what it holds beside apps.
    """

    census: Census
    others: list[Other]
    by: dict[str, str] = field(default_factory=dict)  # by path: who delivers it, for people
    unreadable: list[str] = field(default_factory=list)  # files that say a kind and hold no object: templates

    @cached_property
    def deliveries(self) -> dict[str, str]:
        """The delivery of each file."""
        found: dict[str, str] = {}
        for entry in self.census.entries:
            delivery = UNKNOWN if entry.delivery == "none" else entry.delivery
            for path in entry.files:
                if found.get(path, OURS) in {OURS, UNKNOWN}:  # what others deliver, too, is theirs
                    found[path] = delivery
                    self.by[path] = entry.by
        found |= {path: one for path, one in self._plain(found).items() if path not in found or one != OURS}
        for other in self.others:
            if other.delivery != "none":
                found.setdefault(self._file(other), other.delivery)
        return found

    def _file(self, other: Other) -> str:
        """The file of something else, or one in its folder."""
        inside = f"{other.path}/" if other.path else ""
        return other.path if self.census.index.tree.is_file(other.path) else f"{inside}{other.kind}"

    def _plain(self, known: Mapping[str, str]) -> dict[str, str]:
        """Each manifest that no entry reads, and those of entries that only apply it: by folders that Flux reads."""
        index = self.census.index
        found: dict[str, str] = {}
        for path in index.paths:
            if not path.endswith(SUFFIXES) or is_kustomization(path) or index.is_encrypted(path):
                continue
            if known.get(path, OURS) != OURS or not index.says_kinds(path):
                continue
            groups = [one.group for one in index.objects(path) if one.api_version]
            if not groups:
                if path not in known and not index.documents(path):
                    self.unreadable.append(path)
                continue
            owner = next((one for end, one in _GROUPS.items() for group in groups if group.endswith(end)), OURS)
            if _NEVER_APPLIED.isdisjoint(groups):
                found[path] = owner
        self._sync(found)
        return found

    def _sync(self, found: dict[str, str]) -> None:
        """What lies with the objects of Flux or Argo CD is theirs: it is applied from where they lie.

        Flux takes folders with all below them, and a cluster's folder as a whole; it removes what goes from there.
        """
        index = self.census.index
        argo = {posixpath.dirname(one.path) for one in index.of_kinds(ARGO_APPLICATIONS)}
        flux = {posixpath.dirname(one.path) for one in index.of_kinds(FLUX_KUSTOMIZATION)}
        flux |= {cluster for folder in flux if (cluster := _cluster_folder(folder))}
        for path, delivery in found.items():
            folder = posixpath.dirname(path)
            above = nearest(folder, flux)
            if delivery == OURS and above is not None and (above or not folder):
                found[path] = "flux"
            elif delivery == OURS and folder in argo:
                found[path] = "argocd"

    def roots(self) -> list[Root]:
        """The fewest folders, by path: below each, files without another root have one delivery."""
        chosen = self._with_room(_fewest(self.deliveries))
        counted: dict[str, Counter[str]] = {path: Counter() for path, _ in chosen}
        for path, delivery in self.deliveries.items():
            folder = nearest(posixpath.dirname(path), counted)
            if folder is not None and self.by.get(path) and dict(chosen)[folder] == delivery:
                counted[folder][self.by[path]] += 1
        return [Root(path, delivery, tuple(sorted(counted[path]))) for path, delivery in chosen]

    def _with_room(self, chosen: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Where manifests lie in one folder that has the name of their namespace, others will lie beside it."""
        taken = {path for path, _ in chosen}
        found = []
        for path, delivery in chosen:
            above, _, last = path.rpartition("/")
            if delivery == OURS and above and not any(one.startswith(f"{above}/") for one in taken - {path}):
                inside = [one for one in self.deliveries if one.startswith(f"{path}/")]
                spaces = {built.namespace for one in inside for built in self.census.index.objects(one)}
                path = above if last in spaces else path  # noqa: PLW2901 - the folder above stands for it
            found.append((path, delivery))
        return found


def _cluster_folder(folder: str) -> str:
    """The folder of a cluster that a folder is, or is in: `clusters/prod`; empty where it is in none."""
    cluster = cluster_of(folder)
    parts = folder.split("/")
    return "/".join(parts[: parts.index(cluster) + 1]) if cluster else ""


@dataclass
class _Node:
    """A folder: the delivery of its own files, and what its folders cost under each delivery."""

    own: str | None = None
    folders: list[str] = field(default_factory=list)
    costs: dict[str | None, int] = field(default_factory=dict)  # roots below, where the folder has this delivery


def _fewest(deliveries: Mapping[str, str]) -> list[tuple[str, str]]:
    nodes: dict[str, _Node] = {"": _Node()}
    for path, delivery in sorted(deliveries.items()):
        folder = posixpath.dirname(path)
        below = folder
        while below not in nodes:
            nodes[below] = _Node()
            below = posixpath.dirname(below)
        # Side by side with what others deliver, nothing is ours to apply.
        own = nodes[folder].own
        nodes[folder].own = delivery if own in {None, OURS, UNKNOWN} else own
    for folder in nodes:
        if folder:
            nodes[posixpath.dirname(folder)].folders.append(folder)
    labels = sorted(set(deliveries.values()))
    for folder in sorted(nodes, key=lambda one: one.count("/") + bool(one), reverse=True):
        node = nodes[folder]
        for label in [None, *labels]:
            if node.own in {None, label} and not (folder == "" and node.own is None and label):
                node.costs[label] = sum(_cheapest(nodes[one], label)[0] for one in node.folders)
    found: list[tuple[str, str]] = []
    todo: list[tuple[str, str | None]] = [("", None)]
    while todo:
        folder, above = todo.pop()
        label = _cheapest(nodes[folder], above)[1]
        if label is not None and label != above:
            found.append((_deepest(nodes, folder), label))
        todo += [(one, label) for one in nodes[folder].folders]
    return sorted(found)


def _cheapest(node: _Node, above: str | None) -> tuple[int, str | None]:
    """The number of roots and the delivery of a folder that give the fewest, below a folder of this delivery."""
    options = [(cost + (label not in (None, above)), label != above, label) for label, cost in node.costs.items()]
    if above is not None:  # a folder cannot take away the delivery of the one above it
        options = [one for one in options if one[2] is not None]
    cost, _, label = min(options, key=lambda one: (one[0], one[1], one[2] or ""))
    return cost, label


def _deepest(nodes: Mapping[str, _Node], folder: str) -> str:
    """The deepest folder that holds all that a folder holds."""
    while nodes[folder].own is None and len(nodes[folder].folders) == 1:
        folder = nodes[folder].folders[0]
    return folder


def namespace_folders(index: Index, roots: Iterable[str]) -> list[tuple[str, str]]:
    """The path and the name of each Namespace below these folders."""
    tops = tuple(f"{root}/" if root else "" for root in roots)
    found = index.of_kinds({"Namespace": ""})
    return [(one.path, one.name) for one in found if tops and one.path.startswith(tops)]


def layout(spaces: Iterable[tuple[str, str]], file_name: str) -> str | None:
    """Where a new object's file goes: the folders that all Namespaces lie in, or None where they show no such order.

    Args:
        spaces: path and name of each Namespace.
        file_name: with the fields `{kind}` and `{name}`, where the names of the files have not both.
    """
    found = {_pattern(path, name, file_name) for path, name in spaces}
    return found.pop() if len(found) == 1 else None


def _pattern(path: str, name: str, file_name: str) -> str | None:
    folder, _, base = path.rpartition("/")
    parts = ["{namespace}" if part == name else part for part in folder.split("/")]
    stem, suffix = posixpath.splitext(base)
    named = {f"namespace-{name}": "{kind}-{name}", f"{name}-namespace": "{name}-{kind}"}.get(stem)
    if parts.count("{namespace}") != 1 or not suffix.startswith(".y"):
        return None
    return "/".join([*parts, f"{named}{suffix}" if named else file_name])
