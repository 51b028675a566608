"""Live updates: the ledger's new events as server-sent events, each with its number as its id.

A browser that lost the connection names the last one it saw (`Last-Event-ID`), and misses none. An event says what it
is about and no more; the script then fetches the page again.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final

import anyio

from infra_mcp.errors import InfraError

if TYPE_CHECKING:
    from starlette.requests import Request

    from infra_mcp.ledger.records import Event
    from infra_mcp.server.tools.call import Service

_LOOK_EVERY: Final = 0.5  # seconds
_ALIVE_EVERY: Final = 15.0  # seconds; without news, so that a lost connection is noticed
_AT_ONCE: Final = 200
_DIGITS: Final = 18  # of a number that SQLite takes


def first(request: Request) -> int | None:
    """The number of the event that the browser saw last; None where it names none that is one."""
    named = request.headers.get("last-event-id") or request.query_params.get("after", "")
    return int(named) if named.isascii() and named.isdecimal() and len(named) <= _DIGITS else None


async def events(
    service: Service, after: int | None, valid: Callable[[], Awaitable[bool]], work: AbstractContextManager[None]
) -> AsyncIterator[str]:
    """The events after one, or from now on, as lines of the stream; ends with the session and the server.

    Args:
        service: whose ledger it is.
        after: the number of the event that was seen last.
        valid: whether the session still is.
        work: held as long as the stream lasts.
    """
    ledger = service.engine.ledger
    with work, service.connections.visit():
        last = (await ledger.newest())[0] if after is None else after
        quiet = _ALIVE_EVERY  # say something at once, so that the browser knows that it is connected
        while not service.stopping.is_set() and await valid():
            try:
                found = await ledger.after(last, _AT_ONCE)
            except InfraError:
                return  # the browser comes again
            for event in found:
                last = event.seq
                yield _written(event)
            quiet = 0.0 if found else quiet + _LOOK_EVERY
            if quiet >= _ALIVE_EVERY:
                yield ": alive\n\n"
                quiet = 0.0
            if len(found) < _AT_ONCE:
                with anyio.move_on_after(_LOOK_EVERY):
                    await service.stopping.wait()


def _written(event: Event) -> str:
    about = {"request": event.request, "kind": event.kind, "state": event.state}
    return f"id: {event.seq}\ndata: {json.dumps(about)}\n\n"
