"""Where deliveries start: a Flux Kustomization, a kustomization that no other one names, a plain manifest."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import pairwise
from typing import TYPE_CHECKING

from infra_mcp.repository.census.built import Built
from infra_mcp.repository.census.composition import Composition, compose, loose, over
from infra_mcp.repository.census.environments import ENVIRONMENTS
from infra_mcp.repository.census.index import Index
from infra_mcp.repository.kustomization import is_kustomization
from infra_mcp.repository.layers import Below, Source, Spot
from infra_mcp.repository.lenient import mapping, maps
from infra_mcp.repository.load import remembered
from infra_mcp.repository.paths import SUFFIXES

if TYPE_CHECKING:
    from infra_mcp.repository.census.unit import Unit

FLUX_KUSTOMIZATION = {"Kustomization": "kustomize.toolkit.fluxcd.io"}
DELIVERED_ALONE = frozenset({"HelmRelease"})
ARGO_APPLICATIONS = {"Application": "argoproj.io", "ApplicationSet": "argoproj.io"}
# Kinds that hold no version, which make up most of a repository.
_WITHOUT_VERSION = frozenset(
    {
        *("Namespace", "Service", "ConfigMap", "Secret", "ServiceAccount", "Role", "RoleBinding", "ClusterRole"),
        *("ClusterRoleBinding", "Ingress", "NetworkPolicy", "PersistentVolume", "PersistentVolumeClaim"),
        *("HorizontalPodAutoscaler", "PodDisruptionBudget", "ResourceQuota", "LimitRange", "StorageClass"),
        *("CustomResourceDefinition", "APIService", "Kustomization", "Component", "HelmRepository", "GitRepository"),
        *("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration", "Certificate", "SealedSecret"),
        *("ExternalSecret", "ServiceMonitor", "PodMonitor", "PrometheusRule", "AppProject", "PriorityClass"),
    }
)
_VARIABLE = re.compile(r"\$\{(\w+)(?::?[=-][^}]*)?\}")  # with a default or without


@dataclass(frozen=True, eq=False)
class Entry:
    """One thing that is delivered as a whole."""

    delivery: str  # `flux`, `argocd`, `kubernetes`, `helm`; `none` where the repository does not say
    root: str  # the folder, or the file
    by: str  # what delivers it, for people: `Kustomization flux-system/apps`; empty where the repository does not say
    objects: tuple[Built, ...]
    files: frozenset[str]  # every file that is read for it
    cluster: str | None = None  # the folder below `clusters/` that it is delivered from
    # What replaces `${NAME}` in it, lowest first (Flux's postBuild).
    substitutes: tuple[Source, ...] = ()
    composition: Composition = field(default_factory=lambda: Composition(""), repr=False)
    environment: str | None = None  # the one that it is for, where a file's name or a list of environments says so
    words: tuple[str, ...] = ()  # others by which it may be told from others: what a set gave it, its values files
    names: tuple[str, ...] = ()  # what people may call it: the Application's name, without and with its environment
    # What writes the version of each image by itself; that of an image that is not known stands under the empty name.
    automated: Mapping[str, str] = field(default_factory=dict, repr=False)
    # Gives what it delivers, where that is no object: a chart with its values, releases, a tag.
    parts: Callable[[Entry], Iterable[Unit]] = field(default=lambda _: (), repr=False, compare=False)

    @cached_property
    def kinds(self) -> frozenset[str]:
        """The kinds of its objects."""
        return frozenset(one.kind for one in self.objects)

    @cached_property
    def workloads(self) -> tuple[Unit, ...]:
        """Its workloads and custom resources."""
        from infra_mcp.repository.census.workloads import units  # noqa: PLC0415 - they name their entry

        return tuple(units(self))

    @cached_property
    def trail(self) -> tuple[str, ...]:
        """The words by which it may be told from others: of its path, of its cluster, its environment, and more."""
        root = self.root
        if self.environment:  # the root is a file, and its name says no more
            root = posixpath.dirname(root)
        elif root.endswith(SUFFIXES):
            root = posixpath.splitext(root)[0]
        words = (*root.split("/"), self.cluster or "", self.environment or "", *self.words)
        return tuple(part for part in words if part)

    def followed(self, spot: Spot) -> Spot:
        """The place of a variable's value, where the value is one variable that the deliverer replaces; else itself."""
        found = _VARIABLE.fullmatch(spot.value) if isinstance(spot.value, str) else None
        spots = [one for source in self.substitutes for one in source.spots((found[1],))] if found else []
        return spots[-1] if spots else spot


