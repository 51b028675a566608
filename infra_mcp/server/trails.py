"""From a request to its objects and commit, and from an object to the requests that made it what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from infra_mcp.errors import InfraError
from infra_mcp.server.answers import receipt_fields

if TYPE_CHECKING:
    from infra_mcp.ledger.records import Event
    from infra_mcp.ledger.store import Ledger
    from infra_mcp.model.peer import Caller
    from infra_mcp.model.request import Request

_EVENTS = 2_000  # the newest events about an object that are looked through for their requests


def scope(caller: Caller) -> str | None:
    """The circle whose requests a caller may see; None for all.

    Raises:
        InfraError: `policy-denied`, for one who may see none.
    """
    if caller.reads_all:
        return None
    if caller.circle is None:
        raise InfraError("policy-denied", "A caller without a circle sees no requests.")
    return caller.circle


def sent(caller: Caller, name: str | None, circle: str | None) -> bool:
    """Whether a caller is who sent something.

    Nobody is shown their own words again: masked, they would tell whether a guess equals a secret.
    """
    return not caller.reads_all and (caller.name, caller.circle) == (name, circle)


def words_of(caller: Caller, request: Request) -> tuple[str, str]:
    """A request's words and reason, as a caller may see them: of one's own, only a sentence that holds but names."""
    if not sent(caller, request.caller.name, request.caller.circle):
        return request.words, request.reason
    return (request.words if request.channel == "ask" and not request.reason else ""), ""


def unsaid(caller: Caller, event: Event) -> Event:
    """An event as its reader may see it: without the words, where they are the reader's own."""
    if not sent(caller, event.peer, event.circle) or (event.state is not None and event.kind != "received"):
        return event
    data = {key: value for key, value in event.data.items() if key not in {"reason", "ask", "reply", "what"}}
    return event.model_copy(update={"text": "", "data": data})


def facts(request: Request, caller: Caller) -> dict[str, Any]:
    """Who asked for what, when, by which channel, and what came of it."""
    words, reason = words_of(caller, request)
    told = receipt_fields(request) | {
        "caller": request.caller.name,
        "circle": request.caller.circle,
        "door": request.channel,
        "attendant": request.attendant,
        "created": request.created,
        "words": words,
        "reason": reason,
    }
    told.pop("plan", None)
    return told


async def of_request(ledger: Ledger, caller: Caller, request_id: str) -> dict[str, Any]:
    """A request with every event of it, from its first word to its end.

    Raises:
        InfraError: `not-found`, in the same words for another circle's and for none.
    """
    found = await ledger.request(request_id)
    circle = scope(caller)
    if found is None or (circle is not None and found.caller.circle != circle):
        raise InfraError("not-found", "There is no such request, or not for this caller.")
    events: list[Event] = await ledger.trail(found.id)
    shown = [unsaid(caller, event).model_dump(mode="json", exclude_none=True) for event in events]
    return facts(found, caller) | {"events": shown}


async def of_object(ledger: Ledger, caller: Caller, name: str, limit: int) -> dict[str, Any]:
    """The requests about an object, the newest first, refused and failed ones too: each says what came of it.

    Args:
        ledger: where they are.
        caller: who looks; a circle sees its own.
        name: `NAMESPACE/KIND/NAME` or `KIND/NAME`.
        limit: how many at most; `not_shown` counts the others among the newest events.
    """
    events = await ledger.trail_of(name, circle=scope(caller), limit=_EVENTS)
    found = dict.fromkeys(event.request for event in reversed(events) if event.request)
    requests = [one for request_id in list(found)[:limit] if (one := await ledger.request(request_id)) is not None]
    return {
        "object": name,
        "requests": [facts(one, caller) for one in requests],
        "not_shown": len(found) - len(requests),
    }
