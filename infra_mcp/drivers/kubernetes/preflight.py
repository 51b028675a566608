"""Asks for the rights that a whole change needs, so that it is refused before its commit, with what is missing.

What is written is dry-run with the same identity, and a dry run needs the same rights as the write. Asked for here is
what no dry run covers and, once one was denied, all the rest: a denial names one object only.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple

import anyio

from infra_mcp.clients.kube import Cluster
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather
from infra_mcp.model.object_ref import ObjectRef

_AT_ONCE: Final = 10  # requests
_SHOWN: Final = 20  # rights that a refusal names
_STEP: Final = "A cluster admin runs `infra-mcp rbac diff` and the commands that it prints."


class Right(NamedTuple):
    """What an identity must be allowed to do to an object."""

    verb: str  # as RBAC names it
    ref: ObjectRef
    as_user: str | None  # None for the server's own identity
    role: str = ""  # the ClusterRole, for `bind`

    def __str__(self) -> str:
        what = f"bind ClusterRole {self.role} in {self.ref.namespace}" if self.role else f"{self.verb} {self.ref}"
        return f"{what}, as the server" if self.as_user is None else what


async def require(cluster: Cluster, rights: Sequence[Right]) -> None:
    """Refuse a change whose rights are not all there; equal ones are asked for once.

    Raises:
        InfraError: `cluster-denied`, naming what is missing.
        KubeError: the cluster does not answer.
    """
    at_once = anyio.CapacityLimiter(_AT_ONCE)

    async def ask(one: Right) -> bool:
        async with at_once:
            if one.role:
                return await cluster.may("bind", "rbac.authorization.k8s.io", "clusterroles", "", one.role)
            return await cluster.may_do(one.verb, one.ref, as_user=one.as_user)

    distinct = list(dict.fromkeys(rights))
    answers = await gather(partial(ask, one) for one in distinct)
    missing = [str(one) for one, allowed in zip(distinct, answers, strict=True) if not allowed]
    if missing:
        more = f"; and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        what = f"The cluster does not allow what this change needs: {'; '.join(missing[:_SHOWN])}{more}."
        raise InfraError("cluster-denied", what, next_step=_STEP)