def entries(index: Index, given: Iterable[Entry] = ()) -> list[Entry]:
    """Every entry of a repository; each plain manifest that no kustomization reads is one of its own.

    Args:
        index: of the repository.
        given: those that are known already: Argo CD's.
    """
    found = [*given, *_by_flux(index)]
    covered = {entry.root for entry in found}
    read = {path for entry in found for path in entry.files}
    for folder in sorted(index.roots):
        if folder not in covered and index.kustomizations[folder] not in read:
            made = index.remembered(("built", folder), partial(_built, index, folder), lambda one: one.files)
            found.append(made)
            read |= made.files
    return found + list(_plain(index, read | {path for entry in found for path in entry.files}))


def _built(index: Index, folder: str) -> Entry:
    made = compose(index, folder)
    objects, files = tuple(made.objects), frozenset(made.files)
    return Entry(_deliverer(objects), folder, "", objects, files, cluster_of(folder), composition=made)


def _plain(index: Index, read: Collection[str]) -> Iterator[Entry]:
    """Each manifest that nothing else reads: it is applied as it is."""
    for path in index.saying(*(index.every_kind - _WITHOUT_VERSION)):
        if path in read or is_kustomization(path):
            continue
        made = index.remembered(("plain", path), partial(_alone, index, path), lambda one: one.files)
        if made.objects:
            yield made


def _alone(index: Index, path: str) -> Entry:
    objects = index.objects(path)
    return Entry(_deliverer(objects), path, "", objects, frozenset({path}), cluster_of(path))


def _deliverer(objects: Collection[Built]) -> str:
    """A HelmRelease is delivered by Flux, and an Application by Argo CD, wherever that is which applies it."""
    kinds = {one.kind for one in objects}
    if not kinds.isdisjoint(DELIVERED_ALONE):
        return "flux"
    return "kubernetes" if kinds.isdisjoint(ARGO_APPLICATIONS) else "argocd"


def cluster_of(path: str) -> str | None:
    """The cluster that a path names: the folder below `clusters/`, or that of an environment below `cluster/`."""
    folders = path.split("/")[:-1] if path.endswith(SUFFIXES) else path.split("/")
    for above, name in pairwise(folders):
        if above == "clusters" or (above == "cluster" and ENVIRONMENTS.fullmatch(name)):
            return name
    return None


def _by_flux(index: Index) -> Iterator[Entry]:
    for one in index.of_kinds(FLUX_KUSTOMIZATION):
        spec = one.value.get("spec")
        path = posixpath.normpath(str(spec.get("path") or ".")) if isinstance(spec, dict) else ".."
        root = "" if path == "." else path.removeprefix("./")
        if root.startswith((".", "/")) or not index.has_folder(root):
            continue  # another repository's
        made = compose(index, root) if root in index.kustomizations else loose(index, root)
        given = root, one, made, tuple(_configs(index, one))
        key = "flux", one.path, one.base.document, one.base.at
        yield remembered(index.listing.memo, key, given, partial(_of_flux, *given))


def _of_flux(root: str, one: Built, made: Composition, configs: tuple[Built, ...]) -> Entry:
    return Entry(
        "flux",
        root,
        f"Kustomization {one.namespace or 'flux-system'}/{one.name}",
        tuple(over(Below(one, ("spec",)), made.objects)),
        frozenset(made.files | {one.path}),
        cluster_of(one.path) or cluster_of(root),
        tuple(_substitutes(one, configs)),
        made,
    )


def _substitutes(one: Built, configs: Iterable[Built]) -> Iterator[Source]:
    """ConfigMaps in their order, then the inline values, which win (Flux: post build variable substitution)."""
    yield from (Below(config, ("data",)) for config in configs)
    if mapping(one.value, "spec", "postBuild"):
        yield Below(one, ("spec", "postBuild", "substitute"))


def _configs(index: Index, one: Built) -> Iterator[Built]:
    for ref in maps(one.value, "spec", "postBuild", "substituteFrom"):
        if ref.get("kind") == "ConfigMap":
            for config in index.named({"ConfigMap": ""}, str(ref.get("name"))):
                if cluster_of(config.path) in {None, cluster_of(one.path)}:
                    yield config
