"""The driver of delivery `helm`: releases that the repository declares, installed and upgraded by Helm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from infra_mcp.clients.kube import Cluster, KubeError
from infra_mcp.drivers.base import Context, Owner, Prepared, Question, Share, Undone
from infra_mcp.drivers.helm import observe, undo
from infra_mcp.drivers.helm.access import Access
from infra_mcp.drivers.helm.apply import apply
from infra_mcp.drivers.helm.plan import plan
from infra_mcp.drivers.helm.verify import landed
from infra_mcp.drivers.kubernetes.connection import answers, translated
from infra_mcp.drivers.kubernetes.rights import excess_rights
from infra_mcp.masking import Masker
from infra_mcp.model.outcome import Written
from infra_mcp.model.target import Target


@dataclass
class Releases:
    """Carries out deliveries by Helm. Holds no state between calls but its connection."""

    cluster: Cluster
    masker: Masker
    key: bytes
    locks: Path
    where: str
    carries_out: bool = True

    @translated
    async def read(self, context: Context, target: Target) -> dict[str, Any] | None:
        """A release's newest revision, without its content; None where there is none, or it may not be seen."""
        if target.system != "helm":
            return None
        try:
            return await observe.read(self._access(context), target)
        except KubeError as error:
            if error.status in {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}:
                return None
            raise

    async def owner(self, _: Context, __: Target) -> Owner | None:
        """Nothing delivers a release: it is what delivers."""
        return None

    @translated
    async def plan(self, context: Context, share: Share) -> Prepared:
        """Render and compare the releases of a share. See `plan.plan`."""
        return await plan(self._access(context), share)

    @translated
    async def apply(self, context: Context, prepared: Prepared) -> None:
        """Upgrade them. See `apply.apply`."""
        await apply(self._access(context), prepared.own)

    @translated
    async def verify(self, context: Context, prepared: Prepared, seconds: float) -> str:
        """Wait until they have landed. See `verify.landed`."""
        return await landed(self._access(context), prepared.own, seconds)

    async def present(self, context: Context, target: Target) -> bool:
        """Whether a release is deployed."""
        found = await self.read(context, target)
        return found is not None and found["status"] == "deployed"

    @translated
    async def observe(self, context: Context, written: Sequence[Written]) -> bool:
        """Whether any revision of these releases is this request's."""
        return await undo.observe(self._access(context), written)

    @translated
    async def undo(self, context: Context, written: Sequence[Written]) -> Undone:
        """Roll back the releases that are still as this request left them."""
        return await undo.undo(self._access(context), written)

    @translated
    async def settled(self, context: Context, written: Sequence[Written], seconds: float) -> str:
        """Wait until the former revisions' objects are live again."""
        return await undo.settled(self._access(context), written, seconds)

    async def answers(self) -> bool:
        """Whether the API server answers and takes the login, whatever rights that has."""
        return await answers(self.cluster)

    async def excess(self) -> str:
        """Which rights the login has beyond the server's own role."""
        return await excess_rights(self.cluster)

    @translated
    async def status(self, context: Context, question: Question) -> dict[str, Any]:
        """The releases of an app or a namespace: revision, status, chart, and their history.

        Raises:
            InfraError: `not-found`, also where the circle may not look.
        """
        return await observe.status(self._access(context), question)

    def _access(self, context: Context) -> Access:
        return Access(self.cluster, self.masker, self.key, self.locks, context)
