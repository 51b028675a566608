"""Reads the state of apps and namespaces for `status`, as the circle."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from anyio import to_thread

from infra_mcp.clients.kube import Cluster
from infra_mcp.drivers.base import Context
from infra_mcp.drivers.kubernetes import health
from infra_mcp.drivers.kubernetes.diff import drift
from infra_mcp.drivers.kubernetes.owner import deliverer
from infra_mcp.drivers.kubernetes.revision import WORKLOADS
from infra_mcp.drivers.manifests.pull_secrets import PullSecrets
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather
from infra_mcp.model.marks import PULL_SECRETS
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.policy import images
from infra_mcp.policy.policy import Policy
from infra_mcp.repository.value import Tree

_MAX_LISTED = 50


async def app(cluster: Cluster, policy: Policy, name: str, user: str, tree: Tree | None) -> dict[str, Any]:
    """One app of the catalogue: the version that is set, its health, its replicas, and its drift from git.

    Raises:
        InfraError: `not-found`, `cluster-denied`, `cluster-unreachable`.
    """
    rules = policy.apps[name]
    place = rules.workload_parts
    if place is None:
        return {"health": "unknown", "reason": f"infra.toml names no workload of {name}"}
    ref = _ref(cluster, "apps/v1", place.kind, place.namespace, place.name)
    live = await cluster.get(ref, as_user=user)
    found = {"workload": str(ref), "drift": await to_thread.run_sync(_drift, tree, ref, live)}  # parses files
    if live is None:
        return found | {"health": "absent"}
    running = next((image for _, _, image in images.containers_of(live, rules.repository or "")), None)
    version = running and images.version_of(running, rules.image or "")
    return workload(live) | found | {"version": version}


async def namespace(
    cluster: Cluster, context: Context, name: str, user: str, secrets: PullSecrets, tree: Tree | None
) -> dict[str, Any]:
    """A namespace's workloads, their drift from git, and its pull secrets, with those whose source was rotated.

    Raises:
        InfraError: `not-found` when it is not there or not bound to the circle, `cluster-unreachable`.
    """
    reads: list[Callable[[], Awaitable[dict[str, Any] | None]]] = [
        partial(cluster.get, _ref(cluster, "v1", "Namespace", None, name), as_user=user),
        partial(cluster.get, _ref(cluster, "v1", "ServiceAccount", name, "default"), as_user=user),
        *(partial(cluster.list, "apps/v1", kind, name, as_user=user) for kind in WORKLOADS),
    ]
    live, account, *lists = await gather(reads)
    if live is None:
        raise InfraError("not-found", "There is no such namespace, or it is not yours.")
    items = [(kind, item) for kind, found in zip(WORKLOADS, lists, strict=True) for item in (found or {})["items"]]
    workloads = [workload(item) | {"kind": kind} for kind, item in items]
    there = {_ref(cluster, "apps/v1", kind, name, item["metadata"]["name"]): item for kind, item in items}
    marked = (((account or {}).get("metadata") or {}).get("annotations") or {}).get(PULL_SECRETS, "")
    names = [one for one in str(marked).split(",") if one]
    state = partial(secrets.state, context.policy, namespace=name, as_user=user, circle=context.circle)
    states = await gather(partial(state, one) for one in names)
    return {
        "phase": (live.get("status") or {}).get("phase"),
        "workloads": workloads[:_MAX_LISTED],
        "workloads_in_all": len(workloads),
        "drift": await to_thread.run_sync(_drifts, tree, name, there),
        "pull_secrets": dict(zip(names, states, strict=True)),
    }


def _ref(cluster: Cluster, api_version: str, kind: str, namespace: str | None, name: str) -> ObjectRef:
    return ObjectRef(cluster=cluster.name, api_version=api_version, kind=kind, namespace=namespace, name=name)


def _drifts(tree: Tree | None, namespace: str, live: dict[ObjectRef, dict[str, Any]]) -> list[str]:
    """The lines of every workload of a namespace, in the cluster or in git."""
    known = {ref.key for ref in live}
    in_git = [one.ref for one in (tree.objects(namespace) if tree else ()) if one.ref.kind in WORKLOADS]
    compared = {**live, **{ref: None for ref in in_git if ref.key not in known}}
    return [line for ref, item in compared.items() for line in _drift(tree, ref, item)][:_MAX_LISTED]


def _drift(tree: Tree | None, ref: ObjectRef, live: dict[str, Any] | None) -> list[str]:
    """One line for each field that differs from git, or one that says why they cannot be compared."""
    if tree is None:
        return []
    try:
        located = tree.find(ref)
    except InfraError as error:
        return [f"{ref}: not known: {error.what}"]
    if located is None:
        return [f"{ref}: not in git"] if live and not deliverer(live) else []
    return [str(one) for one in drift(ref, located.object, live, [])] if live else [f"{ref}: not in the cluster"]


def workload(live: dict[str, Any]) -> dict[str, Any]:
    """A workload as it is now: health, replicas, images."""
    state, spec, status = health.status(live), live.get("spec") or {}, live.get("status") or {}
    containers = ((spec.get("template") or {}).get("spec") or {}).get("containers") or []
    return {
        "name": live["metadata"]["name"],
        "health": state.state,
        "reason": state.reason,
        "replicas": spec.get("replicas"),
        "updated": status.get("updatedReplicas") or status.get("updatedNumberScheduled") or 0,
        "ready": status.get("readyReplicas") or status.get("numberReady") or 0,
        "images": sorted({container["image"] for container in containers if "image" in container}),
    }
