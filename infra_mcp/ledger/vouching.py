"""Which operators count where a rule wants several: those for whom two that count have vouched. Read from the chain.

One person must not make a second one and approve as both. So adding an operator, or issuing a new token for one,
vouches once, and another operator that counts must confirm it. An operator named on the server's host, by its own user,
counts at once while fewer than two others count: so the first two are named at set-up, and a lost token can be replaced
where there are only two. After that the host's user, who may be any of the operators, can vouch for no one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json
from sqlalchemy import Connection, select

from infra_mcp.ledger import schema
from infra_mcp.model.peer import Caller

_NEEDED = 2  # vouchers that count, for one more
CONFIRMED = "operator-confirmed"
_HOST = ""  # stands for the server's own user in an event's `by`
_EVENTS = schema.events.c
_KINDS = ("peer-added", "peer-removed", "token-issued", CONFIRMED)
_CHANGES = select(_EVENTS.seq, _EVENTS.kind, _EVENTS.peer, _EVENTS.data).order_by(_EVENTS.seq)
_CHANGES = _CHANGES.where(_EVENTS.circle.is_(None), _EVENTS.kind.in_(_KINDS))


@dataclass
class _Standing:
    by: str | None  # added it; None before that was recorded, and then it counts
    counts: bool
    since: int  # seq of the event that added it
    vouchers: set[str] = field(default_factory=set)
    has_token: bool = False


class Operators:
    """Operators by name, and which of them count, from every event about them, in order."""

    def __init__(self) -> None:
        self.there: dict[str, _Standing] = {}
        self.known: set[str] = set()  # those removed since, too

    @property
    def uncounted(self) -> frozenset[str]:
        """Names of operators, present or past, that do not count."""
        return frozenset(name for name in self.known if not (name in self.there and self.there[name].counts))

    def vouchers(self, name: str) -> list[str]:
        """The operators that have vouched for one so far."""
        return sorted(self.there[name].vouchers) if name in self.there else []

    def is_gone(self, name: str, at: float) -> bool:
        """Whether the operator that had this name at a place in the chain was removed since."""
        return name in self.known and (name not in self.there or self.there[name].since > at)

    def apply(self, kind: str, name: str, data: dict[str, Any], seq: int) -> None:
        """Take in one event. Old ones have no `by`: operators that were added then count."""
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
            one.counts, one.vouchers = False, set()  # the issuer may hold it
        if by is not None and self.may_vouch(by, name):
            one.vouchers |= {by} - {_HOST}
            one.counts = one.counts or by == _HOST or len(one.vouchers) >= _NEEDED

    def may_vouch(self, by: str, name: str) -> bool:
        """Whether one (empty: the host's user) can vouch for another."""
        if by == _HOST:
            return sum(one.counts for other, one in self.there.items() if other != name) < _NEEDED
        return by != name and by in self.there and self.there[by].counts


def operators(connection: Connection) -> Operators:
    """All operators of this ledger, from its events."""
    found = Operators()
    for row in connection.execute(_CHANGES):
        data = from_json(row.data)
        if data.get("circle") == "":
            found.apply(row.kind, row.peer, data, row.seq)
    return found


def signed(by: Caller | None) -> dict[str, Any]:
    """The part of an event about an operator that names its author."""
    return {} if by is None else {"by": _HOST if by.strength == "same-user" else by.name}
