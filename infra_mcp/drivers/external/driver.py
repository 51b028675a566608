"""The driver of delivery `external`: others make the content live, and evidence confirms it.

It writes nothing anywhere, so its undo is the revert of the commit, and an undo waits until evidence shows that one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from infra_mcp.clients.kube import Cluster
from infra_mcp.drivers.base import Context, Owner, Place, Prepared, Question, Setup, Share, Undone
from infra_mcp.drivers.external.beside import failing
from infra_mcp.drivers.external.evidence import together
from infra_mcp.drivers.external.plan import NOTHING, Before, Ground, Own, evidence, plan, workload
from infra_mcp.drivers.kubernetes import connection, health
from infra_mcp.drivers.kubernetes.rights import excess_rights
from infra_mcp.errors import InfraError
from infra_mcp.model.outcome import Written
from infra_mcp.model.target import Target
from infra_mcp.policy.policy import Policy


def place(policy: Policy, name: str) -> Place:
    """What a place's name stands for: a cluster, or nothing where evidence needs none.

    Raises:
        InfraError: `policy-invalid`: the policy names no such cluster; `delivery-unsupported`: it is a zone.
    """
    if policy.delivery_of(name) is not None:
        raise InfraError("delivery-unsupported", f"Evidence cannot be named for {name} yet.")
    where = connection.place(policy, name) if name else Place("no cluster", "")
    return Place(where.where, (where.settings, policy.forge))


@asynccontextmanager
async def connect(setup: Setup, policy: Policy, name: str) -> AsyncIterator[External]:
    """Open a place; the forge is connected to when evidence is first asked of it.

    Raises:
        InfraError: `policy-invalid`; `setup-failed`: no such context, or its credential does not load.
    """
    where, forge = place(policy, name).where, partial(setup.forge, policy)
    if not name:
        yield External(Ground(None, forge, setup.news), where)
        return
    async with Cluster.connect(name, setup.kubeconfig, policy.clusters[name].context) as cluster:
        yield External(Ground(cluster, forge, setup.news), where)


class External:
    """Confirms what others deliver. Holds no state between calls but its connection."""

    carries_out = False

    def __init__(self, ground: Ground, where: str) -> None:
        self.where, self._ground = where, ground

    async def read(self, _: Context, __: Target) -> dict[str, Any] | None:
        """Nothing: no target is of this system."""
        return None

    async def owner(self, _: Context, __: Target) -> Owner | None:
        """Nothing, for the same reason."""
        return None

    @connection.translated
    async def plan(self, context: Context, share: Share) -> Prepared:
        """Which evidence there is, and how it stands; see `plan.plan`.

        Raises:
            InfraError: the evidence can never hold, or the circle could not write an object itself.
        """
        return await plan(self._ground, context, share)

    async def apply(self, context: Context, prepared: Prepared) -> None:
        """Never called: others carry it out."""
        raise NotImplementedError

    @connection.translated
    async def verify(self, context: Context, prepared: Prepared, seconds: float) -> str:
        """Wait until every piece of evidence holds for the commit.

        Raises:
            InfraError: `not-landed`, with the first piece that fails, and why.
        """
        own: Own = prepared.own
        if not prepared.confirms:
            return NOTHING
        if not own.commits:
            return "git says so already"
        pieces = zip(own.pieces, own.states, strict=True)
        facts = await together(partial(one.holds, context, state, seconds) for one, state in pieces)
        cluster = self._ground.cluster
        if cluster is None or not own.beside:
            return facts
        user = context.policy.service_account(context.circle, cluster.name)
        return "; ".join([facts, *await failing(cluster, own.beside, user)])

    async def present(self, _: Context, __: Target) -> bool:
        """Nothing that it plans can be needed: its plans hold no targets."""
        return False

    async def observe(self, _: Context, __: Sequence[Written]) -> bool:
        """Whether others may have made any of it live: they may, as soon as it is committed."""
        return True

    async def undo(self, context: Context, _: Sequence[Written]) -> Undone:
        """Nothing: the revert of the commit is the undo. Names the evidence that is then waited for."""
        return Undone(tuple(one.shown for one, _ in self._recorded(context)))

    @connection.translated
    async def settled(self, context: Context, _: Sequence[Written], seconds: float) -> str:
        """Wait until the same evidence shows that the revert is live.

        Raises:
            InfraError: `not-landed`.
        """
        pieces = self._recorded(context)
        return await together(partial(one.gone, context, state, seconds) for one, state in pieces)

    def _recorded(self, context: Context) -> list[tuple[Any, Any]]:
        """The pieces of evidence that were recorded before the commit, each with its state of then."""
        begun = Before.of(context.before)
        return list(zip(evidence(self._ground, begun), begun.states, strict=True)) if begun else []

    async def answers(self) -> bool:
        """Whether the cluster answers, where there is one."""
        return self._ground.cluster is None or await connection.answers(self._ground.cluster)

    async def excess(self) -> str:
        """Which rights the cluster's login has beyond the server's own role. See `rights.excess_rights`."""
        return await excess_rights(self._ground.cluster) if self._ground.cluster else ""

    @connection.translated
    async def status(self, context: Context, question: Question) -> dict[str, Any]:
        """The workloads that are an app's evidence, or its own, as they are now.

        Raises:
            InfraError: `not-found`: the question is about no app.
        """
        app = context.policy.apps.get(question.app or "")
        if app is None:
            raise InfraError("not-found", "Others deliver this, so only its apps can be asked about.")
        every = (app.evidence, *(one.evidence for one in app.environments.values()))
        named = [name for one in every if one for name in one.workload] or ([app.workload] if app.workload else [])
        cluster = self._ground.cluster
        if cluster is None or not named:
            return {
                "health": "unknown",
                "reason": f"others deliver it, and infra.toml names no workload of {question.app}",
            }
        user = context.policy.service_account(context.circle, cluster.name)
        name = named[0]
        live = await cluster.get(workload(name, cluster.name), as_user=user)
        if live is None:
            return {"workload": name, "health": "absent"}
        state = health.status(live)
        return {"workload": name, "health": state.state, "reason": state.reason}
