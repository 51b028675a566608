"""Who decides how many pods a workload has: an autoscaler is asked before replicas are set."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from infra_mcp.clients.kube import Cluster, KubeError
from infra_mcp.drivers.manifests.planned import Desired
from infra_mcp.errors import InfraError


def through(want: Desired) -> tuple[str, ...]:
    """The subresources through which people may have set what is to be set: `kubectl scale` writes by `scale`."""
    return ("scale",) if _scales(want) else ()


async def refuse_autoscaled(cluster: Cluster, user: str, wanted: Iterable[Desired]) -> None:
    """Refuse to set the replicas of a workload that an autoscaler scales (`autoscaling/v2`, also KEDA's).

    Raises:
        InfraError: `owned-elsewhere`, naming the autoscaler; `cluster-denied`: the circle may not look for one.
    """
    for one in wanted:
        if not _scales(one):
            continue
        for scaler in await _autoscalers(cluster, user, one.ref.namespace or ""):
            target = scaler["spec"].get("scaleTargetRef") or {}
            if (target.get("kind"), target.get("name")) == (one.ref.kind, one.ref.name):
                name = scaler["metadata"]["name"]
                what = (
                    f"{one.ref} is scaled by the autoscaler {one.ref.namespace}/{name}, which would set its own number."
                )
                raise InfraError("owned-elsewhere", what, next_step="Change the autoscaler's bounds in its manifest.")


async def _autoscalers(cluster: Cluster, user: str, namespace: str) -> list[dict[str, Any]]:
    try:
        listed = await cluster.list("autoscaling/v2", "HorizontalPodAutoscaler", namespace, as_user=user)
    except KubeError as error:
        if error.status != HTTPStatus.FORBIDDEN:
            raise
        what = f"The circle's role does not let it look for autoscalers in {namespace}, and one would undo a scaling."
        step = "A cluster admin applies what `infra-mcp rbac render` prints now."
        raise InfraError("cluster-denied", what, next_step=step) from error
    found: list[dict[str, Any]] = listed["items"]
    return found


def _scales(one: Desired) -> bool:
    return not one.whole and "replicas" in (one.sets.get("spec") or {})
