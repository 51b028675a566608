"""The back end of zones that external-dns keeps: a DNSEndpoint object is applied, and the zone's servers must answer.

That external-dns has read the object (`status.observedGeneration`) says nothing of what the servers answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from anyio import to_thread

from infra_mcp.clients.dns.server import Server
from infra_mcp.clients.dns.update import Swap
from infra_mcp.drivers.base import Context, Share
from infra_mcp.drivers.dns.look import View, look
from infra_mcp.drivers.dns.objects import ClusterObject
from infra_mcp.drivers.dns.records import Key, require_alike
from infra_mcp.errors import InfraError, Moved
from infra_mcp.model.rrset import RRset, same
from infra_mcp.policy.kinds import ZoneRules
from infra_mcp.policy.zone_files import file_of
from infra_mcp.repository.value import Tree
from infra_mcp.repository.zones.endpoints import KIND, of_object, replaced
from infra_mcp.repository.zones.fault import ZoneFault


@dataclass(frozen=True)
class Endpoint:
    """A DNSEndpoint object, and the servers of its zone."""

    zone: str
    rules: ZoneRules
    server: Server
    object: ClusterObject
    marks = False  # external-dns writes its own

    @property
    def resources(self) -> tuple[str, ...]:
        """What external-dns' marks say that records of this object come from (`source/crd.go`)."""
        return (f"crd/{self.object.ref.namespace}/{self.object.ref.name}",)

    async def look(self, context: Context, keys: Sequence[Key]) -> View:
        """What the object has, or else what the servers answer: records that come from elsewhere."""
        view = await look(self.server, self.zone, self.rules, keys)
        held = self._records(await self.object.read(context))
        seen = {
            key: replace(one, live=held[key])
            if key in held
            else replace(one, live=None if one.by_wildcard else one.live)
            for key, one in view.seen.items()
        }
        return View(seen, view.negative)

    async def check(
        self, context: Context, share: Share, swaps: Sequence[Swap], _: Sequence[Key]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Compare the live object with the repository's, and let the API server dry-run the change.

        Returns:
            The live object, and the fields to apply.

        Raises:
            InfraError: `not-in-cluster`: they differ in more than this change.
        """
        live = await self.object.read(context)
        path, wanted = await to_thread.run_sync(self._in_git, context, share.after)
        require_alike(str(self.object.ref), path, self._records(wanted), self._records(live), swaps)
        sets = {"spec": {"endpoints": (wanted.get("spec") or {}).get("endpoints") or []}}
        await self.object.check(context, live, sets)
        return live, sets

    async def write(
        self, context: Context, own: tuple[dict[str, Any], dict[str, Any]], _: Sequence[Swap], __: Sequence[Key]
    ) -> None:
        """Apply the object. Raises as `ClusterObject.write`."""
        await self.object.write(context, *own)

    async def restore(self, context: Context, swaps: Sequence[Swap]) -> None:
        """Set record sets of the live object back.

        Raises:
            Moved: one is not as it was read.
        """
        live = await self.object.read(context)
        held, endpoints = self._records(live), list((live.get("spec") or {}).get("endpoints") or [])
        for swap in swaps:
            one = swap.before or swap.after
            if one is None or not same(held.get((swap.name, swap.type)), swap.before):
                raise Moved(f"{swap.name} {swap.type} of {self.zone}")
            endpoints = replaced(endpoints, self.zone, one, swap.after)
        await self.object.write(context, live, {"spec": {"endpoints": endpoints}})

    def _records(self, live: dict[str, Any]) -> dict[Key, RRset]:
        try:
            return of_object(live, self.zone)
        except ZoneFault as fault:
            raise InfraError("object-invalid", f"{self.object.ref}: {fault}.") from None

    def _in_git(self, context: Context, tree: Tree) -> tuple[str, dict[str, Any]]:
        path, ref = file_of(context.policy, tree, self.zone), self.object.ref
        for one in tree.documents(path) or []:
            metadata = one.get("metadata") or {} if isinstance(one, dict) else {}
            named = metadata.get("namespace"), metadata.get("name")
            if metadata and one.get("kind") == KIND and named == (ref.namespace, ref.name):
                return path, one
        raise InfraError("not-in-repository", f"{ref} is not in {path}, which holds the records of {self.zone}.")
