"""Notifies, broadcasts and outcomes in the database: a row for each receiver, which it marks as read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, and_, bindparam, insert, select, update

from infra_mcp.ledger import ids, peer_filters, schema
from infra_mcp.ledger.database import Tx
from infra_mcp.ledger.events import Entry, append
from infra_mcp.ledger.message_digests import MessageDigests, between_peers
from infra_mcp.ledger.records import Message
from infra_mcp.model.peer import Address, Caller

_ROWS = schema.messages
_EVENTS = schema.events.c
_AGAIN = (
    select(_EVENTS.peer, _EVENTS.circle, _EVENTS.data)
    .where(_EVENTS.request == bindparam("request"), _EVENTS.kind == "notified-again")
    .order_by(_EVENTS.seq)
)
TO_PEER = peer_filters.is_party("to", _ROWS.c.receiver, _ROWS.c.receiver_circle)
# Messages to a peer that it has not marked as read, and messages of a peer.
UNREAD = and_(TO_PEER, _ROWS.c.read.is_(None))
BY = peer_filters.is_party("from", _ROWS.c.sender, _ROWS.c.circle)
_INSERT = insert(_ROWS)
_RECEIVER = select(_ROWS.c.receiver).where(_ROWS.c.id == bindparam("notify"))
_HANDLED = update(_ROWS).where(_ROWS.c.id == bindparam("message")).values(read=bindparam("at"))


def is_there(connection: Connection, message_id: str) -> bool:
    """Whether there is a message of an id; messages are never deleted, only their texts."""
    return connection.execute(_RECEIVER, {"notify": message_id}).first() is not None


def post(
    tx: Tx,
    digests: MessageDigests,
    sender: Caller,
    receivers: Sequence[Address],
    text: str,
    kind: str,
    at: str,
    message_id: str | None = None,
) -> str:
    """One event, and a row for each receiver. Returns the one id. `text` is masked already.

    The chain holds the text only where the infra peer or an operator sends it, or all its receivers are such.
    """
    circles = {one.circle or None for one in receivers}
    private = between_peers(sender.circle, None if circles == {None} else "peers")
    message_id = message_id or ids.notify_id()
    content, data = digests.content(private, text)
    data |= {"id": message_id, "to": [shown(one.name, one.circle) for one in receivers]}
    data |= {"from": shown(sender.name, sender.circle)}
    circle = sender.circle or (circles.pop() if len(circles) == 1 else None)
    seq, _ = append(tx, Entry(at, kind, sender.name, circle, content, data))
    head = {"id": message_id, "event": seq, "kind": kind, "sender": sender.name, "circle": sender.circle}
    keep(tx, [head | _to(one) | {"text": text, "created": at} for one in receivers])
    return message_id


def outcome(tx: Tx, event: int, notify: str, receiver: Address, text: str, at: str, request: str | None) -> None:
    """Send the outcome of a notify to its sender. The text stands in the event already, masked."""
    infra = tx.connection.execute(_RECEIVER, {"notify": notify}).scalar()
    row = {"id": ids.notify_id(), "event": event, "kind": "outcome", "sender": infra or "infra", "circle": None}
    keep(tx, [row | _to(receiver) | {"text": text, "created": at, "request": request, "reply_to": notify}])


def answered(connection: Connection, request: Any) -> dict[str, Address]:  # noqa: ANN401 - a row of `requests`
    """The notifies whose outcome is the end of a request, with their senders: the one it came in and its repetitions.

    Those that repeated it stand in the chain only: `releases` notes each while the request is open.
    """
    found = {request["notify"]: Address(name=request["caller"], circle=request["circle"])} if request["notify"] else {}
    for row in connection.execute(_AGAIN, {"request": request["id"]}):
        found.setdefault(json.loads(row.data)["id"], Address(name=row.peer, circle=row.circle))
    return found


def handled(tx: Tx, message_id: str, at: str) -> None:
    """Mark all copies of a message as read: the server has handled it."""
    tx.connection.execute(_HANDLED, {"message": message_id, "at": at})


def keep(tx: Tx, rows: Sequence[dict[str, Any]]) -> None:
    """Add rows."""
    if rows:
        tx.connection.execute(_INSERT, list(rows))


def read(connection: Connection, statement: Select[Any], given: Mapping[str, Any]) -> list[Message]:
    """The messages that a query of whole rows finds with its parameters."""
    found = connection.execute(statement, given).mappings()
    return [Message.model_validate({name: row[name] for name in Message.model_fields}) for row in found]


def shown(name: str, circle: str | None) -> str:
    """A peer as the chain writes it: `circle/name`, or the name alone."""
    return f"{circle}/{name}" if circle else name


def _to(address: Address) -> dict[str, Any]:
    return {"receiver": address.name, "receiver_circle": address.circle or None, "request": None, "reply_to": None}
