"""The chain of events in the database: adding at its end, reading it back, and what an event is about."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import bindparam, insert, select, text

from infra_mcp.ledger import schema
from infra_mcp.ledger.chain import GENESIS, link
from infra_mcp.ledger.database import Tx, reading, unavailable
from infra_mcp.ledger.records import Event
from infra_mcp.masking import Masker
from infra_mcp.model.digest import canonical

_INDEXED = 64_000  # characters of an event that full-text search covers
MAX_SUBJECTS = 500  # namespaces, and objects, of an event; what a change touches is in its plan, complete
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
    named += [("end", name) for name in sorted({end for name in objects for end in _ends(name)})]
    if named:
        about = {"seq": seq + 1, "request": entry.request}
        tx.connection.execute(_INSERT_SUBJECT, [about | {"what": what, "value": name} for what, name in named])
    # The sponsor first, so that no length of what was asked hides who answers for it.
    words = "\n".join((str(entry.data.get("sponsor") or ""), entry.text, *_strings(entry.data)))[:_INDEXED]
    found = {"text": words, "namespaces": " ".join(namespaces), "objects": " ".join(objects)}
    tx.connection.execute(_INSERT_SEARCH, row | found)
    tx.head = (seq + 1, row["hash"])
    return tx.head


def event(row: Any) -> Event:  # noqa: ANN401 - a row of `events`
    """A row as a value."""
    value = {name: row[name] for name in Event.model_fields if name != "head"} | {"head": row["hash"]}
    with reading(f"event {row['seq']}"):
        value |= {name: tuple(json.loads(row[name])) for name in ("namespaces", "objects")}
        return Event.model_validate(value | {"data": json.loads(row["data"])})


def _newest(tx: Tx) -> tuple[int, str]:
    """The end of the chain inside this transaction, after a check that our newest event is still in it."""
    if tx.head:
        return tx.head
    seq, digest = tx.known
    found = [(row.seq, row.hash) for row in tx.connection.execute(_SINCE, {"since": seq})]
    if seq and (not found or found[0] != (seq, digest)):
        raise unavailable("its newest events were deleted or changed")
    return found[-1] if found else (0, GENESIS)


def _strings(value: Any) -> Iterator[str]:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def subjects(*values: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:  # noqa: ANN401 - any JSON values
    """The namespaces and the objects that JSON data names, sorted.

    Namespaces: values of `namespace` and `namespaces`, and those of objects. Objects: object references (a dict with
    `kind` and `name`), and strings `namespace/kind/name` or `kind/name` in a list called `objects` or under `object`.
    """
    namespaces: set[str] = set()
    objects: set[str] = set()
    for value in values:
        for what, name in _named(value):
            (namespaces if what == "namespace" else objects).add(name)
    return tuple(sorted(namespaces)[:MAX_SUBJECTS]), tuple(sorted(objects)[:MAX_SUBJECTS])


def _ends(name: str) -> tuple[str, ...]:
    """What an object's name ends in: `docs-live/deployment/docs` in `deployment/docs` and `docs`."""
    parts = name.split("/")
    return tuple("/".join(parts[first:]) for first in range(1, len(parts)))


def _named(value: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - any JSON value
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, list | tuple):
            todo.extend(item)
        elif isinstance(item, dict):
            yield from _of_dict(item)
            todo.extend(part for part in item.values() if isinstance(part, dict | list | tuple))


def _of_dict(item: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key in ("namespace", "namespaces"):
        found = item.get(key)
        for name in [found] if isinstance(found, str) else found if isinstance(found, list | tuple) else []:
            if isinstance(name, str) and name:
                yield "namespace", name
    kind, name, namespace = item.get("kind"), item.get("name"), item.get("namespace")
    if isinstance(kind, str) and isinstance(name, str):
        parts = [namespace, kind.lower(), name] if isinstance(namespace, str) and namespace else [kind.lower(), name]
        yield from _of_object("/".join(parts))
    found = item.get("objects")
    for named in [item.get("object"), *(found if isinstance(found, list | tuple) else [])]:
        if isinstance(named, str) and named:
            yield from _of_object(named)


def _of_object(name: str) -> Iterator[tuple[str, str]]:
    yield "object", name
    first, _, rest = name.partition("/")
    if "/" in rest:
        yield "namespace", first
    elif first == "namespace" and rest:
        yield "namespace", rest
