"""Reads of one planning, each made once: what an edit has looked at is not asked for again by the plan."""

from __future__ import annotations

from typing import Any

from infra_mcp.clients.kube import Cluster
from infra_mcp.drivers.base import Context
from infra_mcp.model.object_ref import ObjectRef


async def read_once(
    cluster: Cluster, context: Context, ref: ObjectRef, *, as_user: str | None
) -> dict[str, Any] | None:
    """An object as it is live; None when it is not there.

    Args:
        cluster: where.
        context: of this planning; it remembers.
        ref: which.
        as_user: the identity to read as; None for the server's own.

    Raises:
        KubeError: as the cluster answers.
    """
    key = f"{as_user or ''} {ref.key}"
    if key not in context.seen:
        context.seen[key] = await cluster.get(ref, as_user=as_user)
    found: dict[str, Any] | None = context.seen[key]
    return found
