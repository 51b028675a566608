"""Evidence by DNS: what a name server that is authoritative for a name answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from infra_mcp.clients.dns.server import Answer, Server, ask
from infra_mcp.clients.dns.text import rrset
from infra_mcp.drivers.base import Context
from infra_mcp.drivers.external.evidence import Seen, poll
from infra_mcp.errors import InfraError, Unavailable
from infra_mcp.model.rrset import APEX, RRset
from infra_mcp.policy.evidence import DnsRules

_LONGEST_PAUSE: Final = 5.0  # seconds between two looks


@dataclass(frozen=True)
class Dns:
    """One name and type at one server.

    Args:
        rules: as policy has them.
        values: what it must answer, with the version in it; empty for anything that it did not answer before.
    """

    rules: DnsRules
    values: tuple[str, ...]

    @property
    def shown(self) -> str:
        """For people."""
        return f"dns {self.rules.name} {self.rules.type} at {self.rules.server}"

    @property
    def _zone(self) -> str:
        return self.rules.name.rstrip(".")

    def _wanted(self) -> RRset | None:
        """The record set of the values.

        Raises:
            InfraError: `policy-invalid`: a value does not fit the type of the record.
        """
        if not self.values:
            return None
        try:
            return rrset(self._zone, APEX, self.rules.type, None, self.values)
        except ValueError as error:
            raise InfraError("policy-invalid", f"{self.shown}: a value of it {error}.") from None

    async def before(self, _: Context) -> JsonValue:
        """The values of now; None where the server does not answer, as far as a value says what is waited for."""
        wanted = self._wanted()
        try:
            answer = await self._ask()
        except Unavailable:
            if wanted is None:
                raise
            return None
        return list(answer.rrset.values) if answer.rrset else None

    def fresh(self, before: JsonValue) -> bool:
        """Whether it answers otherwise now than it must."""
        wanted = self._wanted()
        return wanted is None or not wanted.same_values(self._kept(before))

    async def holds(self, context: Context, before: JsonValue, seconds: float) -> str:
        """Wait until it answers with the values; without any, until it answers otherwise than before."""
        wanted, former = self._wanted(), self._kept(before)

        async def look() -> Seen:
            answer = await self._ask()
            found = answer.rrset
            so = found is not None and (wanted.same_values(found) if wanted else not found.same_values(former))
            return Seen(so, _said(answer))

        return f"{self.shown} {await poll(self.shown, look, seconds, context.say, _LONGEST_PAUSE)}"

    async def gone(self, context: Context, before: JsonValue, seconds: float) -> str:
        """Wait until it answers as before."""
        former = self._kept(before)

        async def look() -> Seen:
            answer = await self._ask()
            found = answer.rrset
            so = found is None if former is None else former.same_values(found)
            return Seen(so and not answer.problem, _said(answer))

        return f"{self.shown} {await poll(self.shown, look, seconds, context.say, _LONGEST_PAUSE)}"

    async def _ask(self) -> Answer:
        return (await ask(Server.parse(self.rules.server), self._zone, [(APEX, self.rules.type)]))[0]

    def _kept(self, before: JsonValue) -> RRset | None:
        if not isinstance(before, list):
            return None
        return RRset(name=APEX, type=self.rules.type, ttl=None, values=tuple(map(str, before)))


def _said(answer: Answer) -> str:
    if answer.rrset is None:
        return answer.problem or "answers that there is none"
    return f"answers {', '.join(answer.rrset.values)}"
