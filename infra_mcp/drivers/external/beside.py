"""Workloads that a change moves along and that are no evidence: where one does not come up, that is a remark.

Another app's broken workload is no failure of a change whose own evidence holds, and never takes it back.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from infra_mcp.clients.kube import Cluster, KubeError
from infra_mcp.drivers.base import Share
from infra_mcp.drivers.kubernetes import health
from infra_mcp.drivers.kubernetes.causes import cause
from infra_mcp.drivers.kubernetes.revision import WORKLOADS, look
from infra_mcp.gather import gather
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.repository.render import differing

_MAX_LOOKED_AT: Final = 20


def moved(share: Share) -> tuple[ObjectRef, ...]:
    """The workloads that the builds of a share give otherwise; without those whose namespace is not known."""
    found = []
    for build in share.builds:
        found += [
            one.ref
            for _, one in differing(build.before, build.after)
            if one and one.ref.kind in WORKLOADS and one.ref.namespace
        ]
    return tuple(dict.fromkeys(found))


async def failing(cluster: Cluster, refs: tuple[ObjectRef, ...], user: str) -> list[str]:
    """Why workloads do not come up, as far as it shows at one look; what cannot be read is left out."""
    found = await gather(partial(_why, cluster, ref, user) for ref in refs[:_MAX_LOOKED_AT])
    return [f"not of this change's evidence: {ref} fails: {why}" for ref, why in zip(refs, found, strict=False) if why]


async def _why(cluster: Cluster, ref: ObjectRef, user: str) -> str:
    try:
        live = await cluster.get(ref, as_user=user)
        seen = await look(cluster, live, as_user=user) if live else None
    except KubeError:
        return ""
    if live is None or seen is None:
        return ""
    if found := cause(seen.pods, seen.events, seen.replicasets, seen.blockers):
        return found.message
    state = health.status(live)
    return state.reason if state.state == "Failed" else ""
