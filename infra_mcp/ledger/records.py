"""Values that the ledger takes in and returns."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from infra_mcp.model.names import Frozen
from infra_mcp.model.peer import Identity
from infra_mcp.model.request import Request, Submission


class AskIn(Frozen):
    """An ask to the infra peer as it comes in; its sender is the caller, known from the transport."""

    text: str
    receiver: str = "infra"
    reply_to: str | None = None  # an ask of the infra peer that this one answers, and closes in the same transaction


class Ask(Frozen):
    """An ask, tracked until its one terminal ack. A circle is None for the infra peer and for operators."""

    id: str
    sender: str
    circle: str | None
    receiver: str
    text: str
    created: str
    receiver_circle: str | None = None
    attachments: tuple[dict[str, Any], ...] = ()
    reply_to: str | None = None  # the ask that this one answered and closed
    request: str | None = None
    state: Literal["open", "acked"] = "open"
    closed: str | None = None  # how: "acked", or "replied" by an ask with `reply_to`, whose text is the reply
    reply: str | None = None
    reply_attachments: tuple[dict[str, Any], ...] = ()
    responder: str | None = None
    acked_at: str | None = None
    seen: str | None = None  # when the receiver marked it as read
    claim: str | None = None  # the attending session that may act for the asker
    claimed_at: str | None = None
    acted_by: str | None = None  # the attending session that acted for the asker, or acked
    purged: str | None = None  # when retention deleted the text, which it does between peers of circles only
    sponsor: str | None = None  # the person who answers for the sender's token
    identity: Identity | None = None  # of a sender who came by an issuer's token


class Message(Frozen):
    """A message without an answer: a notify, one receiver's copy of a broadcast, or the outcome of a notify."""

    id: str
    kind: Literal["notify", "broadcast", "outcome"]
    sender: str
    circle: str | None
    receiver: str
    receiver_circle: str | None
    text: str
    created: str
    request: str | None = None
    reply_to: str | None = None  # of an outcome: the notify
    read: str | None = None


class Inbox(Frozen):
    """A peer's unread mail: of each sender the oldest first, senders in turn."""

    asks: tuple[Ask, ...]  # open and to this peer; those to the infra peer that are a request already are left out
    messages: tuple[Message, ...]  # not marked as read
    acks: tuple[Ask, ...]  # asks of this peer whose ack it has not marked as read
    more: dict[str, int]  # how many of each are left out


class Counts(Frozen):
    """Counts that limits need: how much a sender, a pair and a receiver have open at this moment."""

    open_from_sender: int  # open asks of the sender, to all receivers
    open_between: int  # open asks of the sender to this receiver
    depth: int  # how many asks answered one another up to `reply_to`, itself included
    unread: int  # messages the receiver has not marked as read, and asks to it that are open
    unread_between: int  # messages of the sender that the receiver has not marked as read


class ReleaseIn(Frozen):
    """What policy decided about one release of a notify: a submission, a request it repeats, or a refusal."""

    submission: Submission | None = None
    request_id: str = ""  # the id the submission's request gets
    supersedes: tuple[str, ...] = ()  # waiting requests whose place it takes, as far as they still wait
    refusal: dict[str, str] | None = None  # code, what, next
    same: str | None = None  # the id of the open request it repeats


class Happened(NamedTuple):
    """How often something is in the events: an end by its action and state, or another kind; with its code, if any."""

    kind: str
    state: str | None
    action: str | None
    code: str | None
    times: int


class Accepted(Frozen):
    """A submission that is durable. `fresh` is false when it repeats one, whose request this is."""

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
    """The result of checking the chain."""

    consistent: bool  # alone it proves nothing against someone who can write the file: it could be computed anew
    events: int
    proved_to: int | None  # the last event covered by a head that was given out; None without such a head
    broken_at: int | None
    missing_heads: tuple[str, ...]
    claims: tuple[str, ...] = ()  # commits whose heads are not in the chain, and that anyone may have made
    differing: tuple[str, ...] = ()  # ids of rows that disagree with their events, and of rows that are gone


class Peer(Frozen):
    """A named participant of a circle, or an operator (whose circle is empty), without its tokens."""

    name: str
    circle: str
    role: Literal["agent", "operator"]
    description: str
    created: str
    tokens: int


class Token(Frozen):
    """A token of a peer, without the token."""

    id: str  # the beginning of its hash
    peer: str
    circle: str
    created: str
    expires: str | None  # None for one without an end
    expired: bool
    used: str | None  # when it was last used, to the hour
    sponsor: str | None  # the person who answers for it; None for one of an older version
    replaced: bool  # a later one of the peer is there
