"""Which operators count where a rule wants several: those for whom two who count have vouched. Read from the chain.

One person must not make a second one and approve as both. So who adds an operator or gives one a new token vouches
once, and another who counts must confirm it. Who is named on the server's host, by its own user, counts at once while
fewer than two others count: so the first two are named at set-up, and a lost token is replaced where there are but two.
After that the host's user, who may be any of the operators, vouches for nobody.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json
from sqlalchemy import Connection, select

from infra_mcp.ledger import schema
from infra_mcp.model.peer import Caller

_NEEDED = 2  # who count and vouch for one more
CONFIRMED = "operator-confirmed"
_HOST = ""  # stands for the server's own user in an event's `by`
_EVENTS = schema.events.c
_KINDS = ("peer-added", "peer-removed", "token-issued", CONFIRMED)
_TOLD = select(_EVENTS.seq, _EVENTS.kind, _EVENTS.peer, _EVENTS.data).where(
    _EVENTS.circle.is_(None), _EVENTS.kind.in_(_KINDS)
)
_TOLD = _TOLD.order_by(_EVENTS.seq)


@dataclass
class _Standing:
    by: str | None  # who added it; None before that was recorded, and then it counts
    counts: bool
    since: int  # seq of the event that added it
    vouchers: set[str] = field(default_factory=set)
    has_token: bool = False


class Operators:
    """Operators by name, and who of them counts. Told every event about them, in order."""

    def __init__(self) -> None:
        self.there: dict[str, _Standing] = {}
        self.known: set[str] = set()  # those removed since, too

    @property
    def uncounted(self) -> frozenset[str]:
        """Names of operators, present or past, that do not count."""
        return frozenset(name for name in self.known if not (name in self.there and self.there[name].counts))

    def vouchers(self, name: str) -> list[str]:
        """Who has vouched for an operator so far."""
        return sorted(self.there[name].vouchers) if name in self.there else []

    def is_gone(self, name: str, at: float) -> bool:
        """Whether who was the operator of this name at a place in the chain was removed since."""
        return name in self.known and (name not in self.there or self.there[name].since > at)

    def told(self, kind: str, name: str, data: dict[str, Any], seq: int) -> None:
        """Take in one event. Those of before it was recorded who did it say no `by`: who was added then counts."""
        by = data.get("by")
        if kind == "peer-added" and data.get("role") == "operator":
            self.known.add(name)
            self.there[name] = _Standing(by, counts=by is None, since=seq)
        one = self.there.get(name)
        if one is None:
            return
        if kind == "peer-removed":
            del self.there[name]
            return
        if kind == "token-issued":
            if by in {None, name} or (by == one.by and not one.has_token):
                one.has_token = True
                return
            one.counts, one.vouchers = False, set()  # whoever issued it may hold it
        self._vouch(one, name, by)

    def may_vouch(self, by: str, name: str) -> bool:
        """Whether the word of one (empty: the host's user) is worth anything for another."""
        if by == _HOST:
            return sum(one.counts for other, one in self.there.items() if other != name) < _NEEDED
        return by != name and by in self.there and self.there[by].counts

    def _vouch(self, one: _Standing, name: str, by: str | None) -> None:
        if by is None or not self.may_vouch(by, name):
            return
        one.vouchers |= {by} - {_HOST}
        one.counts = one.counts or by == _HOST or len(one.vouchers) >= _NEEDED


def operators(connection: Connection) -> Operators:
    """All operators of this ledger, as its events say."""
    found = Operators()
    for row in connection.execute(_TOLD):
        data = from_json(row.data)
        if data.get("circle") == "":
            found.told(row.kind, row.peer, data, row.seq)
    return found


def signed(by: Caller | None) -> dict[str, Any]:
    """What an event about an operator says of who did it."""
    return {} if by is None else {"by": by.name if by.strength == "token" else _HOST}
