"""The driver for Kubernetes manifests kept as raw YAML: server-side apply as the circle, watched until landed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from infra_mcp.clients.kube import Cluster, KubeError
from infra_mcp.drivers.base import Context, Owner, Prepared, Question, Setup, Share, Undone
from infra_mcp.drivers.kubernetes.connection import answers, place, translated
from infra_mcp.drivers.kubernetes.owner import owner_of
from infra_mcp.drivers.kubernetes.rights import excess_rights
from infra_mcp.drivers.kubernetes.undo import Left, is_ours, settled, undo
from infra_mcp.drivers.manifests import observe
from infra_mcp.drivers.manifests.apply import apply, landed
from infra_mcp.drivers.manifests.objects import Access, ref_of
from infra_mcp.drivers.manifests.plan import plan
from infra_mcp.drivers.manifests.pull_secrets import PullSecrets
from infra_mcp.errors import InfraError
from infra_mcp.model.outcome import Written
from infra_mcp.model.target import Target
from infra_mcp.policy.policy import Policy

_DENIED = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})  # the same to a caller that is not bound there


@asynccontextmanager
async def connect(setup: Setup, policy: Policy, name: str) -> AsyncIterator[Manifests]:
    """Connect to a cluster by the context that the policy names for it.

    Raises:
        InfraError: `policy-invalid`; `setup-failed`: no such context, or its credential does not load.
    """
    where = place(policy, name).where
    async with Cluster.connect(name, setup.kubeconfig, policy.clusters[name].context) as cluster:
        yield Manifests(cluster, PullSecrets(cluster, await setup.key("secrets"), setup.masker), where)


class Manifests:
    """Carries out deliveries of plain manifests. Holds no state between calls but its connection."""

    carries_out = True

    def __init__(self, cluster: Cluster, secrets: PullSecrets, where: str) -> None:
        self.cluster, self.where, self._secrets = cluster, where, secrets

    @translated
    async def read(self, context: Context, target: Target) -> dict[str, Any] | None:
        """One live object: a namespace and its binding read as the server, everything else as the circle."""
        try:
            return await self._access(context).get_once(ref_of(target))
        except KubeError as error:
            if error.status in _DENIED:
                return None
            raise

    async def owner(self, context: Context, target: Target) -> Owner | None:
        """What delivers a live object, by its labels, annotations, owner references and field managers."""
        live = await self.read(context, target)
        return owner_of(live) if live else None

    @translated
    async def plan(self, context: Context, share: Share) -> Prepared:
        """Compare a share with the cluster. See `plan.plan`."""
        return await plan(self._access(context), self._secrets, context, share)

    @translated
    async def apply(self, context: Context, prepared: Prepared) -> None:
        """Write the plan. See `apply.apply`."""
        await apply(self._access(context), prepared.own)

    @translated
    async def verify(self, context: Context, prepared: Prepared, seconds: float) -> str:
        """Wait until every object is as planned. See `apply.landed`."""
        return await landed(self._access(context), prepared.own, seconds, context.say)

    @translated
    async def present(self, context: Context, target: Target) -> bool:
        """Whether an object is there and, for a namespace, open to the circle."""
        live = await self.read(context, target)
        if live is None or live["metadata"].get("deletionTimestamp"):
            return False
        if target.kind != "Namespace":
            return True
        account = target.model_copy(update={"scope": target.name, "kind": "ServiceAccount", "name": "default"})
        return await self.read(context, account) is not None

    @translated
    async def observe(self, context: Context, written: Sequence[Written]) -> bool:
        """Whether any object shows our write: this request's nonce, or our values in fields that are ours."""
        access = self._access(context)
        for one in map(Left.of, written):
            live = await access.get(one.ref)
            if access.own.wrote(one.ref, live, one.uid):
                return True
            if live is not None and any(is_ours(live, field) for field in one.fields):
                return True
        return False

    @translated
    async def undo(self, context: Context, written: Sequence[Written]) -> Undone:
        """Restore the former live values of objects that are still as we left them."""
        access = self._access(context)
        return await undo(self.cluster, written, context.request, as_user=access.user, adopt=access.adopt)

    @translated
    async def settled(self, context: Context, written: Sequence[Written], seconds: float) -> str:
        """Wait until what was restored is live again, and say so."""
        return await settled(self.cluster, written, seconds, as_user=self._access(context).user)

    async def answers(self) -> bool:
        """Whether the API server answers and takes the login, whatever rights that has."""
        return await answers(self.cluster)

    async def excess(self) -> str:
        """Which rights the login has beyond the server's own role. See `rights.excess_rights`."""
        return await excess_rights(self.cluster)

    @translated
    async def status(self, context: Context, question: Question) -> dict[str, Any]:
        """An app's workload, or a namespace's workloads and pull secrets, as they are now.

        Raises:
            InfraError: `not-found`, also where the circle may not look.
        """
        user = self._access(context).user
        try:
            if question.app is not None:
                return await observe.app(self.cluster, context.policy, question.app, user, question.tree)
            return await observe.namespace(
                self.cluster, context, question.scope or "", user, self._secrets, question.tree
            )
        except KubeError as error:
            if error.status in _DENIED:
                raise InfraError("not-found", "There is no such namespace, or it is not yours.") from None
            raise

    def _access(self, context: Context) -> Access:
        return Access.of(context, self.cluster)
