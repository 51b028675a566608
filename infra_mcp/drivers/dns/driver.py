"""The driver for DNS zones: writes record sets through the zone's back end, and waits until its servers answer so."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from infra_mcp.clients.dns.server import Server, serial
from infra_mcp.clients.kube import Cluster
from infra_mcp.drivers.base import Context, Owner, Place, Prepared, Question, Setup, Share, Undone
from infra_mcp.drivers.dns import plan as planning
from infra_mcp.drivers.dns.answers import Servers, confirm
from infra_mcp.drivers.dns.backend import Backend
from infra_mcp.drivers.dns.coredns import CoreDns
from infra_mcp.drivers.dns.endpoint import Endpoint
from infra_mcp.drivers.dns.markers import other_owner
from infra_mcp.drivers.dns.objects import ClusterObject
from infra_mcp.drivers.dns.plan import Work
from infra_mcp.drivers.dns.records import Left
from infra_mcp.drivers.dns.rfc2136 import Rfc2136
from infra_mcp.drivers.dns.status import status
from infra_mcp.drivers.dns.stores import FileStore, KeyStore
from infra_mcp.drivers.dns.undo import undo
from infra_mcp.errors import InfraError
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.model.outcome import Written
from infra_mcp.model.rrset import same
from infra_mcp.model.target import Target
from infra_mcp.policy.kinds import ZoneRules
from infra_mcp.policy.policy import Policy
from infra_mcp.repository.zones.endpoints import GROUP, KIND


def place(policy: Policy, name: str) -> Place:
    """What a zone's name stands for in a policy.

    Raises:
        InfraError: `policy-invalid`: the policy names no such zone.
    """
    rules = policy.zones.get(name)
    if rules is None:
        raise InfraError("policy-invalid", "The policy has no such zone.")
    context = policy.clusters[rules.cluster].context if rules.cluster in policy.clusters else ""
    return Place(f"{name} ({rules.backend} at {rules.server or ', '.join(rules.servers)})", (name, rules, context))


@asynccontextmanager
async def connect(setup: Setup, policy: Policy, name: str) -> AsyncIterator[Zone]:
    """Open a zone. Nothing is kept open: each question has a connection of its own.

    Raises:
        InfraError: `policy-invalid`; `setup-failed`: its key cannot be read.
    """
    where, rules = place(policy, name).where, policy.zones[name]
    server = Server.parse(rules.server or rules.servers[0])
    if rules.cluster is None:
        plain = Rfc2136(name, rules, server, setup.masker)
        local = CoreDns(name, rules, server, FileStore(Path(rules.publish or "")))
        yield Zone(name, rules, plain if rules.backend == "rfc2136" else local, where)
        return
    async with Cluster.connect(rules.cluster, setup.kubeconfig, policy.clusters[rules.cluster].context) as cluster:
        held = ClusterObject(cluster, _ref(rules))
        served = CoreDns(name, rules, server, KeyStore(held, rules.key or ""))
        yield Zone(name, rules, served if rules.backend == "coredns" else Endpoint(name, rules, server, held), where)


def _ref(rules: ZoneRules) -> ObjectRef:
    """The object of the cluster that holds the records."""
    namespace, _, name = (rules.object or "").partition("/")
    kind, version = ("ConfigMap", "v1") if rules.backend == "coredns" else (KIND, f"{GROUP}/v1alpha1")
    return ObjectRef(cluster=rules.cluster or "", api_version=version, kind=kind, namespace=namespace, name=name)


class Zone:
    """Carries out changes of one zone. Holds no state between calls."""

    carries_out = True

    def __init__(self, name: str, rules: ZoneRules, backend: Backend, where: str) -> None:
        self.name, self.rules, self.where, self._backend = name, rules, where, backend
        self._servers = Servers(name, rules, backend.server)

    async def read(self, context: Context, target: Target) -> dict[str, Any] | None:
        """One record set as the primary answers it."""
        key = target.name, target.kind
        live = (await self._backend.look(context, [key])).seen[key].live
        return live.model_dump(mode="json") if live else None

    async def owner(self, context: Context, target: Target) -> Owner | None:
        """Which tool a TXT record beside a record set says it is of."""
        key = target.name, target.kind
        seen = (await self._backend.look(context, [key])).seen[key]
        found = other_owner(self.rules, seen.texts, self._backend.resources)
        return Owner(tool=found, kind="record") if found else None

    async def plan(self, context: Context, share: Share) -> Prepared:
        """Compare a share with what the primary answers. See `plan.plan`."""
        return await planning.plan(self._backend, self.rules, self.name, context, share)

    async def apply(self, context: Context, prepared: Prepared) -> None:
        """Write the plan: all its record sets at once, or none.

        Raises:
            Moved: one is not as it was read.
        """
        work: Work = prepared.own
        if work.swaps:
            await self._backend.write(context, work.own, work.swaps, work.absent)

    async def verify(self, context: Context, prepared: Prepared, seconds: float) -> str:
        """Wait until the zone's servers answer so, and say which do, and when caches agree.

        Raises:
            InfraError: `not-landed`, with the server and its answer.
        """
        work: Work = prepared.own
        servers, remark = await self._servers.all()
        found = await confirm(servers, self.name, work.wanted, seconds, context.say)
        facts = [
            f"{one.desired.wanted} set in {self.name}"
            if one.desired.wanted
            else f"{one.desired.name} {one.desired.type} removed from {self.name}"
            for one in work.records
        ]
        stale = f"caches may keep the former answer for {work.stale} s" if work.stale else ""
        return "; ".join(filter(None, [f"{', '.join(facts)}, {found}", remark, stale]))

    async def present(self, context: Context, target: Target) -> bool:
        """Whether the primary has a record set."""
        return await self.read(context, target) is not None

    async def observe(self, context: Context, written: Sequence[Written]) -> bool:
        """Whether any record set is as one of our writes left it, and was not so before."""
        lefts = [Left.of(one) for one in written]
        seen = (await self._backend.look(context, [one.key for one in lefts])).seen
        return any(same(seen[one.key].live, one.after) and not same(one.before, one.after) for one in lefts)

    async def undo(self, context: Context, written: Sequence[Written]) -> Undone:
        """Restore the former record sets, only where they are still as we left them. See `undo.undo`."""
        return await undo(self._backend, self.rules, self.name, context, written)

    async def settled(self, context: Context, written: Sequence[Written], seconds: float) -> str:
        """Wait until the servers answer as before.

        Raises:
            InfraError: `not-landed`.
        """
        former = {one.key: one.before for one in map(Left.of, written)}
        servers, _ = await self._servers.all()
        found = await confirm(servers, self.name, former, seconds, context.say)
        said = ", ".join(f"{one or f'no {key[0]} {key[1]}'}" for key, one in former.items())
        return f"{self.name} has {said} again, {found}"

    async def answers(self) -> bool:
        """Whether the primary serves the zone now."""
        try:
            await serial(self._backend.server, self.name)
        except InfraError:
            return False
        return True

    async def excess(self) -> str:
        """Nothing: a key's rights are the server's to know, and no question shows them."""
        return ""

    async def status(self, context: Context, question: Question) -> dict[str, Any]:
        """The zone's servers and the records that the repository has of it, with their drift.

        Raises:
            InfraError: `not-found`: the question is about no zone.
        """
        if question.scope != self.name or question.tree is None:
            raise InfraError("not-found", "There is no such zone, or it is not yours.")
        servers, _ = await self._servers.all()
        return await status(servers, context, self.name, question.tree)
