"""The hash chain over events: pure.

Each event's hash covers its content and the hash before it (SHA-256 over canonical JSON), so whoever knows one head
knows everything up to it. The chain has no key: whoever writes the file can make it anew from any point. So a chain
that adds up proves only that it adds up; what proves more is a head that was given out earlier, in an ack or a commit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra_mcp.model.digest import canonical

GENESIS = "0" * 64
# What a hash covers: every column of an event but the hash itself, in the form the column has.
FIELDS = (
    "seq",
    "at",
    "kind",
    "state",
    "request",
    "ask",
    "peer",
    "circle",
    "namespaces",
    "objects",
    "text",
    "data",
    "prev",
)


def link(event: Mapping[str, Any]) -> str:
    """The hash of an event: 64 hex digits."""
    return hashlib.sha256(canonical({name: event[name] for name in FIELDS})).hexdigest()


@dataclass
class ChainVerifier:
    """Checks a chain from its first event on, in as many pieces as it comes in.

    Args:
        heads: heads that were given out. Only those found before the first broken link count as found.
    """

    heads: frozenset[str] = frozenset()
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
        """Heads that were given out and are not in the chain: it was cut, or made anew."""
        return tuple(sorted(self.heads - self.found))
