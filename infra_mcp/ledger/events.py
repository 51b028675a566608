"""The chain of events in the database: adding at its end, and reading it back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, text

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
_HEAD = select(_COLUMNS.hash).order_by(_COLUMNS.seq.desc()).limit(1)
_SINCE = select(_COLUMNS.seq, _COLUMNS.hash).where(_COLUMNS.seq >= bindparam("since")).order_by(_COLUMNS.seq)
_TRAIL = select(schema.events).where(_COLUMNS.request == bindparam("request")).order_by(_COLUMNS.seq)


@dataclass(frozen=True)
class Entry:
    """What an event says, before it has its place in the chain. Everything in it is masked already."""

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
    """A value as it may be stored: masked, and with nothing in it that has no UTF-8."""
    masked = masker.mask_json(value)
    try:
        canonical(masked)
    except UnicodeEncodeError:
        return json.loads(json.dumps(masked, ensure_ascii=False).encode("utf-8", "replace"))
    return masked


def append(tx: Tx, entry: Entry) -> tuple[int, str]:
    """Add an event at the end of the chain; returns its number and the new head.

    Raises:
        InfraError: `ledger-unavailable`, when the newest event this process wrote is no longer there.
    """
    seq, prev = _newest(tx)
    namespaces, objects = subjects(entry.data, entry.also)
    row: dict[str, Any] = {
        "seq": seq + 1,
        "at": entry.at,
        "kind": entry.kind,
        "state": entry.state,
        "request": entry.request,
        "ask": entry.ask,
        "peer": entry.peer,
        "circle": entry.circle,
        "namespaces": canonical(namespaces).decode(),
        "objects": canonical(objects).decode(),
        "text": entry.text,
        "data": canonical(entry.data).decode(),
        "prev": prev,
    }
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


def has(connection: Connection, wanted: str) -> bool:
    """Whether an event has this hash."""
    return connection.execute(select(_COLUMNS.seq).where(_COLUMNS.hash == wanted)).first() is not None


def head(connection: Connection) -> str:
    """The newest event's hash."""
    return connection.execute(_HEAD).scalar() or GENESIS


def trail(connection: Connection, request_id: str) -> list[Event]:
    """All events of a request, oldest first."""
    return [event(row) for row in connection.execute(_TRAIL, {"request": request_id}).mappings()]


def event(row: Any) -> Event:  # noqa: ANN401 - a row of `events`
    """A row as a value.

    Raises:
        InfraError: `ledger-unavailable`, when someone made something else of it.
    """
    try:
        namespaces, objects, data = (json.loads(row[name]) for name in ("namespaces", "objects", "data"))
        return _event(row, tuple(namespaces), tuple(objects), data)
    except (ValueError, TypeError) as error:
        raise unavailable(f"event {row['seq']} cannot be read; it was changed by someone else") from error


def _event(row: Any, namespaces: tuple[str, ...], objects: tuple[str, ...], data: dict[str, Any]) -> Event:  # noqa: ANN401
    return Event(
        seq=row["seq"],
        at=row["at"],
        kind=row["kind"],
        state=row["state"],
        request=row["request"],
        ask=row["ask"],
        peer=row["peer"],
        circle=row["circle"],
        namespaces=namespaces,
        objects=objects,
        text=row["text"],
        data=data,
        head=row["hash"],
    )


def _newest(tx: Tx) -> tuple[int, str]:
    """The end of the chain inside this transaction, after checking that what we wrote before still stands in it."""
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
