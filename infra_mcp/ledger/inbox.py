"""A peer's inbox, marking it as read, and how much there is.

Statements are made once: to make one takes longer than to run it, and these are asked all the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BindParameter, Connection, and_, bindparam, func, literal_column, or_, select, update

from infra_mcp.effects import effect
from infra_mcp.ledger import asks, clock, messages, peer_filters, schema
from infra_mcp.ledger.database import Repository, Tx
from infra_mcp.ledger.events import Entry, append
from infra_mcp.ledger.records import Ask, Counts, Inbox, Message
from infra_mcp.model.peer import Address

_ASKS, _MESSAGES, _OUTBOX = schema.asks, schema.messages, schema.outbox
_DEEPEST = 1_000  # asks of one exchange that are followed
_AT_ONCE = 500  # ids of one statement

# Acks that a peer, who asked, has not marked as seen.
ACKED = and_(peer_filters.is_party("to", _OUTBOX.c.receiver, _OUTBOX.c.circle), _OUTBOX.c.delivered.is_(None))
_LIMIT: BindParameter[int] = bindparam("most")
# A share for each sender: the first of each, then the second of each, so that many of one hide none of another.
_NTH_ASK = func.row_number().over(partition_by=(_ASKS.c.sender, _ASKS.c.circle), order_by=_ASKS.c.position)
_TO_ME = select(_ASKS).where(asks.TO).order_by(_NTH_ASK, _ASKS.c.position).limit(_LIMIT)
_NTH = func.row_number().over(partition_by=(_MESSAGES.c.sender, _MESSAGES.c.circle), order_by=_MESSAGES.c.number)
_UNREAD = select(_MESSAGES).where(messages.UNREAD).order_by(_NTH, _MESSAGES.c.number).limit(_LIMIT)
_ACKS = select(_ASKS).join(_OUTBOX, _ASKS.c.id == _OUTBOX.c.ask).where(ACKED)
_ACKS = _ACKS.order_by(_OUTBOX.c.created, _OUTBOX.c.ask).limit(_LIMIT)
_OPEN_TO_ME = select(func.count()).select_from(_ASKS).where(asks.TO).scalar_subquery()
_COUNT_UNREAD = select(func.count()).select_from(_MESSAGES).where(messages.UNREAD)
_COUNT_INBOX = select(
    _OPEN_TO_ME.label("asks"),
    _COUNT_UNREAD.scalar_subquery().label("messages"),
    select(func.count()).select_from(_OUTBOX).where(ACKED).scalar_subquery().label("acks"),
)

_OPEN_ASKS = select(func.count()).select_from(_ASKS).where(asks.OF_SENDER, _ASKS.c.state == "open")
_COUNTS = select(
    _OPEN_ASKS.scalar_subquery().label("open_from_sender"),
    _OPEN_ASKS.where(asks.TO_PEER).scalar_subquery().label("open_between"),
    (_COUNT_UNREAD.scalar_subquery() + _OPEN_TO_ME).label("unread"),
    _COUNT_UNREAD.where(messages.BY).scalar_subquery().label("unread_between"),
)

_LAST = (
    select(_ASKS.c.reply_to, literal_column("1").label("depth"))
    .where(_ASKS.c.id == bindparam("last"))
    .cte("chain", recursive=True)
)
_CHAIN = _LAST.union_all(
    select(_ASKS.c.reply_to, _LAST.c.depth + 1)
    .join(_LAST, _ASKS.c.id == _LAST.c.reply_to)
    .where(_LAST.c.depth < _DEEPEST)
)
_DEPTH = select(func.max(_CHAIN.c.depth))

_OWN_ASK = asks.ONE.where(
    or_(
        and_(asks.OF_SENDER, _ASKS.c.position > peer_filters.added_at("from")),
        and_(asks.TO_PEER, _ASKS.c.position > peer_filters.added_at("to")),
    )
)
_OWN_MESSAGE = select(_MESSAGES).where(
    _MESSAGES.c.id == bindparam("message"), messages.TO_PEER, _MESSAGES.c.event > peer_filters.added_at("to")
)
_UNANSWERED = select(_ASKS).where(asks.TO).order_by(_ASKS.c.position)
_IDS: BindParameter[str] = bindparam("ids", expanding=True)
_AT: BindParameter[str] = bindparam("at")
_MARKS = (
    update(_ASKS).where(_ASKS.c.id.in_(_IDS), asks.TO_PEER, _ASKS.c.seen.is_(None)).values(seen=_AT),
    update(_MESSAGES).where(_MESSAGES.c.id.in_(_IDS), messages.UNREAD).values(read=_AT),
    update(_OUTBOX).where(_OUTBOX.c.ask.in_(_IDS), ACKED).values(delivered=_AT),
)


class Mailbox(Repository):
    """What peers find in the mail of one ledger, and what is deleted from it after a while."""

    async def inbox(self, of: Address, *, limit: int = 50) -> Inbox:
        """A peer's unread mail: at most `limit` of each kind, each sender's oldest first, senders in turn.

        Looking marks nothing.
        """
        given = peer_filters.given("to", of) | {"most": limit}

        def look(connection: Connection) -> Inbox:
            # Most looks find nothing: count first, and read what there is.
            there = connection.execute(_COUNT_INBOX, given).mappings().one()
            return Inbox(
                asks=tuple(asks.listed(connection, _TO_ME, given)) if there["asks"] else (),
                messages=tuple(messages.read(connection, _UNREAD, given)) if there["messages"] else (),
                acks=tuple(asks.listed(connection, _ACKS, given)) if there["acks"] else (),
                more={name: max(0, count - limit) for name, count in there.items()},
            )

        return await self._database.read(look)

    async def own(self, of: Address, ask_id: str) -> Ask | None:
        """An ask this peer sent or got; None for others' and for those of a former peer of its name."""
        given = peer_filters.given("from", of) | peer_filters.given("to", of) | {"ask": ask_id}
        return next(iter(await self._database.read(lambda one: asks.listed(one, _OWN_ASK, given))), None)

    async def message(self, of: Address, message_id: str) -> Message | None:
        """One message to a peer, read or not; None if the peer has no message of that id."""
        given = peer_filters.given("to", of) | {"message": message_id}
        return next(iter(await self._database.read(lambda one: messages.read(one, _OWN_MESSAGE, given))), None)

    @effect("ledger.mail.mark")
    async def mark_read(self, of: Address, ids: Sequence[str], *, now: str) -> int:
        """Mark asks to this peer, messages to it and acks of its own asks as read; ids of others change nothing.

        A marked ask stays open until it is acked. Returns how many were not marked before.
        """
        given, wanted = peer_filters.given("to", of) | {"at": clock.normal(now)}, list(dict.fromkeys(ids))
        parts = [given | {"ids": wanted[first : first + _AT_ONCE]} for first in range(0, len(wanted), _AT_ONCE)]
        return await self._database.write(
            lambda tx: sum(tx.connection.execute(one, part).rowcount for part in parts for one in _MARKS)
        )

    async def unanswered(self, infra: str) -> list[Ask]:
        """Open asks to the infra peer of that name that are no request, oldest first, claimed ones included."""
        given = peer_filters.given("to", Address(name=infra))
        return await self._database.read(lambda connection: asks.listed(connection, _UNANSWERED, given))

    async def undelivered(self, before: str, limit: int) -> list[dict[str, Any]]:
        """The acks from before a time that their receivers have not marked as read, oldest first."""
        names = (_OUTBOX.c.ask, _OUTBOX.c.receiver, _OUTBOX.c.circle, _OUTBOX.c.created)
        waits = select(*names).where(_OUTBOX.c.delivered.is_(None), _OUTBOX.c.created < clock.normal(before))
        found = waits.order_by(_OUTBOX.c.created).limit(limit)
        return await self._database.read(lambda one: [dict(row) for row in one.execute(found).mappings()])

    async def counts(self, sender: Address, receiver: Address, reply_to: str | None = None) -> Counts:
        """How much a sender, a pair and a receiver have open, and how long the exchange is up to `reply_to`."""
        given = peer_filters.given("from", sender) | peer_filters.given("to", receiver)

        def look(connection: Connection) -> Counts:
            found: dict[str, Any] = dict(connection.execute(_COUNTS, given).mappings().one())
            return Counts(**found, depth=_depth(connection, reply_to) if reply_to is not None else 0)

        return await self._database.read(look)

    async def depth(self, ask_id: str) -> int:
        """How many asks answered one another up to this one, itself included; 0 when there is no such ask."""
        return await self._database.read(lambda connection: _depth(connection, ask_id))

    async def has(self, message: str) -> bool:
        """Whether there is a message of an id."""
        return await self._database.read(lambda connection: messages.is_there(connection, message))

    @effect("ledger.mail.purge")
    async def purge(self, before: str) -> int:
        """Delete the text of what was closed or read before a time; returns of how many.

        Of asks between peers the text and that of the reply are deleted once the sender has seen the ack; of messages,
        once they were read. Who wrote to whom and when stays, and so does the chain. The freed pages of the file are
        overwritten; copies in its journal are, as the journal is written anew.
        """
        limit = clock.normal(before)
        seen = select(_OUTBOX.c.ask).where(_OUTBOX.c.ask == _ASKS.c.id, _OUTBOX.c.delivered.is_not(None)).exists()
        private = and_(_ASKS.c.circle.is_not(None), _ASKS.c.receiver_circle.is_not(None))
        closed = update(_ASKS).where(_ASKS.c.purged.is_(None), _ASKS.c.acked_at < limit, private, seen)
        read = update(_MESSAGES).where(_MESSAGES.c.purged.is_(None), _MESSAGES.c.read < limit)

        def step(tx: Tx) -> int:
            now = clock.now()
            empty = {"text": "", "attachments": "[]", "reply": None, "reply_attachments": "[]", "purged": now}
            tx.connection.exec_driver_sql("PRAGMA secure_delete=ON")
            done = tx.connection.execute(closed.values(**empty)).rowcount
            done += tx.connection.execute(read.values(text="", purged=now)).rowcount
            if done:
                append(tx, Entry(now, "messages-purged", None, None, data={"before": limit, "count": done}))
            return done

        return await self._database.write(step)


def _depth(connection: Connection, ask_id: str) -> int:
    return connection.execute(_DEPTH, {"last": ask_id}).scalar() or 0
