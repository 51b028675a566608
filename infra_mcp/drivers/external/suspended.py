"""Objects of Flux that are suspended: what they deliver does not become live, whatever is committed.

Flux's documentation of `spec.suspend` (Kustomization, HelmRelease): the controller does not reconcile the object.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from infra_mcp.clients.kube import Cluster, KubeError
from infra_mcp.drivers.base import Share
from infra_mcp.drivers.external.access import sides, writes
from infra_mcp.drivers.kubernetes.owner import deliverer
from infra_mcp.errors import InfraError
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.repository.render import Located
from infra_mcp.text import one_line

_DELIVERS: Final = {
    ("kustomize.toolkit.fluxcd.io", "Kustomization"): "kustomize.toolkit.fluxcd.io/v1",
    ("helm.toolkit.fluxcd.io", "HelmRelease"): "helm.toolkit.fluxcd.io/v2",
}
_MAX_READ: Final = 20


async def suspended(cluster: Cluster, share: Share, workloads: Iterable[ObjectRef], user: str) -> tuple[str, ...]:
    """A remark on each suspended object of Flux that the change is in, or that delivers what it is in.

    What the circle may not read, and what the cluster does not serve, is left out.

    Args:
        cluster: where it becomes live.
        share: the change.
        workloads: that are evidence of it.
        user: the circle's identity.
    """
    in_git = {one.ref.key: one for _, after in sides(share) for one in after}
    queue = deque([*(one.ref for one in writes(share) if one.verb != "delete"), *workloads])
    seen, notes = set[str](), list[str]()
    while queue and len(seen) < _MAX_READ:
        ref = queue.popleft()
        if ref.key in seen:
            continue
        seen.add(ref.key)
        live = await _live(cluster, ref, user)
        if (ref.group, ref.kind) in _DELIVERS and (who := _who(live, in_git.get(ref.key))):
            notes.append(f"{ref} is suspended ({who}): nothing that it delivers becomes live until it is resumed")
        if live is not None and (its := _deliverer(cluster, live)):
            queue.append(its)
    return tuple(notes)


async def _live(cluster: Cluster, ref: ObjectRef, user: str) -> dict[str, Any] | None:
    try:
        return await cluster.get(ref, as_user=user)
    except (KubeError, InfraError):
        return None


def _deliverer(cluster: Cluster, live: dict[str, Any]) -> ObjectRef | None:
    owner = deliverer(live)
    version = _DELIVERS.get((owner.group, owner.kind)) if owner else None
    if owner is None or version is None or not owner.name or not owner.namespace:
        return None
    return ObjectRef(
        cluster=cluster.name, api_version=version, kind=owner.kind, namespace=owner.namespace, name=owner.name
    )


def _who(live: dict[str, Any] | None, in_git: Located | None) -> str:
    """Who says that an object is suspended; empty where it is not, or not any more with this change."""
    said = (in_git.object.get("spec") or {}).get("suspend") if in_git else None
    if in_git is not None and said is not None:
        return f"{in_git.path} says suspend: true" if said is True else ""
    if live is None or (live.get("spec") or {}).get("suspend") is not True:
        return ""
    for entry in (live.get("metadata") or {}).get("managedFields") or []:
        if "f:suspend" in ((entry.get("fieldsV1") or {}).get("f:spec") or {}):
            return f"set by {one_line(str(entry.get('manager')))} at {one_line(str(entry.get('time')))}"
    return "in the cluster"
