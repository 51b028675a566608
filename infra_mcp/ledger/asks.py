"""Asks in the database: each tracked until its one terminal ack, which waits in the outbox until it was delivered.

Each function is the inside of one transaction.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, and_, bindparam, insert, select, update

from infra_mcp.errors import InfraError
from infra_mcp.ledger import ids, peer_filters, schema, sponsors
from infra_mcp.ledger.database import Tx, reading
from infra_mcp.ledger.events import Entry, append
from infra_mcp.ledger.message_digests import MessageDigests, between_peers
from infra_mcp.ledger.records import Ask, AskIn
from infra_mcp.model.digest import canonical
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import Request

_ROWS, _OUTBOX = schema.asks, schema.outbox
_LISTS = ("attachments", "reply_attachments")
TO_PEER = peer_filters.is_party("to", _ROWS.c.receiver, _ROWS.c.receiver_circle)
# Asks to a peer that are open and wait for its answer: those that are a request already wait for its end.
TO = and_(TO_PEER, _ROWS.c.state == "open", _ROWS.c.request.is_(None))
OF_SENDER = peer_filters.is_party("from", _ROWS.c.sender, _ROWS.c.circle)
_INSERT = insert(_ROWS)
_INSERT_ACK = insert(_OUTBOX)
_UPDATE = update(_ROWS).where(_ROWS.c.id == bindparam("which"))
_JOIN = update(schema.requests).where(schema.requests.c.id == bindparam("which"))
ONE = select(_ROWS).where(_ROWS.c.id == bindparam("ask"))
_OPEN_ABOUT = select(_ROWS).where(_ROWS.c.request == bindparam("about"), _ROWS.c.state == "open")
DELIVERED = update(_OUTBOX).where(_OUTBOX.c.ask == bindparam("which"), _OUTBOX.c.delivered.is_(None))
DELIVERED = DELIVERED.values(delivered=bindparam("at"))


@dataclass(frozen=True)
class MaskedText:
    """A masked text, and its attachments."""

    text: str | None
    attachments: tuple[dict[str, Any], ...] = ()


def opened(caller: Caller, ask: AskIn, created: str, request_id: str | None = None) -> Ask:
    """A new ask to the infra peer with an id of its own, not yet acked."""
    given = ask.model_dump() | {"sender": caller.name, "circle": caller.circle, "created": created}
    given |= {"sponsor": caller.sponsor, "identity": caller.identity}
    return Ask(id=ids.ask_id(), request=request_id, **given)


def insert_row(connection: Connection, ask: Ask, position: int) -> None:
    """Keep an ask, masked already, at the place of its first event."""
    row = ask.model_dump() | {name: canonical(getattr(ask, name)).decode() for name in _LISTS}
    row |= sponsors.kept({"sponsor": ask.sponsor, "identity": row["identity"]})
    connection.execute(_INSERT, row | {"position": position})


def join(tx: Tx, first: Request, ask: AskIn, caller: Caller, at: str) -> str:
    """Join an ask to a request that came without one; returns its id. It is acked at once if the request has ended."""
    again, said = opened(caller, ask, at, first.id), sponsors.answering(caller)
    entry = Entry(at, "asked-again", caller.name, caller.circle, ask.text, said, request=first.id, ask=again.id)
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


def answered_by(tx: Tx, digests: MessageDigests, by: Caller, ask_id: str | None, answer: str, at: str) -> None:
    """Close an open ask of the infra peer's that was answered by an ask which the server handles."""
    found = ask(tx.connection, ask_id) if ask_id else None
    if found is not None and found.state == "open" and is_received(found, by):
        refuse_unclaimed(found, by)
        reply(tx, digests, found, by, MaskedText(f"Answered by {answer}."), at)


def reply(
    tx: Tx, digests: MessageDigests, found: Ask, by: Caller, masked: MaskedText, at: str, *, replied: str | None = None
) -> None:
    """Close an ask with its `acked` event; `replied` is the ask that answers it."""
    how = "replied" if replied else "acked"
    text, data = digests.content(between_peers(found.circle, found.receiver_circle), masked.text, masked.attachments)
    data |= {"closed": how, "from": found.receiver} | ({} if masked.text is not None else {"bare": True})
    data |= {"session": by.session} if by.session else {}
    data |= {"replied": replied} if replied else {}
    # The circle that the infra peer answers may find its answer.
    peer, circle = (by.name, by.circle) if found.receiver_circle else (found.sender, found.circle)
    append(tx, Entry(at, "acked", peer, circle, text, data, ask=found.id))
    more = {"closed": how, "reply_attachments": canonical(list(masked.attachments)).decode()}
    more |= {"acted_by": by.session} if by.attendant and by.session else {}
    close(tx.connection, found, masked.text, at, **more)


def close(connection: Connection, ask: Ask, reply: str | None, at: str, **more: str | None) -> None:
    """Close an ask and its claim, and have its ack wait for the sender. `more` are columns with other values."""
    acked = {"state": "acked", "closed": "acked", "reply": reply, "responder": ask.receiver, "acked_at": at}
    connection.execute(_UPDATE, acked | more | {"claim": None, "which": ask.id})
    waiting = {"ask": ask.id, "receiver": ask.sender, "circle": ask.circle, "created": at}
    connection.execute(_INSERT_ACK, waiting)


def is_received(found: Ask, by: Caller) -> bool:
    """Whether this caller may answer the ask: it was sent to it, or its session has claimed it."""
    if by.reader:
        return False
    if by.attendant and by.session is not None and found.claim == by.session:
        return True
    return (found.receiver, found.receiver_circle) == (by.name, by.circle)


def refuse_unclaimed(found: Ask, by: Caller) -> None:
    """Refuse (`claim-taken`) an answer to an ask that is a request, or that the caller's session has not claimed."""
    refuse_request(found)
    if found.claim != (by.session if by.attendant else None) or (by.attendant and by.session is None):
        raise not_claimed()


def refuse_request(found: Ask) -> None:
    """Refuse (`claim-taken`) to act for an ask that is a request."""
    if found.request is not None:
        what = f"The ask is request {found.request} already; the end of that request acks it."
        raise InfraError("claim-taken", what, next_step="Look at that request.")


def not_claimed() -> InfraError:
    """The error of a session without the claim."""
    return InfraError("claim-taken", "This session has not claimed the ask, or has lost the claim.")


def read(row: Any) -> Ask:  # noqa: ANN401 - a row of `asks`
    """A row as a value."""
    value = {name: row[name] for name in Ask.model_fields if name not in _LISTS}
    with reading(f"ask {row['id']}"):
        value |= sponsors.read(row)
        return Ask.model_validate(value | {name: tuple(json.loads(row[name])) for name in _LISTS})


def ask(connection: Connection, ask_id: str) -> Ask | None:
    """The ask of that id."""
    return next(iter(listed(connection, ONE, {"ask": ask_id})), None)


def listed(connection: Connection, statement: Select[Any], given: Mapping[str, Any] | None = None) -> list[Ask]:
    """The asks that a query of whole rows finds with its parameters."""
    return [read(row) for row in connection.execute(statement, given or {}).mappings()]
