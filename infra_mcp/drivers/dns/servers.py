"""The servers whose answers decide whether a zone's record has landed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import anyio

from infra_mcp.clients.dns.delegation import delegation
from infra_mcp.clients.dns.server import Server
from infra_mcp.errors import InfraError
from infra_mcp.policy.kinds import ZoneRules

_LOOKUP: Final = 10.0  # seconds for the delegation
_KEPT: Final = 300.0  # seconds for which it is remembered


@dataclass
class Servers:
    """Finds them: the primary, and the others that policy names, or else those that the zone is delegated to."""

    zone: str
    rules: ZoneRules
    primary: Server
    _known: tuple[float, list[Server], str] | None = field(default=None, repr=False)

    async def all(self) -> tuple[list[Server], str]:
        """The primary first, then the others; and a remark where these are not known."""
        if self.rules.servers:
            return self._with([Server.parse(one) for one in self.rules.servers]), ""
        if self._known is None or anyio.current_time() - self._known[0] > _KEPT:
            found, why = await self._delegated()
            self._known = anyio.current_time(), self._with(found), why
        return self._known[1], self._known[2]

    async def _delegated(self) -> tuple[list[Server], str]:
        resolver = Server.parse(self.rules.resolver) if self.rules.resolver else None
        with anyio.move_on_after(_LOOKUP):
            try:
                found = await delegation(self.zone, resolver)
            except InfraError as error:
                return [], f"only the primary was asked: {error.what.rstrip('.')}"
            return found, "" if found else f"only the primary was asked: nothing delegates {self.zone}"
        return [], "only the primary was asked: the delegation could not be looked up in time"

    def _with(self, others: list[Server]) -> list[Server]:
        primary = self.primary
        return [primary, *dict.fromkeys(one for one in others if (one.host, one.port) != (primary.host, primary.port))]
