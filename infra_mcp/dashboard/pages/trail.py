"""*Trail*: every event, found by words, peer, circle, object, sponsor, rule and time; each leads to its request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from infra_mcp.dashboard.look import Look
from infra_mcp.errors import InfraError
from infra_mcp.ledger.records import Event, SearchPage

FACETS: Final = ("peer", "circle", "namespace", "object", "sponsor", "rule", "since", "until")
_PAGE: Final = 50
_ROWS: Final = 5_000  # of a table
_AT_ONCE: Final = 200
_HEAD: Final = ("number", "time", "event", "state", "request", "ask", "peer", "circle", "objects", "text", "hash")


async def read(look: Look) -> dict[str, Any]:
    """The page's values, by the address's query: `q`, the facets, and `before`, a number of an event.

    Raises:
        InfraError: `invalid-argument`, naming what is not well formed.
    """
    asked = asked_for(look.query)
    page = await _search(look, asked, _before(look.query), _PAGE)
    last = page.events[-1].seq if page.events else 0
    more = page.total > len(page.events)
    seq, head = await look.ledger.newest()
    return {
        "asked": asked,
        "events": [line(event) for event in page.events],
        "total": page.total,
        "older": f"trail?{urlencode(asked | {'before': last})}" if more else "",
        "csv": f"trail.csv?{urlencode(asked)}",
        "permalink": f"trail?{urlencode(asked)}" if asked else "trail",
        "command": command(asked),
        "newest": {"number": seq, "hash": head},
    }


async def rows(look: Look) -> list[tuple[object, ...]]:
    """The same events as rows of a table, the newest 5,000."""
    asked, found = asked_for(look.query), [_HEAD]
    before = _before(look.query)
    made: list[tuple[object, ...]] = [*found]
    while len(made) <= _ROWS:
        page = await _search(look, asked, before, _AT_ONCE)
        made += [_row(event) for event in page.events]
        if len(page.events) < _AT_ONCE:
            break
        before = page.events[-1].seq
    return made


def asked_for(query: Mapping[str, str]) -> dict[str, str]:
    """What a query asks for, without what is empty."""
    return {name: value for name in ("q", *FACETS) if (value := query.get(name, "").strip())}


def command(asked: Mapping[str, str]) -> str:
    """The command that finds the same, for the words; the page's own permalink has the rest."""
    return f"infra-mcp dashboard 'trail?{urlencode(asked)}'" if asked else "infra-mcp dashboard trail"


def line(event: Event) -> dict[str, Any]:
    """An event in the list."""
    return {
        "seq": event.seq,
        "at": event.at,
        "kind": event.kind,
        "state": event.state,
        "request": event.request,
        "ask": event.ask,
        "peer": event.peer,
        "circle": event.circle,
        "objects": list(event.objects[:5]),
        "more_objects": max(0, len(event.objects) - 5),
        "text": event.text,
        "rule": str(event.data.get("rule", "")),
    }


def _row(event: Event) -> tuple[object, ...]:
    about = (event.seq, event.at, event.kind, event.state, event.request, event.ask, event.peer, event.circle)
    return (*about, " ".join(event.objects), event.text, event.head)


async def _search(look: Look, asked: Mapping[str, str], before: int | None, limit: int) -> SearchPage:
    words = asked.get("q", "")
    if rule := asked.get("rule"):
        words += f' "{rule.replace(chr(34), " ")}"'
    given = {
        name: asked[name] for name in ("peer", "namespace", "object", "sponsor", "since", "until") if name in asked
    }
    return await look.ledger.search(words, circle=asked.get("circle"), before=before, limit=limit, **given)


def _before(query: Mapping[str, str]) -> int | None:
    text = query.get("before", "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 18):  # noqa: PLR2004 - digits that SQLite takes
        raise InfraError("invalid-argument", "before: not the number of an event.")
    return int(text)
