"""The chain of events in the database: adding at its end, and reading it back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import bindparam, insert, select, text

from infra_mcp.ledger import schema
from infra_mcp.ledger.chain import GENESIS, link
from infra_mcp.ledger.database import Tx, unavailable
from infra_mcp.ledger.records import Event
from infra_mcp.ledger.subjects import ends, subjects
from infra_mcp.masking import Masker
from infra_mcp.model.digest import canonical

_INDEXED = 64_000  # characters of an event that full-text search covers
_INSERT = insert(schema.events)
_INSERT_SUBJECT = insert(schema.subjects)
_INSERT_SEARCH = text(
    f"INSERT INTO {schema.SEARCH}(rowid, text, peer, namespaces, objects, kind) "  # noqa: S608 - our own table's name
    "VALUES (:seq, :text, :peer, :namespaces, :objects, :kind)"
)
_COLUMNS = schema.events.c
_SINCE = select(_COLUMNS.seq, _COLUMNS.hash).where(_COLUMNS.seq >= bindparam("since")).order_by(_COLUMNS.seq)


@dataclass(frozen=True)
class Entry:
    """An event before it has its place in the chain. Everything in it is masked already."""

    at: str
    kind: str
    peer: str | None
    circle: str | None
    text: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    state: str | None = None
    request: str | None = None
    ask: str | None = None
    also: Any = None  # further data whose namespaces and objects this event is about


def written(masker: Masker, value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """A value ready to be stored: masked, and without characters that UTF-8 cannot encode."""
    masked = masker.mask_json(value)
    try:
        canonical(masked)
    except UnicodeEncodeError:
        return json.loads(json.dumps(masked, ensure_ascii=False).encode("utf-8", "replace"))
    return masked


def message_of(data: dict[str, Any]) -> str:
    """The `message` in an event's data, which is the event's text."""
    message = data.get("message", "")
    return message if isinstance(message, str) else ""


def append(tx: Tx, entry: Entry) -> tuple[int, str]:
    """Add an event at the end of the chain; returns its number and the new head.

    Raises:
        InfraError: `ledger-unavailable`, when the newest event this process wrote is no longer there.
    """
    seq, prev = _newest(tx)
    namespaces, objects = subjects(entry.data, entry.also)
    row = {name: getattr(entry, name) for name in ("at", "kind", "state", "request", "ask", "peer", "circle", "text")}
    row |= {"seq": seq + 1, "prev": prev, "data": canonical(entry.data).decode()}
    row |= {"namespaces": canonical(namespaces).decode(), "objects": canonical(objects).decode()}
    row["hash"] = link(row)
    tx.connection.execute(_INSERT, row)
    named = [("namespace", name) for name in namespaces] + [("object", name) for name in objects]
    named += [("end", name) for name in sorted({end for name in objects for end in ends(name)})]
    if named:
        tx.connection.execute(
            _INSERT_SUBJECT,
            [{"what": what, "value": name, "seq": seq + 1, "request": entry.request} for what, name in named],
        )
    tx.connection.execute(
        _INSERT_SEARCH,
        {
            "seq": seq + 1,
            "text": "\n".join((entry.text, *_strings(entry.data)))[:_INDEXED],
            "peer": entry.peer,
            "namespaces": " ".join(namespaces),
            "objects": " ".join(objects),
            "kind": entry.kind,
        },
    )
    tx.head = (seq + 1, row["hash"])
    return tx.head


def event(row: Any) -> Event:  # noqa: ANN401 - a row of `events`
    """A row as a value.

    Raises:
        InfraError: `ledger-unavailable`, when the row was edited and is no event any more.
    """
    value = {name: row[name] for name in Event.model_fields if name != "head"} | {"head": row["hash"]}
    try:
        value |= {name: tuple(json.loads(row[name])) for name in ("namespaces", "objects")}
        return Event.model_validate(value | {"data": json.loads(row["data"])})
    except (ValueError, TypeError) as error:
        raise unavailable(f"event {row['seq']} cannot be read; it was changed by someone else") from error


def _newest(tx: Tx) -> tuple[int, str]:
    """The end of the chain inside this transaction, after a check that our newest event is still in it."""
    if tx.head:
        return tx.head
    seq, digest = tx.known
    found = [(row.seq, row.hash) for row in tx.connection.execute(_SINCE, {"since": seq})]
    if seq and (not found or found[0] != (seq, digest)):
        raise unavailable("events it held before are gone or changed")
    return found[-1] if found else (0, GENESIS)


def _strings(value: Any) -> Iterator[str]:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)
