"""Who decides how many pods a workload has: an autoscaler is asked before replicas are set."""

from __future__ import annotations

from collections.abc import Iterable

from infra_mcp.clients.kube import Cluster
from infra_mcp.drivers.manifests.planned import Desired
from infra_mcp.errors import InfraError

__all__ = ["refuse_autoscaled"]


async def refuse_autoscaled(cluster: Cluster, user: str, wanted: Iterable[Desired]) -> None:
    """Refuse to set the replicas of a workload that an autoscaler scales (`autoscaling/v2`, also KEDA's).

    Raises:
        InfraError: `owned-elsewhere`, naming the autoscaler.
    """
    for one in wanted:
        if one.whole or "replicas" not in (one.sets.get("spec") or {}):
            continue
        listed = await cluster.list("autoscaling/v2", "HorizontalPodAutoscaler", one.ref.namespace or "", as_=user)
        for scaler in listed["items"]:
            target = scaler["spec"].get("scaleTargetRef") or {}
            if (target.get("kind"), target.get("name")) == (one.ref.kind, one.ref.name):
                name = scaler["metadata"]["name"]
                what = (
                    f"{one.ref} is scaled by the autoscaler {one.ref.namespace}/{name}, which would set its own number."
                )
                raise InfraError("owned-elsewhere", what, next_step="Change the autoscaler's bounds in its manifest.")
