"""The object of a cluster that holds a zone's records: read and applied as the circle, as any manifest is."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import anyio

from infra_mcp.clients.kube import Cluster, KubeError
from infra_mcp.drivers.base import Context
from infra_mcp.drivers.kubernetes import ssa
from infra_mcp.drivers.kubernetes.connection import translated
from infra_mcp.errors import InfraError
from infra_mcp.model.object_ref import ObjectRef


@dataclass(frozen=True)
class ClusterObject:
    """One object that policy names for a zone. It is never created here, so that no circle needs the right to."""

    cluster: Cluster
    ref: ObjectRef

    async def read(self, context: Context) -> dict[str, Any]:
        """The live object.

        Raises:
            InfraError: `not-in-cluster`: it is not there; `cluster-denied`, `cluster-unreachable`.
        """
        try:
            live = await self.cluster.get(self.ref, as_user=self._user(context))
        except KubeError as error:
            if error.status == HTTPStatus.FORBIDDEN:
                what = f"Circle {context.circle} has no right to read {self.ref}."
                raise InfraError("cluster-denied", what) from error
            raise error.translate(None) from error
        if live is None:
            step = "An operator applies it once, as it is in the repository."
            raise InfraError("not-in-cluster", f"{self.ref} is not there.", next_step=step)
        return live

    @translated
    async def write(self, context: Context, live: dict[str, Any], sets: dict[str, Any]) -> None:
        """Apply fields, if the object is still as it was read.

        Raises:
            Moved: it is not.
            InfraError: `field-conflict`, `owned-elsewhere`, `object-invalid`, `cluster-denied`.
        """
        proposal = await self._proposed(context, live, sets)
        with anyio.CancelScope(shield=True):
            await ssa.write(self.cluster, proposal, as_user=self._user(context), request=context.request)

    @translated
    async def check(self, context: Context, live: dict[str, Any], sets: dict[str, Any]) -> None:
        """Let the API server dry-run the same. Raises as `write`."""
        await self._proposed(context, live, sets)

    async def _proposed(self, context: Context, live: dict[str, Any], sets: dict[str, Any]) -> ssa.Proposal:
        adopt = context.policy.tree.adopt
        return await ssa.propose(self.cluster, self.ref, live, sets, as_user=self._user(context), adopt=adopt)

    def _user(self, context: Context) -> str:
        return context.policy.service_account(context.circle, self.cluster.name)
