"""Whether rows made from events still say what those say. Each function takes some rows and names the wrong ones."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, or_, select

from infra_mcp.ledger import schema
from infra_mcp.ledger.message_digests import MessageDigests

_EVENTS = schema.events.c
Row = dict[str, Any]


def requests(connection: Connection, rows: list[Row], _words: MessageDigests) -> list[str]:
    """Requests: who asked what, in which words, how far it came and how it ended."""
    # What a step tells beside its state may be long, and is of no account here.
    data = case((_EVENTS.kind.in_(["received", "finished"]), _EVENTS.data), else_="{}").label("data")
    told = _told(connection, _EVENTS.request.in_([row["id"] for row in rows]), "request", data)
    return [row["id"] for row in rows if not _request(row, told[row["id"]])]


def _request(row: Row, events: list[Row]) -> bool:
    first = next((event for event in events if event["kind"] == "received"), None)
    if first is None:
        return False
    ended = [event for event in events if event["kind"] == "finished"]
    states = [event["state"] for event in events if event["state"]]
    receipt = _part(ended[-1]["data"], "receipt") | {"audit_head": ended[-1]["hash"]} if ended else None
    said = (first["text"], first["peer"], first["circle"], states[-1] if states else None)
    shown = tuple(row[name] for name in ("words", "caller", "circle", "state"))
    names = ("attendant", "notify")
    return (
        said == shown
        and first["data"].get("action") == parsed(row["action"])
        and [first["data"].get(name) for name in names] == [row[name] for name in names]
        and receipt == (parsed(row["receipt"]) if row["receipt"] else None)
    )


def asks(connection: Connection, rows: list[Row], words: MessageDigests) -> list[str]:
    """Asks: who asked whom what, which request it became, and how it was answered."""
    own = or_(_EVENTS.request.is_(None), _EVENTS.kind.in_(["received", "asked-again"]))
    told = _told(connection, _EVENTS.ask.in_([row["id"] for row in rows]) & own, "ask")
    became = {row["request"] for row in rows} - {None}
    ended = _told(connection, _EVENTS.request.in_(became) & (_EVENTS.kind == "finished"), "request")
    return [
        row["id"]
        for row in rows
        if not (_asked(row, told[row["id"]], words) and _answered(row, told[row["id"]], ended[row["request"]], words))
    ]


def _asked(row: Row, events: list[Row], words: MessageDigests) -> bool:
    request = next((event["request"] for event in events if event["request"]), None)
    if not events or row["request"] != request:
        return False
    first = events[0]
    data = first["data"]
    if first["kind"] != "asked":
        same = (first["peer"], first["circle"], data.get("ask", first["text"])) == (
            row["sender"],
            row["circle"],
            row["text"],
        )
        return same and data.get("receiver", row["receiver"]) == row["receiver"]
    ends = (_shown(row["sender"], row["circle"]), _shown(row["receiver"], row["receiver_circle"]), row["reply_to"])
    if ends != (data.get("from"), data.get("to"), data.get("reply_to")):
        return False
    if row["purged"] and "hash" in data:
        return (row["text"], row["attachments"]) == ("", "[]")
    return words.match(first, row["text"], _list(row["attachments"]))


def _answered(row: Row, events: list[Row], ended: list[Row], words: MessageDigests) -> bool:
    acked = [event for event in events if event["kind"] == "acked"]
    if row["request"]:
        reply = _part(ended[-1]["data"], "receipt").get("message") if ended else None
        return bool(row["reply"] == reply and row["state"] == ("acked" if ended else "open"))
    if not acked:
        reply = events[0]["data"].get("reply")
        return bool(row["reply"] == reply and row["state"] == ("open" if reply is None else "acked"))
    last, attachments = acked[-1], _list(row["reply_attachments"])
    if row["state"] != "acked" or row["closed"] != last["data"].get("closed"):
        return False
    if row["reply"] is None and not attachments and (last["data"].get("bare") or row["purged"]):
        return True
    return row["reply"] is not None and words.match(last, row["reply"], attachments)


def messages(connection: Connection, rows: list[Row], words: MessageDigests) -> list[str]:
    """Messages: who sent what to whom, and what came of it."""
    told = _told(connection, _EVENTS.seq.in_({row["event"] for row in rows}), "seq")
    about = _EVENTS.request.in_({row["request"] for row in rows} - {None}) & (_EVENTS.kind == "notified-again")
    again = _told(connection, about, "request")
    return [row["id"] for row in rows if not _message(row, told[row["event"]], again[row["request"]], words)]


def _message(row: Row, events: list[Row], again: list[Row], words: MessageDigests) -> bool:
    if not events:
        return False
    event, gone = events[0], row["purged"] and row["text"] == ""
    data = event["data"]
    if row["kind"] != "outcome":
        to = _shown(row["receiver"], row["receiver_circle"])
        same = (data.get("id"), event["kind"], data.get("from")) == (
            row["id"],
            row["kind"],
            _shown(row["sender"], row["circle"]),
        )
        return bool(same and to in (data.get("to") or ()) and (gone or words.match(event, row["text"])))
    # The end of a request is told to whoever sent it, and to whoever repeated it by a notify.
    repeats = [one for one in again if one["data"].get("id") == row["reply_to"]]
    if (row["receiver"], row["receiver_circle"]) not in {(one["peer"], one["circle"]) for one in (event, *repeats)}:
        return False
    if event["kind"] == "finished":
        said = _part(data, "receipt").get("message")
    else:  # a refusal that was told: in its own words, or in those of its code
        said = data.get("outcome", row["text"] if row["text"].startswith(f"{data.get('code')}:") else None)
    return bool(row["request"] == event["request"] and (gone or row["text"] == said))


def approvals(connection: Connection, rows: list[Row], _words: MessageDigests) -> list[str]:
    """Approvals: who decided what about which effect, and whether it was used."""
    given = _told(connection, _EVENTS.seq.in_([row["event"] for row in rows]), "seq")
    about = _EVENTS.request.in_({row["request"] for row in rows}) & (_EVENTS.kind == "approvals-used")
    used = _told(connection, about, "request")
    return [row["request"] for row in rows if not _approval(row, given[row["event"]], used[row["request"]])]


def _approval(row: Row, given: list[Row], used: list[Row]) -> bool:
    if not given:
        return False
    event, approve = given[0], bool(row["approve"])
    said = {name: row[name] for name in ("request", "effect_digest", "approver", "way", "strength", "expires")}
    uses = [
        one["at"]
        for one in used
        if one["data"].get("effect_digest") == row["effect_digest"] and one["seq"] > row["event"] and approve
    ]
    return (
        event["data"] == said | {"approve": approve}
        and (event["kind"], event["peer"], event["at"])
        == ("approved" if approve else "denied", row["approver"], row["at"])
        and row["used"] == (uses[0] if uses else None)
    )


def _told(
    connection: Connection,
    which: ColumnElement[bool],
    by: str,
    data: Any = _EVENTS.data,  # noqa: ANN401 - a column
) -> dict[Any, list[Row]]:
    """Events in their order, by one of their columns, with their data parsed."""
    names = ("seq", "at", "kind", "state", "request", "ask", "peer", "circle", "text", "hash")
    found = select(*(_EVENTS[name] for name in names), data).where(which).order_by(_EVENTS.seq)
    told: dict[Any, list[Row]] = defaultdict(list)
    for row in connection.execute(found).mappings():
        told[row[by]].append(dict(row) | {"data": parsed(row["data"])})
    return told


def _shown(name: str, circle: str | None) -> str:
    return f"{circle}/{name}" if circle else name


def parsed(text: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever stands in the file
    """A JSON object; what someone made of it otherwise differs from every true one, and that is all there is to say."""
    try:
        value = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _list(text: Any) -> list[Any]:  # noqa: ANN401 - whatever stands in the file
    try:
        value = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return [None]  # nothing that was ever attached
    return value if isinstance(value, list) else [None]


def _part(data: dict[str, Any], name: str) -> dict[str, Any]:
    value = data.get(name)
    return value if isinstance(value, dict) else {}
