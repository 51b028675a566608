"""The driver for Kubernetes manifests kept as raw YAML: server-side apply as the circle, watched until landed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from infra_mcp.clients.kube import Cluster, KubeError
from infra_mcp.drivers.base import Context, Place, Prepared, Question, Setup, Share, Undone
from infra_mcp.drivers.kubernetes.edge import translated
from infra_mcp.drivers.kubernetes.reading import read_once
from infra_mcp.drivers.kubernetes.rights import excess_rights
from infra_mcp.drivers.kubernetes.undo import Left, is_ours, settled, undo
from infra_mcp.drivers.manifests import observe
from infra_mcp.drivers.manifests.apply import apply
from infra_mcp.drivers.manifests.desired import ref_of
from infra_mcp.drivers.manifests.landed import landed
from infra_mcp.drivers.manifests.plan import plan
from infra_mcp.drivers.manifests.planned import Rights
from infra_mcp.drivers.manifests.pull_secrets import PullSecrets
from infra_mcp.errors import InfraError
from infra_mcp.model.outcome import Written
from infra_mcp.model.target import Target
from infra_mcp.policy.policy import Policy

_DENIED = frozenset({403, 404})  # not there, or not bound to the circle: the same to who asks


def place(policy: Policy, name: str) -> Place:
    """What a cluster's name stands for in a policy.

    Raises:
        InfraError: `policy-invalid`: the policy names no such cluster.
    """
    rules = policy.clusters.get(name)
    if rules is None:
        raise InfraError("policy-invalid", "The policy in force names no cluster.")
    return Place(f"{name} ({rules.context})", (name, rules.context))


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
    """What carries out deliveries of plain manifests. Holds no state between calls but its connection.

    Args:
        cluster: the connection; every call says as whom.
        secrets: how pull secrets are read, hashed and hidden.
        where: what the cluster's name stands for.
    """

    carries_out = True

    def __init__(self, cluster: Cluster, secrets: PullSecrets, where: str) -> None:
        self.cluster = cluster
        self.where = where
        self._secrets = secrets

    @translated
    async def read(self, context: Context, target: Target) -> dict[str, Any] | None:
        """One object as it is live: a namespace and its binding as the server, everything else as the circle."""
        ref = ref_of(target)
        as_server = ref.kind in {"Namespace", "RoleBinding"}
        try:
            return await read_once(
                self.cluster, context, ref, as_user=None if as_server else self._rights(context).user
            )
        except KubeError as error:
            if error.status in _DENIED:
                return None
            raise

    @translated
    async def plan(self, context: Context, share: Share) -> Prepared:
        """Compare a share with the cluster. See `plan.plan`."""
        return await plan(self.cluster, self._secrets, context, share)

    @translated
    async def apply(self, context: Context, prepared: Prepared) -> None:
        """Write what the plan says. See `apply.apply`."""
        await apply(self.cluster, self._rights(context), prepared.own)

    @translated
    async def verify(self, context: Context, prepared: Prepared, seconds: float) -> str:
        """Wait until every object is as asked. See `landed.landed`."""
        return await landed(self.cluster, self._rights(context), prepared.own, seconds, context.say)

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
        rights = self._rights(context)
        for one in map(Left.of, written):
            live = await self.cluster.get(one.ref, as_user=None if one.identity == "server" else rights.user)
            if rights.own.wrote(one.ref, live, one.uid):
                return True
            if live is not None and any(is_ours(live, field) for field in one.fields):
                return True
        return False

    @translated
    async def undo(self, context: Context, written: Sequence[Written]) -> Undone:
        """Put back what was live before, on objects that are still as we left them."""
        rights = self._rights(context)
        return await undo(self.cluster, written, context.request, as_user=rights.user, adopt=rights.adopt)

    @translated
    async def settled(self, context: Context, written: Sequence[Written], seconds: float) -> str:
        """Wait until what was put back is live again, and say so."""
        return await settled(self.cluster, written, seconds, as_user=self._rights(context).user)

    async def answers(self) -> bool:
        """Whether the API server answers and takes the login; what it may is another matter."""
        try:
            await self.cluster.check()
        except KubeError as error:
            return error.status == HTTPStatus.FORBIDDEN
        return True

    async def excess(self) -> str:
        """Which rights the login has beyond the server's own role. See `rights.excess_rights`."""
        return await excess_rights(self.cluster)

    @translated
    async def status(self, context: Context, question: Question) -> dict[str, Any]:
        """An app's workload, or a namespace's workloads and pull secrets, as they are now.

        Raises:
            InfraError: `not-found`, also where the circle may not look.
        """
        user = self._rights(context).user
        try:
            if question.app is not None:
                return await observe.app(self.cluster, context.policy, question.app, user, question.tree)
            scope = question.scope or ""
            return await observe.namespace(
                self.cluster, context.policy, scope, user, context.circle, self._secrets, question.tree
            )
        except KubeError as error:
            if error.status in _DENIED:
                raise InfraError("not-found", "There is no such namespace, or it is not yours.") from None
            raise

    def _rights(self, context: Context) -> Rights:
        return Rights.of(context, self.cluster.name)
