"""Asks in the database: each tracked until its one terminal ack, which waits in the outbox until it was delivered."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, insert, select, update

from infra_mcp.ledger import clock, ids, schema
from infra_mcp.ledger.database import Tx, unavailable
from infra_mcp.ledger.events import Entry, append, written
from infra_mcp.ledger.records import Ask, AskIn
from infra_mcp.masking import Masker
from infra_mcp.model.digest import canonical
from infra_mcp.model.peer import Address, Caller
from infra_mcp.model.request import Request

__all__ = ["ack_all", "answer", "ask", "close", "delivered", "insert_row", "join", "listed", "of_sender", "opened"]
__all__ += ["read", "to", "undelivered"]

_ROWS = schema.asks
_LISTS = ("attachments", "reply_attachments")


def opened(caller: Caller, ask: AskIn, created: str, request_id: str | None = None) -> Ask:
    """A new ask to the infra peer with an id of its own, not yet acked."""
    return Ask(
        id=ids.ask_id(),
        sender=caller.name,
        circle=caller.circle,
        receiver=ask.receiver,
        text=ask.text,
        created=created,
        request=request_id,
    )


def insert_row(connection: Connection, ask: Ask, position: int) -> None:
    """Keep an ask, masked already, at the place of its first event."""
    row = ask.model_dump() | {name: canonical(getattr(ask, name)).decode() for name in _LISTS}
    connection.execute(insert(_ROWS), row | {"position": position})


def join(tx: Tx, first: Request, ask: AskIn, caller: Caller, at: str) -> str:
    """The ask id for a repetition of a request: the first's; where that came without an ask, one that joins it.

    An ask that joins a request which has ended is acked at once with what that one was answered.
    """
    if first.ask is not None:
        return first.ask
    again = opened(caller, ask, at, first.id)
    entry = Entry(at, "asked-again", caller.name, caller.circle, ask.text, {}, None, first.id, again.id)
    position, _ = append(tx, entry)
    insert_row(tx.connection, again, position)
    tx.connection.execute(update(schema.requests).where(schema.requests.c.id == first.id).values(ask=again.id))
    if first.receipt is not None:
        ack_all(tx.connection, first.id, first.receipt["message"], at)
    return again.id


def ack_all(connection: Connection, request_id: str, reply: str, at: str) -> None:
    """Ack every open ask about a request."""
    about = select(_ROWS).where(_ROWS.c.request == request_id, _ROWS.c.state == "open")
    for row in connection.execute(about).mappings().all():
        close(connection, read(row), reply, at)


def answer(tx: Tx, masker: Masker, asked: Ask, message: str, kind: str) -> str:
    """An ask that never becomes a request: it and its ack, at once. Returns its id."""
    masked = written(masker, {"text": asked.text, "receiver": asked.receiver})
    asked = asked.model_copy(update=masked)
    reply = written(masker, message)
    data = {"receiver": asked.receiver, "reply": reply}
    entry = Entry(asked.created, kind, asked.sender, asked.circle, asked.text, data, None, None, asked.id)
    position, _ = append(tx, entry)
    insert_row(tx.connection, asked, position)
    close(tx.connection, asked, reply, asked.created)
    return asked.id


def close(
    connection: Connection,
    ask: Ask,
    reply: str | None,
    at: str,
    *,
    how: str = "acked",
    attachments: Sequence[dict[str, Any]] = (),
    acted_by: str | None = None,
) -> None:
    """Close an ask, and have its ack wait for the sender. A claim ends with it."""
    acked: dict[str, Any] = {"state": "acked", "closed": how, "reply": reply, "responder": ask.receiver, "acked_at": at}
    acked |= {"reply_attachments": canonical(list(attachments)).decode(), "claim": None}
    acked |= {"acted_by": acted_by} if acted_by else {}
    connection.execute(update(_ROWS).where(_ROWS.c.id == ask.id).values(**acked))
    waiting = {"ask": ask.id, "receiver": ask.sender, "circle": ask.circle, "created": at}
    connection.execute(insert(schema.outbox), waiting)


def read(row: Any) -> Ask:  # noqa: ANN401 - a row of `asks`
    """A row as a value.

    Raises:
        InfraError: `ledger-unavailable`, when someone made something else of it.
    """
    value = {name: row[name] for name in Ask.model_fields if name not in _LISTS}
    try:
        value |= {name: tuple(json.loads(row[name])) for name in _LISTS}
        return Ask.model_validate(value)
    except (ValueError, TypeError) as error:
        raise unavailable(f"ask {row['id']} cannot be read; it was changed by someone else") from error


def ask(connection: Connection, ask_id: str) -> Ask | None:
    """The ask of that id."""
    row = connection.execute(select(_ROWS).where(_ROWS.c.id == ask_id)).mappings().first()
    return read(row) if row else None


def listed(connection: Connection, wanted: Any) -> list[Ask]:  # noqa: ANN401 - a SELECT of whole rows
    """The asks that a query finds."""
    return [read(row) for row in connection.execute(wanted).mappings()]


def to(receiver: Address) -> ColumnElement[bool]:
    """Asks to this peer that are open and wait for its answer: those that are a request already wait for its end."""
    mine = and_(_ROWS.c.receiver == receiver.name, _ROWS.c.receiver_circle == (receiver.circle or None))
    return and_(mine, _ROWS.c.state == "open", _ROWS.c.request.is_(None))


def of_sender(sender: Address) -> ColumnElement[bool]:
    """Asks of this peer."""
    return and_(_ROWS.c.sender == sender.name, _ROWS.c.circle == (sender.circle or None))


def undelivered(connection: Connection, sender: Address | None) -> list[Ask]:
    """Acked asks whose sender has not seen the ack, oldest first."""
    waiting = select(_ROWS).join(schema.outbox, schema.outbox.c.ask == _ROWS.c.id)
    waiting = waiting.where(schema.outbox.c.delivered.is_(None)).order_by(_ROWS.c.acked_at, _ROWS.c.id)
    if sender is not None:
        mine = schema.outbox.c.receiver == sender.name, schema.outbox.c.circle == (sender.circle or None)
        waiting = waiting.where(*mine)
    return listed(connection, waiting)


def delivered(tx: Tx, ask_ids: Iterable[str], at: str | None = None) -> int:
    """The sender has these acks; returns how many it had not. Saying so again changes nothing."""
    waiting = schema.outbox.c.ask.in_(list(ask_ids)), schema.outbox.c.delivered.is_(None)
    done = tx.connection.execute(update(schema.outbox).where(*waiting).values(delivered=at or clock.now()))
    return done.rowcount
