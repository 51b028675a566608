"""The back end of zones that servers read from a zone file: linted before use, the serial raised, replaced as a whole.

The file is published as the repository has it. So it must differ from what is published in nothing but this change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from anyio import to_thread

from infra_mcp.clients.dns.server import Server
from infra_mcp.clients.dns.update import Swap
from infra_mcp.drivers.base import Context, Share
from infra_mcp.drivers.dns.look import Seen, View
from infra_mcp.drivers.dns.markers import TXT, our_place, places
from infra_mcp.drivers.dns.records import Key, require_alike
from infra_mcp.drivers.dns.stores import Store
from infra_mcp.errors import InfraError, Moved
from infra_mcp.model.rrset import APEX, RRset, same
from infra_mcp.policy.kinds import ZoneRules
from infra_mcp.policy.zone_files import file_of
from infra_mcp.repository.nodes import Unreadable
from infra_mcp.repository.zones import config_map, master


@dataclass(frozen=True)
class CoreDns:
    """A zone file, and the servers that read it."""

    zone: str
    rules: ZoneRules
    server: Server
    store: Store
    marks = False
    resources: tuple[str, ...] = ()

    async def look(self, context: Context, keys: Sequence[Key]) -> View:
        """The record sets of the published file."""
        held = await to_thread.run_sync(self._records, await self.store.read(context))
        soa = held.get((APEX, "SOA"))
        negative = min(soa.ttl or 0, int(soa.values[0].split()[6])) if soa else 0
        return View({key: self._seen(key, held) for key in keys}, negative)

    def _seen(self, key: Key, held: Mapping[Key, RRset]) -> Seen:
        beside = tuple(kind for name, kind in held if name == key[0] and kind not in {key[1], "SOA"})
        texts = {place: held.get((place, TXT)) for place in places(self.rules, *key)}
        return Seen(held.get(key), False, beside, held.get((our_place(*key), TXT)), texts)

    async def check(
        self, context: Context, share: Share, swaps: Sequence[Swap], _: Sequence[Key]
    ) -> tuple[bytes, bytes]:
        """Lint the file that would be published, and compare it with the one that is.

        Returns:
            The published file, and the one to publish.

        Raises:
            InfraError: `not-in-cluster`: they differ in more than this change; `object-invalid`: no server would load
                the new one.
        """
        published = await self.store.read(context)
        content = await to_thread.run_sync(self._checked, context, share, published, swaps)
        await self.store.check(context, content)
        return published, content

    def _checked(self, context: Context, share: Share, published: bytes, swaps: Sequence[Swap]) -> bytes:
        path = file_of(context.policy, share.after, self.zone)
        wanted = share.after.read(path) or b""
        try:
            text = config_map.text_of(wanted, self.rules.key)[1].encode() if self.rules.key else wanted
            master.lint(text, self.zone)
            content = master.raised(text, self.zone, master.serial_of(published, self.zone))
        except Unreadable as error:
            raise InfraError("object-invalid", f"{path}: no server would load the zone: {error.why}.") from None
        require_alike(f"What is published of {self.zone}", path, self._records(text), self._records(published), swaps)
        return content

    async def write(self, context: Context, own: tuple[bytes, bytes], _: Sequence[Swap], __: Sequence[Key]) -> None:
        """Publish the file, if the former one is still there.

        Raises:
            Moved: another one is.
        """
        await self.store.write(context, *own)

    async def restore(self, context: Context, swaps: Sequence[Swap]) -> None:
        """Set records of the published file back. Raises as `write`."""
        published = await self.store.read(context)
        await self.store.write(context, published, await to_thread.run_sync(self._restored, published, swaps))

    def _restored(self, published: bytes, swaps: Sequence[Swap]) -> bytes:
        held, content = self._records(published), published
        for one in swaps:
            if not same(held.get((one.name, one.type)), one.before):
                raise Moved(f"{one.name} {one.type} of {self.zone}")
            try:
                content = master.edited(content, self.zone, one.before, one.after)
            except Unreadable as error:
                raise InfraError("undo-incomplete", f"{one.name} {one.type} of {self.zone}: {error.why}.") from None
        return content

    def _records(self, text: bytes) -> dict[Key, RRset]:
        try:
            return {one.key: one for one in master.read(text, self.zone)}
        except Unreadable as error:
            what = f"The zone file of {self.zone}, line {error.line}, cannot be read: {error.why}."
            raise InfraError("object-invalid", what) from None
