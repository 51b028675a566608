"""What a removed peer leaves behind: ended in the same transaction, so that a new peer of its name inherits nothing.

Its requests that have not begun are cancelled; one that has begun goes on to its end, since half a change is worse.
Its open asks are closed, and so are those to it, whose senders would wait for ever.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, select, update

from infra_mcp.ledger import asks, clock, inbox, messages, peer_filters, requests, schema
from infra_mcp.ledger.database import Tx
from infra_mcp.ledger.events import Entry, append
from infra_mcp.ledger.message_digests import MessageDigests, between_peers
from infra_mcp.ledger.records import Ask
from infra_mcp.masking import Masker
from infra_mcp.model.outcome import Receipt
from infra_mcp.model.peer import Address
from infra_mcp.model.request import PARKED, Request, State

_ROWS, _ASKS, _OUTBOX, _MESSAGES = schema.requests, schema.asks, schema.outbox, schema.messages
_UNBEGUN = sorted(PARKED | {State.RECEIVED, State.QUEUED, State.PLANNED})
_OWN = peer_filters.is_party("from", _ROWS.c.caller, _ROWS.c.circle)
_WAITING = select(_ROWS).where(_OWN, _ROWS.c.open, _ROWS.c.state.in_(_UNBEGUN)).order_by(_ROWS.c.position)
# A key belongs to its peer: a new peer that happens to choose the same key means another request.
_KEYS = update(_ROWS).where(_OWN, ~_ROWS.c.open).values(idempotency_key=None)
_ASKED = select(_ASKS).where(asks.OF_SENDER, _ASKS.c.state == "open", _ASKS.c.request.is_(None))
_TO_IT = select(_ASKS).where(asks.TO)
_READ = update(_MESSAGES).where(messages.UNREAD).values(read=bindparam("at"))
_DELIVERED = update(_OUTBOX).where(inbox.ACKED).values(delivered=bindparam("at"))


@dataclass(frozen=True)
class Departure:
    """What ended with a peer: its waiters must be woken."""

    requests: tuple[Request, ...]
    asks: tuple[Ask, ...]

    @property
    def ids(self) -> set[str]:
        """Of requests and asks."""
        return {one.id for one in self.requests} | {one.id for one in self.asks}

    @property
    def signals(self) -> set[str]:
        """The names its waiters wait under: ids, and the inboxes of both sides."""
        inboxes = [(one.caller.name, one.caller.circle) for one in self.requests]
        inboxes += [(one.sender, one.circle) for one in self.asks]
        inboxes += [(one.receiver, one.receiver_circle) for one in self.asks]
        names = self.ids | {one.ask for one in self.requests if one.ask}
        return names | {Address(name=name, circle=circle).signal for name, circle in inboxes}


def depart(tx: Tx, masker: Masker, digests: MessageDigests, peer: Address) -> Departure:
    """End everything of a removed peer that is open, and mark its mail as read."""
    given, at = peer_filters.given("from", peer) | peer_filters.given("to", peer), clock.now()
    cancelled = requests.listed(tx.connection, _WAITING, given)
    for one in cancelled:
        message = f"Peer {peer.name} was removed. Nothing was changed."
        receipt = Receipt(request=one.id, state=State.CANCELLED, message=message, action=one.action.action)
        requests.finish(tx, masker, one.id, receipt, {"removed": peer.name})
    asked, to_it = asks.listed(tx.connection, _ASKED, given), asks.listed(tx.connection, _TO_IT, given)
    replies = [f"Peer {peer.name}, who asked this, was removed."] * len(asked)
    replies += [f"Peer {peer.name} was removed before it answered."] * len(to_it)
    for ask, reply in zip([*asked, *to_it], replies, strict=True):
        text, data = digests.content(between_peers(ask.circle, ask.receiver_circle), reply)
        data |= {"closed": "acked", "from": ask.receiver, "removed": True}
        append(tx, Entry(at, "acked", ask.sender, ask.circle or ask.receiver_circle, text, data, ask=ask.id))
        asks.close(tx.connection, ask, reply, at)
    tx.connection.execute(_KEYS, given)
    for mark in (_READ, _DELIVERED):
        tx.connection.execute(mark, given | {"at": at})
    return Departure(tuple(cancelled), (*asked, *to_it))
