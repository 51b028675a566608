"""Control tools: where a request stands, having a person decide, cancelling, and searching what happened."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import Field

from infra_mcp.errors import InfraError
from infra_mcp.ledger.records import Event
from infra_mcp.model.names import Frozen
from infra_mcp.model.request import END, State
from infra_mcp.server.answers import Answer, of_request, plan_lines
from infra_mcp.server.tools import approve
from infra_mcp.server.tools.tool import Call, Tool
from infra_mcp.server.trails import unsaid, words_of

_TRAIL = 100  # events of a request shown


class RequestArguments(Frozen):
    """What `get_request` and `cancel` take."""

    request_id: str = Field(max_length=64, description="The id of a request, e.g. req-0123456789ab.")


async def _get_request(call: Call, given: RequestArguments) -> Answer:
    return await look(call, given.request_id)


async def look(call: Call, request_id: str) -> Answer:
    """A request of the caller's scope, with receipt and trail, and with its plan while that waits for people.

    Raises:
        InfraError: `not-found`, in the same words for another circle's.
    """
    request = await call.engine.get(call.caller, request_id)
    if request is None:
        raise InfraError("not-found", "There is no such request, or not for this caller.")
    ended = of_request(request, attended=call.caller.attendant)
    trail = await call.engine.ledger.trail(request.id)
    waiting = approve.planned(trail, request.effect_digest) if request.state is State.AWAITING_APPROVAL else {}
    words, reason = words_of(call.caller, request)
    data = ended.data | {
        "caller": request.caller.name,
        "circle": request.caller.circle,
        "attendant": request.attendant,
        "door": request.channel,
        "words": words,
        "reason": reason,
        "created": request.created,
        "trail": [_step(event) for event in trail[:_TRAIL]],
    }
    data.pop("code", None)  # looking at a failed request is no failed call
    if waiting:
        data["plan"] = waiting
    now = call.engine.progress(request.id) if request.state not in END else ""
    if now:
        data["progress"] = now
    steps = "\n".join(f"  {event.at} {event.kind}{_to(event)}" for event in trail[:_TRAIL])
    cut = f"\n  … {len(trail) - _TRAIL} more" if len(trail) > _TRAIL else ""
    state = "" if request.state not in END else f"{request.state.value}. "
    plan = "".join(f"{line}\n" for line in plan_lines(waiting))
    told = f"Now: {now}\n" if now else ""
    return Answer(f"{state}{ended.text}\n{told}{plan}{steps}{cut}", data, own=ended.own)


def _to(event: Event) -> str:
    return f" → {event.state}" if event.state else ""


def _step(event: Event) -> dict[str, Any]:
    return {"seq": event.seq, "at": event.at, "kind": event.kind, "state": event.state, "head": event.head}


async def _cancel(call: Call, given: RequestArguments) -> Answer:
    await call.service.limits.message(call.caller)
    request = await call.engine.cancel(call.caller, given.request_id)
    answer = of_request(request)
    return replace(answer, failed=False)  # that it ends as cancelled is what was asked for


class SearchArguments(Frozen):
    """What `search_audit` takes."""

    query: str = Field("", max_length=500, description="Words to find; empty for the newest events.")
    namespace: str | None = Field(None, max_length=63, description="Only events that touch this namespace.")
    peer: str | None = Field(None, max_length=64, description="Only events of this peer.")
    object: str | None = Field(None, max_length=300, description="Only this object, e.g. docs-live/deployment/docs.")
    since: str | None = Field(None, max_length=40, description="Not before this time, e.g. 2026-11-01T00:00:00Z.")
    until: str | None = Field(None, max_length=40, description="Not after this time.")
    limit: int = Field(20, ge=1, le=100, description="How many events at most, newest first.")


async def _search_audit(call: Call, given: SearchArguments) -> Answer:
    if not call.caller.reads_all and call.caller.circle is None:
        raise InfraError("policy-denied", "A caller without a circle has no events to search.")
    page = await call.engine.ledger.search(
        given.query,
        circle=None if call.caller.reads_all else call.caller.circle,
        peer=given.peer,
        namespace=given.namespace,
        object=given.object,
        since=given.since,
        until=given.until,
        limit=given.limit,
    )
    found = [unsaid(call.caller, event) for event in page.events]
    lines = [_line(event) for event in found]
    more = page.total - len(page.events)
    lines.append(f"{len(page.events)} of {page.total} events" + (f"; {more} older ones not shown" if more else ""))
    data = {"events": [_found(event) for event in found], "total": page.total, "not_shown": more}
    return Answer("\n".join(lines), data)


def _line(event: Event) -> str:
    said = f'"{event.text}"' if event.text else ""  # words of peers among them: one line, in quotes
    parts = [event.at, event.kind + _to(event), event.request or event.ask or "", event.peer or "", said]
    return "  ".join(" ".join(part.split()) for part in parts if part)[:400]


def _found(event: Event) -> dict[str, Any]:
    shown = event.model_dump(mode="json", exclude={"data", "circle"}, exclude_none=True)
    shown["text"] = event.text[:1000]
    return shown


TOOLS = (
    Tool(
        name="get_request",
        title="Look at a request",
        description=(
            "Use this to see where a request stands, from its first word to its end, with receipt and trail. Shows only"
            " requests of the caller's circle."
        ),
        arguments=RequestArguments,
        answer=_get_request,
        read_only=True,
    ),
    approve.TOOL,
    Tool(
        name="cancel",
        title="Cancel a request",
        description="Use this to stop a request before its first write; after that the answer says it is too late.",
        arguments=RequestArguments,
        answer=_cancel,
        read_only=False,
        recorded=True,
    ),
    Tool(
        name="search_audit",
        title="Search the ledger",
        description=(
            "Use this to find who asked for what and what came of it, by words, peer, namespace, object or time."
            " Returns the newest events of the caller's circle and how many more there are."
        ),
        arguments=SearchArguments,
        answer=_search_audit,
        read_only=True,
    ),
)
