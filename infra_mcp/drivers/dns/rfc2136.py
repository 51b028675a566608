"""The back end of zones that take dynamic updates: one signed message a change, bound to what was read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import anyio
from anyio import to_thread

from infra_mcp.clients.dns.key import TsigKey, read_key
from infra_mcp.clients.dns.server import Server, ask
from infra_mcp.clients.dns.update import Swap, check, update
from infra_mcp.drivers.base import Context, Share
from infra_mcp.drivers.dns.look import View, look, require
from infra_mcp.drivers.dns.records import Key
from infra_mcp.errors import Moved
from infra_mcp.masking import Masker
from infra_mcp.model.rrset import RRset, same
from infra_mcp.policy.kinds import ZoneRules


@dataclass(frozen=True)
class Rfc2136:
    """A zone's primary, and the key of its updates, which is read anew for each so that it may be rotated."""

    zone: str
    rules: ZoneRules
    server: Server
    masker: Masker
    marks = True
    resources: tuple[str, ...] = ()

    async def look(self, _: Context, keys: Sequence[Key]) -> View:
        """What the primary answers; of a record set that a wildcard gives too, whether the name has its own."""
        view = await look(self.server, self.zone, self.rules, keys)
        seen = dict(view.seen)
        for key, one in view.seen.items():
            if one.by_wildcard and one.live is not None and not await self._has(one.live):
                seen[key] = replace(one, live=None, beside=())
        return View(seen, view.negative)

    async def _has(self, one: RRset) -> bool:
        """Whether a record set is there itself: a prerequisite does not regard wildcards (RFC 2136, section 3.2)."""
        try:
            await check(self.server, self.zone, await self._key(), [Swap(one.name, one.type, one, one)])
        except Moved:
            return False
        return True

    async def check(self, _: Context, __: Share, swaps: Sequence[Swap], absent: Sequence[Key]) -> None:
        """Let the server check signature and prerequisites, and change nothing.

        Raises:
            Moved: a record set is not as it was read.
            InfraError: `zone-denied`, `setup-failed`.
        """
        await check(self.server, self.zone, await self._key(), swaps, absent)

    async def write(self, _: Context, __: None, swaps: Sequence[Swap], absent: Sequence[Key]) -> None:
        """Change the record sets, if all are as they were read, TTLs included.

        Raises:
            Moved: a record set is not as it was read.
        """
        await self._require_ttls(swaps)
        key = await self._key()
        with anyio.CancelScope(shield=True):
            await update(self.server, self.zone, key, swaps, absent)

    async def restore(self, context: Context, swaps: Sequence[Swap]) -> None:
        """Change them back. Raises as `write`."""
        await self.write(context, None, swaps, ())

    async def _require_ttls(self, swaps: Sequence[Swap]) -> None:
        """Prerequisites do not compare TTLs, so these are read once more."""
        former = {(one.name, one.type): one.before for one in swaps if one.before is not None}
        answers = await ask(self.server, self.zone, list(former)) if former else []
        for key, answer in zip(former, answers, strict=True):
            require(self.server, self.zone, *key, answer)
            if not same(answer.rrset, former[key]):
                raise Moved(f"{key[0]} {key[1]} of {self.zone}")

    async def _key(self) -> TsigKey:
        return await to_thread.run_sync(read_key, self.rules.key_file or "", self.masker)
