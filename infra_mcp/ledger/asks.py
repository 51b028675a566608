"""Asks in the database: each tracked until its one terminal ack, which waits in the outbox until it was delivered."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, bindparam, insert, or_, select, update

from infra_mcp.ledger import clock, ids, peer_filters, schema
from infra_mcp.ledger.database import Tx, unavailable
from infra_mcp.ledger.events import Entry, append, written
from infra_mcp.ledger.records import Ask, AskIn
from infra_mcp.masking import Masker
from infra_mcp.model.digest import canonical
from infra_mcp.model.peer import Address, Caller
from infra_mcp.model.request import Request

_ROWS = schema.asks
_LISTS = ("attachments", "reply_attachments")
_OUTBOX = schema.outbox
# Asks to a peer that are open and wait for its answer: those that are a request already wait for its end.
TO = and_(
    peer_filters.is_party("to", _ROWS.c.receiver, _ROWS.c.receiver_circle),
    _ROWS.c.state == "open",
    _ROWS.c.request.is_(None),
)
OF_SENDER = peer_filters.is_party("from", _ROWS.c.sender, _ROWS.c.circle)
_INSERT = insert(_ROWS)
_INSERT_ACK = insert(_OUTBOX)
_UPDATE = update(_ROWS).where(_ROWS.c.id == bindparam("which"))
_JOIN = update(schema.requests).where(schema.requests.c.id == bindparam("which"))
_ONE = select(_ROWS).where(_ROWS.c.id == bindparam("ask"))
_OWN = _ONE.where(
    or_(
        and_(OF_SENDER, _ROWS.c.position > peer_filters.since("from")),
        and_(
            peer_filters.is_party("to", _ROWS.c.receiver, _ROWS.c.receiver_circle),
            _ROWS.c.position > peer_filters.since("to"),
        ),
    )
)
_OPEN_ABOUT = select(_ROWS).where(_ROWS.c.request == bindparam("about"), _ROWS.c.state == "open")
_WAITING = select(_ROWS).where(TO).order_by(_ROWS.c.position)
_UNDELIVERED = (
    select(_ROWS)
    .join(_OUTBOX, _OUTBOX.c.ask == _ROWS.c.id)
    .where(_OUTBOX.c.delivered.is_(None))
    .order_by(_ROWS.c.acked_at, _ROWS.c.id)
)
_UNDELIVERED_TO = _UNDELIVERED.where(peer_filters.is_party("to", _OUTBOX.c.receiver, _OUTBOX.c.circle))
_DELIVERED = (
    update(_OUTBOX)
    .where(_OUTBOX.c.ask.in_(bindparam("ids", expanding=True)), _OUTBOX.c.delivered.is_(None))
    .values(delivered=bindparam("at"))
)


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
        reply_to=ask.reply_to,
    )


def insert_row(connection: Connection, ask: Ask, position: int) -> None:
    """Keep an ask, masked already, at the place of its first event."""
    row = ask.model_dump() | {name: canonical(getattr(ask, name)).decode() for name in _LISTS}
    connection.execute(_INSERT, row | {"position": position})


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
    tx.connection.execute(_JOIN, {"which": first.id, "ask": again.id})
    if first.receipt is not None:
        ack_all(tx.connection, first.id, first.receipt["message"], at)
    return again.id


def ack_all(connection: Connection, request_id: str, reply: str, at: str) -> None:
    """Ack every open ask about a request."""
    for one in listed(connection, _OPEN_ABOUT, {"about": request_id}):
        close(connection, one, reply, at)


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
    connection.execute(_UPDATE, acked | {"which": ask.id})
    waiting = {"ask": ask.id, "receiver": ask.sender, "circle": ask.circle, "created": at}
    connection.execute(_INSERT_ACK, waiting)


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
    row = connection.execute(_ONE, {"ask": ask_id}).mappings().first()
    return read(row) if row else None


def own(connection: Connection, of: Address, ask_id: str) -> Ask | None:
    """The ask of that id, if this peer sent or got it."""
    row = connection.execute(_OWN, peer_filters.given("from", of) | peer_filters.given("to", of) | {"ask": ask_id})
    return next((read(one) for one in row.mappings()), None)


def listed(connection: Connection, wanted: Any, given: Mapping[str, Any] | None = None) -> list[Ask]:  # noqa: ANN401 - a SELECT of whole rows
    """The asks that a query finds with its parameters."""
    return [read(row) for row in connection.execute(wanted, given or {}).mappings()]


def waiting(connection: Connection, receiver: Address) -> list[Ask]:
    """All open asks that wait for this peer's answer, oldest first."""
    return listed(connection, _WAITING, peer_filters.given("to", receiver))


def undelivered(connection: Connection, sender: Address | None) -> list[Ask]:
    """Acked asks whose sender has not seen the ack, oldest first."""
    if sender is None:
        return listed(connection, _UNDELIVERED)
    return listed(connection, _UNDELIVERED_TO, peer_filters.given("to", sender))


def delivered(tx: Tx, ask_ids: Iterable[str], at: str | None = None) -> int:
    """The sender has these acks; returns how many it had not. Saying so again changes nothing."""
    return tx.connection.execute(_DELIVERED, {"ids": list(ask_ids), "at": at or clock.now()}).rowcount
