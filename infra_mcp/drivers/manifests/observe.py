"""What is there and how it fares: for `status`. Reads only, as the circle."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from infra_mcp.clients.kube import Cluster
from infra_mcp.drivers.kubernetes import health
from infra_mcp.drivers.manifests import images
from infra_mcp.drivers.manifests.desired import PULL_SECRETS, refs
from infra_mcp.drivers.manifests.pull_secrets import PullSecrets
from infra_mcp.errors import InfraError
from infra_mcp.model.plan import ObjectRef
from infra_mcp.policy.rules import Policy
from infra_mcp.together import together

__all__ = ["app", "namespace"]

_WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")
_MOST = 50


async def app(cluster: Cluster, policy: Policy, name: str, user: str) -> dict[str, Any]:
    """One app of the catalogue: the version that is set, its health, its replicas.

    Raises:
        InfraError: `not-found`, `cluster-denied`, `cluster-unreachable`.
    """
    rules = policy.apps[name]
    place = rules.workload_parts
    ref = ObjectRef(
        cluster=cluster.name, api_version="apps/v1", kind=place.kind, namespace=place.namespace, name=place.name
    )
    live = await cluster.get(ref, as_=user)
    if live is None:
        return {"workload": str(ref), "health": "absent"}
    found = [images.version_of(image, rules.image) for _, _, image in images.containers_of(live, rules.repository)]
    return _workload(live) | {"workload": str(ref), "version": found[0] if found else None}


async def namespace(
    cluster: Cluster, policy: Policy, name: str, user: str, circle: str, secrets: PullSecrets
) -> dict[str, Any]:
    """A namespace's workloads and its pull secrets; one whose source was rotated says so.

    Raises:
        InfraError: `not-found` when it is not there or not bound to the circle, `cluster-unreachable`.
    """
    space, _, account = refs(cluster.name, name)
    reads: list[Callable[[], Awaitable[dict[str, Any] | None]]] = [
        partial(cluster.get, space, as_=user),
        partial(cluster.get, account, as_=user),
        *(partial(cluster.list, "apps/v1", kind, name, as_=user) for kind in _WORKLOADS),
    ]
    live, holder, *lists = await together(reads)
    if live is None:
        raise InfraError("not-found", "There is no such namespace, or it is not yours.")
    workloads = [
        _workload(item) | {"kind": kind}
        for kind, found in zip(_WORKLOADS, lists, strict=True)
        for item in (found or {})["items"]
    ]
    marked = (((holder or {}).get("metadata") or {}).get("annotations") or {}).get(PULL_SECRETS, "")
    names = [one for one in str(marked).split(",") if one]
    states = await together(partial(secrets.state, policy, one, name, as_=user, circle=circle) for one in names)
    return {
        "phase": (live.get("status") or {}).get("phase"),
        "workloads": workloads[:_MOST],
        "workloads_in_all": len(workloads),
        "pull_secrets": dict(zip(names, states, strict=True)),
    }


def _workload(live: dict[str, Any]) -> dict[str, Any]:
    state, status = health.status(live), live.get("status") or {}
    return {
        "name": live["metadata"]["name"],
        "health": state.state,
        "reason": state.reason,
        "replicas": (live.get("spec") or {}).get("replicas"),
        "ready": status.get("readyReplicas") or status.get("numberReady") or 0,
        "images": sorted(set(_images(live))),
    }


def _images(live: dict[str, Any]) -> list[str]:
    spec = ((live.get("spec") or {}).get("template") or {}).get("spec") or {}
    return [container["image"] for container in spec.get("containers") or [] if "image" in container]
