"""The driver of delivery `helm`: releases that the repository declares, installed and upgraded by Helm."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from infra_mcp.clients.kube import Cluster, KubeError
from infra_mcp.drivers.base import Context, Owner, Prepared, Question, Setup, Share, Undone
from infra_mcp.drivers.kubernetes.connection import answers, place, translated
from infra_mcp.drivers.kubernetes.rights import excess_rights
from infra_mcp.masking import Masker
from infra_mcp.model.outcome import Written
from infra_mcp.model.target import Target
from infra_mcp.policy.policy import Policy

if TYPE_CHECKING:  # these import pyhelm3, which takes a third of a second: paid in `connect`, in a thread
    from infra_mcp.drivers.helm.access import Access

_FOLDER = "helm"  # below the server's state directory
_PARTS = ("access", "apply", "observe", "plan", "undo", "verify")


@asynccontextmanager
async def connect(setup: Setup, policy: Policy, name: str) -> AsyncIterator[Releases]:
    """Connect to a cluster by the context that the policy names for it.

    Raises:
        InfraError: `policy-invalid`; `setup-failed`: no such context, or its credential does not load.
    """
    where = place(policy, name).where
    parts = {one: await to_thread.run_sync(import_module, f"infra_mcp.drivers.helm.{one}") for one in _PARTS}
    key = await setup.key("helm")
    async with Cluster.connect(name, setup.kubeconfig, policy.clusters[name].context) as cluster:
        yield Releases(cluster, setup.masker, key, setup.state / _FOLDER, where, parts)


@dataclass
class Releases:
    """Carries out deliveries by Helm. Holds no state between calls but its connection."""

    cluster: Cluster
    masker: Masker
    key: bytes
    locks: Path
    where: str
    parts: dict[str, Any]
    carries_out: bool = True

    @translated
    async def read(self, context: Context, target: Target) -> dict[str, Any] | None:
        """A release's newest revision, without its content; None where there is none, or it may not be seen."""
        if target.system != "helm":
            return None
        try:
            found: dict[str, Any] | None = await self.parts["observe"].read(self._access(context), target)
        except KubeError as error:
            if error.status in {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}:
                return None
            raise
        return found

    async def owner(self, _: Context, __: Target) -> Owner | None:
        """Nothing delivers a release: it is what delivers."""
        return None

    @translated
    async def plan(self, context: Context, share: Share) -> Prepared:
        """Render and compare the releases of a share. See `plan.plan`."""
        made: Prepared = await self.parts["plan"].plan(self._access(context), share)
        return made

    @translated
    async def apply(self, context: Context, prepared: Prepared) -> None:
        """Upgrade them. See `apply.apply`."""
        await self.parts["apply"].apply(self._access(context), prepared.own)

    @translated
    async def verify(self, context: Context, prepared: Prepared, seconds: float) -> str:
        """Wait until they have landed. See `verify.landed`."""
        said: str = await self.parts["verify"].landed(self._access(context), prepared.own, seconds)
        return said

    async def present(self, context: Context, target: Target) -> bool:
        """Whether a release is deployed."""
        found = await self.read(context, target)
        return found is not None and found["status"] == "deployed"

    @translated
    async def observe(self, context: Context, written: Sequence[Written]) -> bool:
        """Whether any revision of these releases is this request's."""
        shows: bool = await self.parts["undo"].observe(self._access(context), written)
        return shows

    @translated
    async def undo(self, context: Context, written: Sequence[Written]) -> Undone:
        """Roll back the releases that are still as this request left them."""
        undone: Undone = await self.parts["undo"].undo(self._access(context), written)
        return undone

    @translated
    async def settled(self, context: Context, written: Sequence[Written], seconds: float) -> str:
        """Wait until the former revisions' objects are live again."""
        said: str = await self.parts["undo"].settled(self._access(context), written, seconds)
        return said

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
        found: dict[str, Any] = await self.parts["observe"].status(self._access(context), question)
        return found

    def _access(self, context: Context) -> Access:
        access: Access = self.parts["access"].Access(self.cluster, self.masker, self.key, self.locks, context)
        return access
