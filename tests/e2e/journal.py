"""What clients know: what they tried, and what they were told. The judge holds the ledger against it.

Each message carries a word of its own, its mark, so that what a client sent again because it never heard of it can be
told from what a server did twice.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Journal"]

Who = tuple[str, str | None]  # name and circle; the infra peer has none


@dataclass
class Journal:
    """The journal of all clients of one world. What is written here outlives every server."""

    sent: dict[str, dict[str, Any]] = field(default_factory=dict)  # by mark: asks, notifies and broadcasts
    acks: list[dict[str, Any]] = field(default_factory=list)  # answers given
    replies: list[dict[str, Any]] = field(default_factory=list)  # answers got
    read: list[dict[str, Any]] = field(default_factory=list)  # marked as read
    ends: list[dict[str, Any]] = field(default_factory=list)  # ends of requests that somebody was told
    taken: set[str] = field(default_factory=set)  # ids of requests that somebody was told of
    decided: list[dict[str, Any]] = field(default_factory=list)  # approvals
    counts: Counter[str] = field(default_factory=Counter)

    def mark(self, kind: str, sender: Who, receivers: list[Who], text: str = "{0}") -> tuple[str, str]:
        """A new message of a kind: its mark, and its text with the mark in the place of {0}."""
        mark = f"m{len(self.sent)}x"
        self.sent[mark] = {
            "kind": kind, "sender": list(sender), "receivers": [list(one) for one in receivers], "tries": 0, "ids": [],
            "text": text.replace("{0}", mark),
        }  # fmt: skip
        return mark, self.sent[mark]["text"]

    def tried(self, mark: str) -> None:
        """It is being sent, perhaps again."""
        self.sent[mark]["tries"] += 1

    def accepted(self, mark: str, identity: str) -> None:
        """The server said that it has it."""
        self.sent[mark]["ids"].append(identity)
        self.counts[self.sent[mark]["kind"]] += 1

    def ended(self, data: dict[str, Any]) -> None:
        """A tool told of a request: where it stood then."""
        if data.get("request"):
            self.taken.add(data["request"])
            told = {key: data.get(key) for key in ("request", "state", "commit", "audit_head")}
            if told not in self.ends:
                self.ends.append(told)

    def told(self) -> dict[str, Any]:
        """All of it, for the judge."""
        return {
            "sent": self.sent, "acks": self.acks, "replies": self.replies, "read": self.read, "ends": self.ends,
            "taken": sorted(self.taken), "decided": self.decided,
        }  # fmt: skip
