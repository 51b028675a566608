"""Asks in the database: each tracked until its one terminal ack, which waits in the outbox until it was delivered."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, insert, select, update

from infra_mcp.ledger import clock, ids, schema
from infra_mcp.ledger.database import Tx
from infra_mcp.ledger.events import Entry, append, written
from infra_mcp.ledger.records import Ask, AskIn
from infra_mcp.masking import Masker
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import Request

__all__ = ["ack_all", "answer", "ask", "delivered", "insert_row", "join", "opened", "undelivered"]

_ROWS = schema.asks


def opened(caller: Caller, ask: AskIn, created: str, request_id: str | None = None) -> Ask:
    """A new ask with an id of its own, not yet acked."""
    return Ask(
        id=ids.ask_id(),
        sender=caller.name,
        circle=caller.circle,
        receiver=ask.receiver,
        text=ask.text,
        created=created,
        request=request_id,
    )


def insert_row(connection: Connection, ask: Ask) -> None:
    """Keep an ask, masked already."""
    connection.execute(insert(_ROWS), ask.model_dump())


def join(tx: Tx, first: Request, ask: AskIn, caller: Caller, at: str) -> str:
    """The ask id for a repetition of a request: the first's; where that came without an ask, one that joins it.

    An ask that joins a request which has ended is acked at once with what that one was answered.
    """
    if first.ask is not None:
        return first.ask
    again = opened(caller, ask, at, first.id)
    append(tx, Entry(at, "asked-again", caller.name, caller.circle, ask.text, {}, None, first.id, again.id))
    insert_row(tx.connection, again)
    tx.connection.execute(update(schema.requests).where(schema.requests.c.id == first.id).values(ask=again.id))
    if first.receipt is not None:
        ack_all(tx.connection, first.id, first.receipt["message"], at)
    return again.id


def ack_all(connection: Connection, request_id: str, reply: str, at: str) -> None:
    """Ack every open ask about a request."""
    about = select(_ROWS).where(_ROWS.c.request == request_id, _ROWS.c.state == "open")
    for row in connection.execute(about).all():
        _ack(connection, row, reply, at)


def answer(tx: Tx, masker: Masker, asked: Ask, message: str, kind: str) -> str:
    """An ask that never becomes a request: it and its ack, at once. Returns its id."""
    asked = Ask.model_validate(written(masker, asked.model_dump()))
    reply = written(masker, message)
    data = {"receiver": asked.receiver, "reply": reply}
    append(tx, Entry(asked.created, kind, asked.sender, asked.circle, asked.text, data, None, None, asked.id))
    insert_row(tx.connection, asked)
    _ack(tx.connection, asked, reply, asked.created)
    return asked.id


def ask(connection: Connection, ask_id: str) -> Ask | None:
    """The ask of that id."""
    row = connection.execute(select(_ROWS).where(_ROWS.c.id == ask_id)).mappings().first()
    return Ask.model_validate(dict(row)) if row else None


def undelivered(connection: Connection, sender: str | None) -> list[Ask]:
    """Acked asks whose sender has not seen the ack, oldest first."""
    waiting = select(_ROWS).join(schema.outbox, schema.outbox.c.ask == _ROWS.c.id)
    waiting = waiting.where(schema.outbox.c.delivered.is_(None)).order_by(_ROWS.c.acked_at, _ROWS.c.id)
    if sender is not None:
        waiting = waiting.where(_ROWS.c.sender == sender)
    return [Ask.model_validate(dict(row)) for row in connection.execute(waiting).mappings()]


def delivered(tx: Tx, ask_id: str) -> None:
    """The sender has the ack. Saying so again changes nothing."""
    waiting = schema.outbox.c.ask == ask_id, schema.outbox.c.delivered.is_(None)
    tx.connection.execute(update(schema.outbox).where(*waiting).values(delivered=clock.now()))


def _ack(connection: Connection, ask: Any, reply: str, at: str) -> None:  # noqa: ANN401 - an ask, or its row
    acked = {"state": "acked", "reply": reply, "responder": ask.receiver, "acked_at": at}
    connection.execute(update(_ROWS).where(_ROWS.c.id == ask.id).values(**acked))
    connection.execute(insert(schema.outbox), {"ask": ask.id, "receiver": ask.sender, "created": at})
