"""Whether rows made from events still agree with them. Each function takes some rows and returns ids of wrong ones."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, case, or_, select

from infra_mcp.ledger import schema, sponsors
from infra_mcp.ledger.message_digests import MessageDigests
from infra_mcp.ledger.messages import shown
from infra_mcp.model.approval import BYPASSED

_EVENTS = schema.events.c
Row = dict[str, Any]
T = TypeVar("T")
_NO_LIST: list[Any] = [None]  # no attachments are stored like this


def requests(connection: Connection, rows: list[Row], _digests: MessageDigests) -> list[str]:
    """Requests: their caller, action, words, state and receipt."""
    # The data of other steps may be long, and is not compared.
    data = case((_EVENTS.kind.in_(["received", "finished"]), _EVENTS.data), else_="{}").label("data")
    found = _events(connection, _EVENTS.request.in_([row["id"] for row in rows]), "request", data)
    return [row["id"] for row in rows if not _request(row, found[row["id"]])]


def _request(row: Row, events: list[Row]) -> bool:
    first = next((event for event in events if event["kind"] == "received"), None)
    if first is None:
        return False
    ended = [event for event in events if event["kind"] == "finished"]
    states = [event["state"] for event in events if event["state"]]
    receipt = _part(ended[-1]["data"], "receipt") | {"audit_head": ended[-1]["hash"]} if ended else None
    recorded = (first["text"], first["peer"], first["circle"], states[-1] if states else None)
    names = ("attendant", "notify")
    return (
        recorded == tuple(row[name] for name in ("words", "caller", "circle", "state"))
        and first["data"].get("action") == parsed(row["action"], {})
        and [first["data"].get(name) for name in names] == [row[name] for name in names]
        and receipt == (parsed(row["receipt"], {}) if row["receipt"] else None)
        and sponsors.agree(row, first["data"])
    )


def asks(connection: Connection, rows: list[Row], digests: MessageDigests) -> list[str]:
    """Asks: their sender, receiver, text, request and reply."""
    kinds = or_(_EVENTS.request.is_(None), _EVENTS.kind.in_(["received", "asked-again"]))
    found = _events(connection, _EVENTS.ask.in_([row["id"] for row in rows]) & kinds, "ask")
    became = {row["request"] for row in rows} - {None}
    ended = _events(connection, _EVENTS.request.in_(became) & (_EVENTS.kind == "finished"), "request")
    return [
        row["id"]
        for row, own in ((row, found[row["id"]]) for row in rows)
        if not (_asked(row, own, digests) and _answered(row, own, ended[row["request"]], digests))
    ]


def _asked(row: Row, events: list[Row], digests: MessageDigests) -> bool:
    request = next((event["request"] for event in events if event["request"]), None)
    if not events or row["request"] != request:
        return False
    first = events[0]
    data = first["data"]
    if not sponsors.agree(row, data):
        return False
    if first["kind"] != "asked":
        texts = (data.get("ask", first["text"]), data.get("receiver", row["receiver"]))
        return (first["peer"], first["circle"], *texts) == (row["sender"], row["circle"], row["text"], row["receiver"])
    ends = (shown(row["sender"], row["circle"]), shown(row["receiver"], row["receiver_circle"]), row["reply_to"])
    if ends != (data.get("from"), data.get("to"), data.get("reply_to")):
        return False
    if row["purged"] and "hash" in data:
        return (row["text"], row["attachments"]) == ("", "[]")
    return digests.match(first, row["text"], parsed(row["attachments"], _NO_LIST))


def _answered(row: Row, events: list[Row], ended: list[Row], digests: MessageDigests) -> bool:
    acked = [event for event in events if event["kind"] == "acked"]
    if row["request"]:
        reply = _part(ended[-1]["data"], "receipt").get("message") if ended else None
        return bool(row["reply"] == reply and row["state"] == ("acked" if ended else "open"))
    if not acked:
        reply = events[0]["data"].get("reply")
        return bool(row["reply"] == reply and row["state"] == ("open" if reply is None else "acked"))
    last, attachments = acked[-1], parsed(row["reply_attachments"], _NO_LIST)
    if row["state"] != "acked" or row["closed"] != last["data"].get("closed"):
        return False
    if row["reply"] is None and not attachments and (last["data"].get("bare") or row["purged"]):
        return True
    return row["reply"] is not None and digests.match(last, row["reply"], attachments)


def messages(connection: Connection, rows: list[Row], digests: MessageDigests) -> list[str]:
    """Messages: their sender, receiver and text."""
    found = _events(connection, _EVENTS.seq.in_({row["event"] for row in rows}), "seq")
    about = _EVENTS.request.in_({row["request"] for row in rows} - {None}) & (_EVENTS.kind == "notified-again")
    again = _events(connection, about, "request")
    return [row["id"] for row in rows if not _message(row, found[row["event"]], again[row["request"]], digests)]


def _message(row: Row, events: list[Row], again: list[Row], digests: MessageDigests) -> bool:
    if not events:
        return False
    event, gone = events[0], row["purged"] and row["text"] == ""
    data = event["data"]
    if row["kind"] != "outcome":
        to = shown(row["receiver"], row["receiver_circle"])
        sender = shown(row["sender"], row["circle"])
        same = (data.get("id"), event["kind"], data.get("from")) == (row["id"], row["kind"], sender)
        return bool(same and to in (data.get("to") or ()) and (gone or digests.match(event, row["text"])))
    # The outcome goes to the sender of the notify, and to the senders of those that repeated it.
    repeats = [one for one in again if one["data"].get("id") == row["reply_to"]]
    if (row["receiver"], row["receiver_circle"]) not in {(one["peer"], one["circle"]) for one in (event, *repeats)}:
        return False
    if event["kind"] == "finished":
        sent = _part(data, "receipt").get("message")
    else:  # a refusal: its own message, or that of its code
        sent = data.get("outcome", row["text"] if row["text"].startswith(f"{data.get('code')}:") else None)
    return bool(row["request"] == event["request"] and (gone or row["text"] == sent))


def approvals(connection: Connection, rows: list[Row], _digests: MessageDigests) -> list[str]:
    """Approvals: their approver, decision, effect and use."""
    given = _events(connection, _EVENTS.seq.in_([row["event"] for row in rows]), "seq")
    about = _EVENTS.request.in_({row["request"] for row in rows}) & (_EVENTS.kind == "approvals-used")
    used = _events(connection, about, "request")
    return [row["request"] for row in rows if not _approval(row, given[row["event"]], used[row["request"]])]


def _approval(row: Row, given: list[Row], used: list[Row]) -> bool:
    if not given:
        return False
    event, approve = given[0], bool(row["approve"])
    names = ("request", "effect_digest", "approver", "way", "strength", "expires")
    data = {name: row[name] for name in names} | {"approve": approve}
    kind = (BYPASSED if event["data"].get("bypass") else "approved") if approve else "denied"
    later = [one for one in used if one["seq"] > row["event"] and approve]
    uses = [one["at"] for one in later if one["data"].get("effect_digest") == row["effect_digest"]]
    for name in ("looked_ms", "key", "signature", "bypass"):  # in the event only
        event["data"].pop(name, None)
    same = (event["data"], event["kind"], event["peer"], event["at"]) == (data, kind, row["approver"], row["at"])
    return same and row["used"] == (uses[0] if uses else None)


def _events(
    connection: Connection,
    which: ColumnElement[bool],
    by: str,
    data: Any = _EVENTS.data,  # noqa: ANN401 - a column
) -> dict[Any, list[Row]]:
    """Events in their order, by one of their columns, with their data parsed."""
    names = ("seq", "at", "kind", "state", "request", "ask", "peer", "circle", "text", "hash")
    statement = select(*(_EVENTS[name] for name in names), data).where(which).order_by(_EVENTS.seq)
    found: dict[Any, list[Row]] = defaultdict(list)
    for row in connection.execute(statement).mappings():
        found[row[by]].append(dict(row) | {"data": parsed(row["data"], {})})
    return found


def parsed(text: Any, other: T) -> T:  # noqa: ANN401 - an edited row may hold anything
    """JSON of the type of `other`; for anything else `other`, which no true row has."""
    try:
        value = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return other
    return value if isinstance(value, type(other)) else other


def _part(data: Row, name: str) -> Row:
    value = data.get(name)
    return value if isinstance(value, dict) else {}
