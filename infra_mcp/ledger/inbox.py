"""What waits for a peer, marking it as read, and how much there is.

Statements are made once: to make one takes longer than to run it, and these are asked all the time.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import BindParameter, Connection, and_, bindparam, func, literal_column, select, update

from infra_mcp.ledger import asks, messages, peer_filters, schema
from infra_mcp.ledger.database import Tx
from infra_mcp.ledger.records import Counts, Inbox
from infra_mcp.model.peer import Address

_ASKS, _MESSAGES, _OUTBOX = schema.asks, schema.messages, schema.outbox
_DEEPEST = 1_000  # asks of one exchange that are followed
_AT_ONCE = 500  # ids of one statement

# Acks that a peer, who asked, has not marked as seen.
_ACKED = and_(peer_filters.is_party("to", _OUTBOX.c.receiver, _OUTBOX.c.circle), _OUTBOX.c.delivered.is_(None))
_LIMIT: BindParameter[int] = bindparam("most")
# A share for each sender: the first of each, then the second of each, so that many of one hide none of another.
_NTH_ASK = func.row_number().over(partition_by=(_ASKS.c.sender, _ASKS.c.circle), order_by=_ASKS.c.position)
_TO_ME = select(_ASKS).where(asks.TO).order_by(_NTH_ASK, _ASKS.c.position).limit(_LIMIT)
_NTH = func.row_number().over(partition_by=(_MESSAGES.c.sender, _MESSAGES.c.circle), order_by=_MESSAGES.c.number)
_UNREAD = select(_MESSAGES).where(messages.UNREAD).order_by(_NTH, _MESSAGES.c.number).limit(_LIMIT)
_ACKS = (
    select(_ASKS)
    .join(_OUTBOX, _ASKS.c.id == _OUTBOX.c.ask)
    .where(_ACKED)
    .order_by(_OUTBOX.c.created, _OUTBOX.c.ask)
    .limit(_LIMIT)
)
_OPEN_TO_ME = select(func.count()).select_from(_ASKS).where(asks.TO).scalar_subquery()
_COUNT_UNREAD = select(func.count()).select_from(_MESSAGES).where(messages.UNREAD)
_WAITS = select(
    _OPEN_TO_ME.label("asks"),
    _COUNT_UNREAD.scalar_subquery().label("messages"),
    select(func.count()).select_from(_OUTBOX).where(_ACKED).scalar_subquery().label("acks"),
)

_BETWEEN = peer_filters.is_party("to", _ASKS.c.receiver, _ASKS.c.receiver_circle)
_OPEN_ASKS = select(func.count()).select_from(_ASKS).where(asks.OF_SENDER, _ASKS.c.state == "open")
_COUNTS = select(
    _OPEN_ASKS.scalar_subquery().label("open_from_sender"),
    _OPEN_ASKS.where(_BETWEEN).scalar_subquery().label("open_between"),
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

_IDS: BindParameter[str] = bindparam("ids", expanding=True)
_AT: BindParameter[str] = bindparam("at")
_MARKS = (
    update(_ASKS).where(_ASKS.c.id.in_(_IDS), _BETWEEN, _ASKS.c.seen.is_(None)).values(seen=_AT),
    update(_MESSAGES).where(_MESSAGES.c.id.in_(_IDS), messages.UNREAD).values(read=_AT),
    update(_OUTBOX).where(_OUTBOX.c.ask.in_(_IDS), _ACKED).values(delivered=_AT),
)


def inbox(connection: Connection, of: Address, limit: int) -> Inbox:
    """At most `limit` of each kind, each sender's oldest first and in turn, and how many more there are."""
    given = peer_filters.given("to", of) | {"most": limit}
    # Most looks find nothing: count first, and read what there is.
    there = connection.execute(_WAITS, given).mappings().one()
    return Inbox(
        asks=tuple(asks.listed(connection, _TO_ME, given)) if there["asks"] else (),
        messages=tuple(messages.read(connection, _UNREAD, given)) if there["messages"] else (),
        acks=tuple(asks.listed(connection, _ACKS, given)) if there["acks"] else (),
        more={name: max(0, count - limit) for name, count in there.items()},
    )


def mark(tx: Tx, of: Address, ids: Sequence[str], at: str) -> int:
    """Mark asks, messages and acks of this peer as read; returns how many were not before."""
    done = 0
    wanted = list(dict.fromkeys(ids))
    for first in range(0, len(wanted), _AT_ONCE):
        # Whoever looked at it in a session that claimed it may mark it, too: it is the infra peer's inbox.
        given = peer_filters.given("to", of) | {"ids": wanted[first : first + _AT_ONCE], "at": at}
        done += sum(tx.connection.execute(one, given).rowcount for one in _MARKS)
    return done


def counts(connection: Connection, sender: Address, receiver: Address, reply_to: str | None) -> Counts:
    """How much is open, in one look."""
    found = (
        connection.execute(_COUNTS, peer_filters.given("from", sender) | peer_filters.given("to", receiver))
        .mappings()
        .one()
    )
    return Counts(**found, depth=depth(connection, reply_to) if reply_to is not None else 0)


def depth(connection: Connection, ask_id: str) -> int:
    """How many asks answered one another up to this one, itself included, as far as they are followed."""
    return connection.execute(_DEPTH, {"last": ask_id}).scalar() or 0
