"""The hash chain over events, and the heads of it that were given out: pure.

Each event's hash covers its content and the hash before it (SHA-256 over canonical JSON), so one head proves everything
up to it. The chain has no key: someone who can write the file can compute it anew from any point. So a consistent chain
alone proves nothing; a head that was given out earlier, in an ack or a commit, does.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra_mcp.ledger import schema
from infra_mcp.model.digest import canonical
from infra_mcp.model.names import Frozen

GENESIS = "0" * 64
HEADS = "heads"  # the name of the key that proves heads
# A hash covers every column of an event but itself, in the form the column has.
FIELDS = tuple(column.name for column in schema.events.c if column.name != "hash")


def link(event: Mapping[str, Any]) -> str:
    """The hash of an event: 64 hex digits."""
    return hashlib.sha256(canonical({name: event[name] for name in FIELDS})).hexdigest()


class Committed(Frozen):
    """A head found in a commit's trailers. With a valid proof it is certain that the ledger once had it."""

    commit: str
    head: str
    proof: str = ""


def proof_of(key: bytes, head: str) -> str:
    """A proof of a head that needs the ledger's key: HMAC-SHA-256, as 64 hex digits."""
    return hmac.new(key, head.encode(), hashlib.sha256).hexdigest()


@dataclass
class ChainVerifier:
    """Checks a chain from its first event on, in any number of pieces."""

    heads: frozenset[str] = frozenset()  # that were given out; those before the first broken link count as found
    events: int = 0
    last: str = GENESIS
    broken_at: int | None = None
    proved_to: int | None = None
    found: set[str] = field(default_factory=set)

    def feed(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Take the next events, in the order of `seq`."""
        for event in events:
            self.events += 1
            if self.broken_at is not None:
                continue
            if event["seq"] != self.events or event["prev"] != self.last or event["hash"] != link(event):
                self.broken_at = self.events
                continue
            self.last = event["hash"]
            if self.last in self.heads:
                self.found.add(self.last)
                self.proved_to = self.events

    @property
    def missing(self) -> tuple[str, ...]:
        """Heads that were given out and are not in the chain: it was cut, or computed anew."""
        return tuple(sorted(self.heads - self.found))
