"""What waits for a peer, marking it as read, and how much there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Select, func, literal_column, select, update

from infra_mcp.ledger import asks, messages, schema
from infra_mcp.ledger.database import Tx
from infra_mcp.ledger.records import Counts, Inbox
from infra_mcp.model.peer import Address

__all__ = ["counts", "depth", "inbox", "mark"]

_ASKS, _MESSAGES, _OUTBOX = schema.asks, schema.messages, schema.outbox
_DEEPEST = 1_000  # asks of one exchange that are followed
_AT_ONCE = 500  # ids of one statement


def inbox(connection: Connection, of: Address, limit: int) -> Inbox:
    """At most `limit` of each kind, oldest first, and how many more there are."""
    to_me = select(_ASKS).where(asks.to(of)).order_by(_ASKS.c.position).limit(limit)
    unread = select(_MESSAGES).where(messages.unread(of)).order_by(_MESSAGES.c.number).limit(limit)
    acks = _acks(of, _ASKS).order_by(_OUTBOX.c.created, _OUTBOX.c.ask).limit(limit)
    waiting = asks.listed(connection, to_me)
    told = messages.read(connection, unread)
    answered = asks.listed(connection, acks)
    wholes = (
        ("asks", waiting, select(func.count()).where(asks.to(of))),
        ("messages", told, select(func.count()).where(messages.unread(of))),
        ("acks", answered, _acks(of, func.count())),
    )
    more = {
        name: connection.execute(whole).scalar_one() - limit if len(shown) == limit else 0
        for name, shown, whole in wholes
    }
    return Inbox(asks=tuple(waiting), messages=tuple(told), acks=tuple(answered), more=more)


def _acks(of: Address, what: Any) -> Select[Any]:  # noqa: ANN401 - columns or a count
    """Acks that this peer, who asked, has not marked as seen."""
    waiting = select(what).select_from(_OUTBOX.join(_ASKS, _ASKS.c.id == _OUTBOX.c.ask))
    mine = _OUTBOX.c.receiver == of.name, _OUTBOX.c.circle == (of.circle or None)
    return waiting.where(*mine, _OUTBOX.c.delivered.is_(None))


def mark(tx: Tx, of: Address, ids: Sequence[str], at: str) -> int:
    """Mark asks, messages and acks of this peer as read; returns how many were not before."""
    done = 0
    wanted = list(dict.fromkeys(ids))
    for first in range(0, len(wanted), _AT_ONCE):
        some = wanted[first : first + _AT_ONCE]
        # Whoever looked at it in a session that claimed it may mark it, too: it is the infra peer's inbox.
        seen = update(_ASKS).where(_ASKS.c.id.in_(some), _ASKS.c.receiver == of.name, _ASKS.c.seen.is_(None))
        seen = seen.where(_ASKS.c.receiver_circle == (of.circle or None)).values(seen=at)
        read = update(_MESSAGES).where(_MESSAGES.c.id.in_(some), messages.unread(of)).values(read=at)
        had = update(_OUTBOX).where(_OUTBOX.c.ask.in_(some), _OUTBOX.c.receiver == of.name)
        had = had.where(_OUTBOX.c.circle == (of.circle or None), _OUTBOX.c.delivered.is_(None)).values(delivered=at)
        done += sum(tx.connection.execute(one).rowcount for one in (seen, read, had))
    return done


def counts(connection: Connection, sender: Address, receiver: Address, reply_to: str | None) -> Counts:
    """How much is open, in one look."""
    open_ones = select(func.count()).where(asks.of_sender(sender), _ASKS.c.state == "open")
    between = open_ones.where(_ASKS.c.receiver == receiver.name, _ASKS.c.receiver_circle == (receiver.circle or None))
    unread = select(func.count()).where(messages.unread(receiver))
    waiting = select(func.count()).where(asks.to(receiver))
    return Counts(
        open_from_sender=connection.execute(open_ones).scalar_one(),
        open_between=connection.execute(between).scalar_one(),
        depth=depth(connection, reply_to) if reply_to is not None else 0,
        unread=connection.execute(unread).scalar_one() + connection.execute(waiting).scalar_one(),
        unread_between=connection.execute(unread.where(messages.by(sender))).scalar_one(),
    )


def depth(connection: Connection, ask_id: str) -> int:
    """How many asks answered one another up to this one, itself included, as far as they are followed."""
    chain = select(_ASKS.c.reply_to, literal_column("1").label("depth")).where(_ASKS.c.id == ask_id).cte(recursive=True)
    before = select(_ASKS.c.reply_to, chain.c.depth + 1).join(chain, _ASKS.c.id == chain.c.reply_to)
    chain = chain.union_all(before.where(chain.c.depth < _DEEPEST))
    return connection.execute(select(func.max(chain.c.depth))).scalar() or 0
