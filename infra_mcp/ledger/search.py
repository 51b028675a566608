"""Full-text search over events. What a user types is words, never FTS5's query language."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, literal_column, or_, select, table

from infra_mcp.errors import InfraError
from infra_mcp.ledger import schema
from infra_mcp.ledger.clock import normal
from infra_mcp.ledger.events import event
from infra_mcp.ledger.records import Event, SearchPage

_LONGEST = 1_000  # characters of a query
_MOST = 200  # events of one answer
_SHOWN_TEXT = 2_000  # characters of a string in an answer
_SHOWN_ITEMS = 50
_PHRASE = re.compile(r'"([^"]*)"|([^\s"]+)')


@dataclass(frozen=True)
class Query:
    """What to look for. `circle` None is the operator, who sees all; a circle sees only its own."""

    words: str
    circle: str | None
    peer: str | None = None
    namespace: str | None = None
    object: str | None = None
    since: str | None = None
    until: str | None = None
    limit: int = 50


def match(words: str) -> str | None:
    """The FTS5 expression for what a user typed: every term must be there.

    A term matches where its words stand side by side, the last one also as a beginning: `docs-stag` finds
    `docs-staging`. What stands between double quotes is one term, matched to its end. None when there is no word in it.
    """
    terms = []
    for quoted, plain in _PHRASE.findall(words):
        term = "".join(c if c.isprintable() else " " for c in quoted or plain)
        if any(c.isalnum() for c in term):
            terms.append(f'"{term}"' if quoted else f'"{term}" *')
    return " AND ".join(terms) or None


def find(connection: Connection, query: Query) -> SearchPage:
    """The newest events that match all that is asked, bounded for showing, and the number of all.

    Raises:
        InfraError: `invalid-argument`, naming the argument.
    """
    if len(query.words) > _LONGEST:
        raise InfraError("invalid-argument", f"The query is longer than {_LONGEST} characters.")
    if not 1 <= query.limit <= _MOST:
        raise InfraError("invalid-argument", f"limit must be between 1 and {_MOST}.")
    expression = match(query.words)
    if expression is None and query.words.strip():
        return SearchPage(events=(), total=0)
    columns = schema.events.c
    found = select(schema.events)
    count = select(func.count()).select_from(schema.events)
    wanted = _conditions(query)
    if expression is not None:
        hits: Select[Any] = select(literal_column("rowid")).select_from(table(schema.SEARCH))
        wanted.append(columns.seq.in_(hits.where(literal_column(schema.SEARCH).op("MATCH")(expression))))
    total = connection.execute(count.where(*wanted)).scalar_one()
    rows = connection.execute(found.where(*wanted).order_by(columns.seq.desc()).limit(query.limit)).mappings()
    return SearchPage(events=tuple(_shown(event(row)) for row in rows), total=total)


def about(connection: Connection, object_name: str, circle: str | None, limit: int) -> list[Event]:
    """The newest events of and about an object, uncut, oldest first."""
    wanted = _conditions(Query("", circle, object=object_name))
    newest = select(schema.events).where(*wanted).order_by(schema.events.c.seq.desc()).limit(limit)
    return [event(row) for row in connection.execute(newest).mappings()][::-1]


def _conditions(query: Query) -> list[ColumnElement[bool]]:
    columns = schema.events.c
    wanted: list[ColumnElement[bool]] = []
    if query.circle is not None:
        wanted.append(columns.circle == query.circle)
    if query.peer is not None:
        wanted.append(columns.peer == query.peer)
    if query.namespace is not None:
        wanted.append(_about(("namespace",), query.namespace))
    if query.object is not None:
        wanted.append(_about(("object", "end"), query.object))
    try:
        if query.since is not None:
            wanted.append(columns.at >= normal(query.since))
        if query.until is not None:
            wanted.append(columns.at <= normal(query.until, end=True))
    except (ValueError, OverflowError) as error:
        raise InfraError("invalid-argument", "since and until are ISO 8601 dates or times.") from error
    return wanted


def _about(what: tuple[str, ...], name: str) -> ColumnElement[bool]:
    """Events that name it, and all events of requests of which any event names it."""
    named = and_(schema.subjects.c.what.in_(what), schema.subjects.c.value == name)
    return or_(
        schema.events.c.seq.in_(select(schema.subjects.c.seq).where(named)),
        schema.events.c.request.in_(
            select(schema.subjects.c.request).where(named, schema.subjects.c.request.is_not(None))
        ),
    )


def _shown(found: Event) -> Event:
    return found.model_copy(update={"text": _bounded(found.text), "data": _bounded(found.data)})


def _bounded(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """A value small enough to show; what is cut says so."""
    if isinstance(value, str) and len(value) > _SHOWN_TEXT:
        return f"{value[:_SHOWN_TEXT]}… ({len(value) - _SHOWN_TEXT} more characters)"
    if isinstance(value, dict):
        shown = {key: _bounded(item) for key, item in list(value.items())[:_SHOWN_ITEMS]}
        return shown | ({"…": f"{len(value) - _SHOWN_ITEMS} more"} if len(value) > _SHOWN_ITEMS else {})
    if isinstance(value, list):
        more = [f"… ({len(value) - _SHOWN_ITEMS} more)"] if len(value) > _SHOWN_ITEMS else []
        return [_bounded(item) for item in value[:_SHOWN_ITEMS]] + more
    return value
