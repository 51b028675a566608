"""What the ledger takes in and gives out, as frozen values."""

from __future__ import annotations

from typing import Any, Literal

from infra_mcp.model.names import Frozen
from infra_mcp.model.request import Request

__all__ = ["Accepted", "Ask", "AskIn", "ChainReport", "Event", "Peer", "SearchPage"]


class AskIn(Frozen):
    """An ask as it comes in; its sender is the caller, known from the transport."""

    text: str
    receiver: str = "infra"


class Ask(Frozen):
    """An ask as the ledger holds it: tracked until its one terminal ack."""

    id: str
    sender: str
    circle: str | None
    receiver: str
    text: str
    created: str
    request: str | None = None
    state: Literal["open", "acked"] = "open"
    reply: str | None = None
    responder: str | None = None
    acked_at: str | None = None


class Accepted(Frozen):
    """A submission that is durable. `fresh` is false when it is the first one's result that comes back."""

    request: Request
    ask_id: str | None
    fresh: bool


class Event(Frozen):
    """One entry of the chain. `head` is the entry's hash: the audit head once it was the newest."""

    seq: int
    at: str
    kind: str
    state: str | None
    request: str | None
    ask: str | None
    peer: str | None
    circle: str | None
    namespaces: tuple[str, ...]
    objects: tuple[str, ...]
    text: str
    data: dict[str, Any]
    head: str


class SearchPage(Frozen):
    """The newest events that match, and how many match in all."""

    events: tuple[Event, ...]
    total: int


class ChainReport(Frozen):
    """What checking the chain showed.

    `consistent` alone proves nothing against whoever writes the file: it could have been made anew. `proved_to` is the
    last event covered by a head that was given out; None when no head was given, or none was found.
    """

    consistent: bool
    events: int
    proved_to: int | None
    broken_at: int | None
    missing_heads: tuple[str, ...]
    differing: tuple[str, ...] = ()  # requests and asks whose row no longer says what their events say


class Peer(Frozen):
    """A named participant, without its tokens."""

    name: str
    circle: str
    description: str
    created: str
    tokens: int
