"""What hangs on a peer that is removed: ended in the same transaction, and no newcomer's with its name.

What it asked for and has not begun is cancelled; what has begun goes on to its end, since half a change helps nobody.
Its open asks are closed, and so are those to it, whose senders would wait for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select, update

from infra_mcp.ledger import asks, messages, peer_filters, requests, schema
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
# A key is its peer's: a newcomer that happens to choose the same means something of its own.
_KEYS = update(_ROWS).where(_OWN, ~_ROWS.c.open).values(idempotency_key=None)
_ASKED = select(_ASKS).where(asks.OF_SENDER, _ASKS.c.state == "open", _ASKS.c.request.is_(None))
_TO_IT = select(_ASKS).where(asks.TO)
_READ = update(_MESSAGES).where(messages.UNREAD).values(read=bindparam("at"))
_TAKEN = (
    update(_OUTBOX)
    .where(peer_filters.is_party("to", _OUTBOX.c.receiver, _OUTBOX.c.circle), _OUTBOX.c.delivered.is_(None))
    .values(delivered=bindparam("at"))
)


@dataclass(frozen=True)
class Departure:
    """What was ended with a peer: whoever waits for one of these is to be woken."""

    requests: tuple[Request, ...]
    asks: tuple[Ask, ...]

    @property
    def ids(self) -> set[str]:
        """Of requests and asks."""
        return {one.id for one in self.requests} | {one.id for one in self.asks}

    @property
    def signals(self) -> set[str]:
        """The names they wait under: ids, and the inboxes of both sides."""
        names = self.ids | {one.ask for one in self.requests if one.ask}
        names |= {Address(name=one.caller.name, circle=one.caller.circle).signal for one in self.requests}
        names |= {Address(name=one.sender, circle=one.circle).signal for one in self.asks}
        return names | {Address(name=one.receiver, circle=one.receiver_circle).signal for one in self.asks}


def settle(tx: Tx, masker: Masker, words: MessageDigests, peer: Address, at: str) -> Departure:
    """End what hangs on a peer that is no more, and mark its mail as read."""
    given: dict[str, Any] = peer_filters.given("from", peer) | peer_filters.given("to", peer)
    cancelled = [requests.read(row) for row in tx.connection.execute(_WAITING, given).mappings().all()]
    for one in cancelled:
        message = f"Peer {peer.name} was removed. Nothing was changed."
        receipt = Receipt(request=one.id, state=State.CANCELLED, message=message, action=one.action.action)
        requests.finish(tx, masker, one.id, receipt, {"removed": peer.name})
    asked, to_it = asks.listed(tx.connection, _ASKED, given), asks.listed(tx.connection, _TO_IT, given)
    replies = [f"Peer {peer.name}, who asked this, was removed."] * len(asked)
    replies += [f"Peer {peer.name} was removed before it answered."] * len(to_it)
    for ask, reply in zip([*asked, *to_it], replies, strict=True):
        _close(tx, words, ask, reply, at)
    for statement in (_KEYS, _READ, _TAKEN):
        tx.connection.execute(statement, given | {"at": at} if statement is not _KEYS else given)
    return Departure(tuple(cancelled), (*asked, *to_it))


def _close(tx: Tx, words: MessageDigests, ask: Ask, reply: str, at: str) -> None:
    told, data = words.told(between_peers(ask.circle, ask.receiver_circle), reply)
    data |= {"closed": "acked", "from": ask.receiver, "removed": True}
    append(tx, Entry(at, "acked", ask.sender, ask.circle or ask.receiver_circle, told, data, None, None, ask.id))
    asks.close(tx.connection, ask, reply, at)
