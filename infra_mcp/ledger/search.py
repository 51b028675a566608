"""Full-text search over events. User input is words, never FTS5's query language."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, false, func, literal_column, or_, select, table

from infra_mcp.errors import InfraError
from infra_mcp.ledger import schema
from infra_mcp.ledger.clock import normal
from infra_mcp.ledger.database import Repository
from infra_mcp.ledger.events import event
from infra_mcp.ledger.records import Event, SearchPage

_MAX_QUERY = 1_000  # characters of a query
_MAX_EVENTS = 200  # events of one answer
_MAX_TEXT = 2_000  # characters of a string in an answer
_MAX_ITEMS = 50
_PHRASE = re.compile(r'"([^"]*)"|([^\s"]+)')
_COLUMNS = schema.events.c


class Search(Repository):
    """Finding events of one ledger."""

    async def search(
        self,
        query: str,
        *,
        circle: str | None,
        peer: str | None = None,
        namespace: str | None = None,
        object: str | None = None,  # noqa: A002 - the word users search by
        sponsor: str | None = None,
        kind: str | None = None,
        since: str | None = None,
        until: str | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> SearchPage:
        """Find events by words and by what they are about, newest first; long texts and data are cut.

        Args:
            query: words that must all be there; each also matches as a beginning, `"…"` only whole. Empty matches all.
            circle: whose events may be found; None is the operator, who sees all.
            peer: only events of this peer.
            namespace: only events of, or of requests about, this namespace.
            object: likewise an object: `namespace/kind/name`, or its end, such as `deployment/docs` or `docs`.
            sponsor: only what came by a token, or a pipeline's identity, that this person answers for.
            kind: only events of this kind, which no one's words are.
            since: not before this ISO 8601 date or time.
            until: not after it; a date means its end.
            before: only events with smaller numbers, for the next page.
            limit: how many events at most, 1 to 200.

        Raises:
            InfraError: `invalid-argument`, naming the argument.
        """
        words = self.masker.mask(query)
        if len(words) > _MAX_QUERY:
            raise InfraError("invalid-argument", f"The query is longer than {_MAX_QUERY} characters.")
        if not 1 <= limit <= _MAX_EVENTS:
            raise InfraError("invalid-argument", f"limit must be between 1 and {_MAX_EVENTS}.")
        wanted, expression = _conditions(circle, peer, namespace, object), match(words)
        try:
            wanted += [_COLUMNS.at >= normal(since)] if since is not None else []
            wanted += [_COLUMNS.at <= normal(until, end=True)] if until is not None else []
        except (ValueError, OverflowError) as error:
            raise InfraError("invalid-argument", "since and until are ISO 8601 dates or times.") from error
        wanted += [_answered_for(self.masker.mask(sponsor))] if sponsor is not None else []
        if kind is not None:
            wanted.append(_COLUMNS.kind == kind)
            expression = " AND ".join(filter(None, (f'kind : "{kind}"', expression)))
        wanted += [_COLUMNS.seq < before] if before is not None else []
        if expression is None and words.strip():
            return SearchPage(events=(), total=0)
        found, count = _statements(expression, wanted)
        found = found.limit(limit)

        def look(connection: Connection) -> SearchPage:
            total = connection.execute(count).scalar_one()
            rows = connection.execute(found).mappings()
            return SearchPage(events=tuple(_shown(event(row)) for row in rows), total=total)

        return await self._database.read(look)

    async def trail(self, request_id: str) -> list[Event]:
        """All events of a request, oldest first, uncut."""
        own = select(schema.events).where(_COLUMNS.request == request_id)
        return await self._events(own.order_by(_COLUMNS.seq))

    async def after(self, seq: int, limit: int) -> list[Event]:
        """The events after the one of a number, oldest first, uncut."""
        return await self._events(select(schema.events).where(_COLUMNS.seq > seq).order_by(_COLUMNS.seq).limit(limit))

    async def trail_of(self, object: str, *, circle: str | None = None, limit: int = 200) -> list[Event]:  # noqa: A002
        """The newest events of and about an object and of the requests that touched it, oldest first, uncut.

        Args:
            object: `namespace/kind/name`, or its end, such as `deployment/docs` or `docs`.
            circle: whose events; None is the operator, who sees all.
            limit: how many events at most.
        """
        newest = select(schema.events).where(*_conditions(circle, object=object))
        newest = newest.order_by(_COLUMNS.seq.desc()).limit(limit)
        return (await self._events(newest))[::-1]

    async def _events(self, statement: Select[Any]) -> list[Event]:
        return await self._database.read(
            lambda connection: [event(row) for row in connection.execute(statement).mappings()]
        )


def _statements(expression: str | None, wanted: list[ColumnElement[bool]]) -> tuple[Select[Any], Select[Any]]:
    """The events that match, newest first, and how many there are.

    With words, the index is walked from its newest entry and each event is looked up, so that a page of a common word
    ends after a page; the plus keeps SQLite from walking the events instead. Source: SQLite, "The SQLite Query
    Optimizer Overview", 3.1; FTS5 gives rows in either order of the rowid.
    """
    if expression is None:
        found = select(schema.events).where(*wanted).order_by(_COLUMNS.seq.desc())
        return found, select(func.count()).select_from(schema.events).where(*wanted)
    index = table(schema.SEARCH)
    rowid: ColumnElement[int] = literal_column(f"{schema.SEARCH}.rowid")
    hits = literal_column(schema.SEARCH).op("MATCH")(expression)
    both = index.join(schema.events, _COLUMNS.seq == literal_column(f"+{schema.SEARCH}.rowid"))
    found = select(schema.events).select_from(both).where(hits, *wanted).order_by(rowid.desc())
    return found, select(func.count()).select_from(both if wanted else index).where(hits, *wanted)


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


def _conditions(
    circle: str | None,
    peer: str | None = None,
    namespace: str | None = None,
    object: str | None = None,  # noqa: A002
) -> list[ColumnElement[bool]]:
    conditions = (
        (circle, _COLUMNS.circle == circle),
        (peer, _COLUMNS.peer == peer),
        (namespace, _about(("namespace",), namespace)),
        (object, _about(("object", "end"), object)),
    )
    return [condition for given, condition in conditions if given is not None]


def _about(what: tuple[str, ...], name: str | None) -> ColumnElement[bool]:
    """Events that name it, and all events of requests of which any event names it."""
    named = and_(schema.subjects.c.what.in_(what), schema.subjects.c.value == name)
    return or_(
        schema.events.c.seq.in_(select(schema.subjects.c.seq).where(named)),
        schema.events.c.request.in_(
            select(schema.subjects.c.request).where(named, schema.subjects.c.request.is_not(None))
        ),
    )


def _answered_for(sponsor: str) -> ColumnElement[bool]:
    """Events that name this sponsor, and all events of the requests whose caller they answer for.

    Rows and events have no index of sponsors; the full-text index has the few events that a sponsor can be found in.
    """
    words = match('"' + sponsor.replace('"', " ") + '"')
    if words is None:
        return false()
    index = table(schema.SEARCH)
    rowid: ColumnElement[int] = literal_column(f"{schema.SEARCH}.rowid")
    named = select(rowid).select_from(index).where(literal_column(schema.SEARCH).op("MATCH")(words))
    first = select(schema.requests.c.id).where(
        schema.requests.c.position.in_(named), schema.requests.c.sponsor == sponsor
    )
    own = and_(_COLUMNS.seq.in_(named), func.json_extract(_COLUMNS.data, "$.sponsor") == sponsor)
    return or_(own, _COLUMNS.request.in_(first))


def _shown(found: Event) -> Event:
    return found.model_copy(update={"text": _bounded(found.text), "data": _bounded(found.data)})


def _bounded(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """A value small enough to show; what is cut says so."""
    if isinstance(value, str) and len(value) > _MAX_TEXT:
        return f"{value[:_MAX_TEXT]}… ({len(value) - _MAX_TEXT} more characters)"
    if isinstance(value, dict):
        shown = {key: _bounded(item) for key, item in list(value.items())[:_MAX_ITEMS]}
        return shown | ({"…": f"{len(value) - _MAX_ITEMS} more"} if len(value) > _MAX_ITEMS else {})
    if isinstance(value, list):
        more = [f"… ({len(value) - _MAX_ITEMS} more)"] if len(value) > _MAX_ITEMS else []
        return [_bounded(item) for item in value[:_MAX_ITEMS]] + more
    return value
