"""What is there and how it fares: for `status`. Reads only, as the circle."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from anyio import to_thread

from infra_mcp.clients.kube import Cluster
from infra_mcp.drivers.kubernetes import health
from infra_mcp.drivers.kubernetes.drift import drift
from infra_mcp.drivers.manifests.pull_secrets import PullSecrets
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather
from infra_mcp.model.marks import PULL_SECRETS
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.policy import images
from infra_mcp.policy.policy import Policy
from infra_mcp.repository.value import Tree

_WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")
_MOST = 50


async def app(cluster: Cluster, policy: Policy, name: str, user: str, tree: Tree | None) -> dict[str, Any]:
    """One app of the catalogue: the version that is set, its health, its replicas, and where git says otherwise.

    Raises:
        InfraError: `not-found`, `cluster-denied`, `cluster-unreachable`.
    """
    rules = policy.apps[name]
    place = rules.workload_parts
    ref = _workload_ref(cluster, place.kind, place.namespace, place.name)
    live = await cluster.get(ref, as_user=user)
    if live is None:
        return {"workload": str(ref), "health": "absent", "drift": await to_thread.run_sync(_drift, tree, ref, None)}
    found = [images.version_of(image, rules.image) for _, _, image in images.containers_of(live, rules.repository)]
    version = found[0] if found else None
    said = await to_thread.run_sync(_drift, tree, ref, live)  # files are parsed for it
    return _workload(live) | {"workload": str(ref), "version": version, "drift": said}


async def namespace(
    cluster: Cluster, policy: Policy, name: str, user: str, circle: str, secrets: PullSecrets, tree: Tree | None
) -> dict[str, Any]:
    """A namespace's workloads, where git says otherwise, and its pull secrets; one whose source was rotated says so.

    Raises:
        InfraError: `not-found` when it is not there or not bound to the circle, `cluster-unreachable`.
    """
    space = ObjectRef(cluster=cluster.name, api_version="v1", kind="Namespace", namespace=None, name=name)
    account = ObjectRef(cluster=cluster.name, api_version="v1", kind="ServiceAccount", namespace=name, name="default")
    reads: list[Callable[[], Awaitable[dict[str, Any] | None]]] = [
        partial(cluster.get, space, as_user=user),
        partial(cluster.get, account, as_user=user),
        *(partial(cluster.list, "apps/v1", kind, name, as_user=user) for kind in _WORKLOADS),
    ]
    live, holder, *lists = await gather(reads)
    if live is None:
        raise InfraError("not-found", "There is no such namespace, or it is not yours.")
    items = [(kind, item) for kind, found in zip(_WORKLOADS, lists, strict=True) for item in (found or {})["items"]]
    workloads = [_workload(item) | {"kind": kind} for kind, item in items]
    there = {_workload_ref(cluster, kind, name, item["metadata"]["name"]): item for kind, item in items}
    marked = (((holder or {}).get("metadata") or {}).get("annotations") or {}).get(PULL_SECRETS, "")
    names = [one for one in str(marked).split(",") if one]
    states = await gather(partial(secrets.state, policy, one, name, as_user=user, circle=circle) for one in names)
    return {
        "phase": (live.get("status") or {}).get("phase"),
        "workloads": workloads[:_MOST],
        "workloads_in_all": len(workloads),
        "drift": await to_thread.run_sync(_drifts, tree, name, there),
        "pull_secrets": dict(zip(names, states, strict=True)),
    }


def _workload_ref(cluster: Cluster, kind: str, namespace: str, name: str) -> ObjectRef:
    return ObjectRef(cluster=cluster.name, api_version="apps/v1", kind=kind, namespace=namespace, name=name)


def _drifts(tree: Tree | None, namespace: str, live: dict[ObjectRef, dict[str, Any]]) -> list[str]:
    """The lines of every workload of a namespace, in the cluster or in git."""
    known = {ref.key for ref in live}
    in_git = [one.ref for one in (tree.objects(namespace) if tree else ()) if one.ref.kind in _WORKLOADS]
    compared = {**live, **{ref: None for ref in in_git if ref.key not in known}}
    return [line for ref, item in compared.items() for line in _drift(tree, ref, item)][:_MOST]


def _drift(tree: Tree | None, ref: ObjectRef, live: dict[str, Any] | None) -> list[str]:
    """One line for each field that git says otherwise, or one that says why they cannot be compared."""
    if tree is None:
        return []
    try:
        located = tree.find(ref)
    except InfraError as error:
        return [f"{ref}: not known: {error.what}"]
    if located is None:
        return [f"{ref}: not in git"] if live else []
    return [str(one) for one in drift(ref, located.object, live, [])] if live else [f"{ref}: not in the cluster"]


def _workload(live: dict[str, Any]) -> dict[str, Any]:
    state, status = health.status(live), live.get("status") or {}
    return {
        "name": live["metadata"]["name"],
        "health": state.state,
        "reason": state.reason,
        "replicas": (live.get("spec") or {}).get("replicas"),
        "updated": status.get("updatedReplicas") or status.get("updatedNumberScheduled") or 0,
        "ready": status.get("readyReplicas") or status.get("numberReady") or 0,
        "images": sorted(set(_images(live))),
    }


def _images(live: dict[str, Any]) -> list[str]:
    spec = ((live.get("spec") or {}).get("template") or {}).get("spec") or {}
    return [container["image"] for container in spec.get("containers") or [] if "image" in container]
