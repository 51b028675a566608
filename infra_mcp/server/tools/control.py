"""Control tools: look at a request, have a person approve it, cancel it, search the ledger, and see what exists."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from pydantic import Field

from infra_mcp.errors import InfraError
from infra_mcp.ledger.records import Event
from infra_mcp.model.names import AppName, DnsLabel, Frozen, ZoneName
from infra_mcp.model.request import END, State
from infra_mcp.server.answers import Answer, facts, of_request, plan_lines, scope, unsaid
from infra_mcp.server.tools import approve
from infra_mcp.server.tools.call import Call
from infra_mcp.server.tools.tool import Effects, tool

_MAX_EVENTS = 100  # of a request's trail
_MAX_APPS = 50  # instances in one answer


class RequestArguments(Frozen):
    """What `get_request` and `cancel` take."""

    request_id: str = Field(max_length=64, description="The id of a request, e.g. req-0123456789ab.")


@tool("Look at a request", Effects.READS)
async def _get_request(call: Call, given: RequestArguments) -> Answer:
    """Use this to see where a request stands, from its first word to its end, with receipt and trail. Shows only
    requests of the caller's circle.
    """
    return await look_at_request(call, given.request_id)


async def look_at_request(call: Call, request_id: str) -> Answer:
    """A request of the caller's scope, with receipt and trail, and with its plan while it waits for an approval.

    Raises:
        InfraError: `not-found`, with the same message for another circle's.
    """
    request = await call.engine.get(call.caller, request_id)
    if request is None:
        raise InfraError("not-found", "There is no such request, or not for this caller.")
    answer = of_request(request, attended=call.caller.attendant)
    trail = await call.engine.ledger.trail(request.id)
    plan = approve.planned(trail, request.effect_digest) if request.state is State.AWAITING_APPROVAL else {}
    now = call.engine.progress(request.id) if request.state not in END else ""
    shown, cut = trail[:_MAX_EVENTS], len(trail) - _MAX_EVENTS
    data = answer.data | (await facts(call.engine.ledger, call.caller, request))[0]
    data["trail"] = [event.model_dump(include={"seq", "at", "kind", "state", "head"}) for event in shown]
    data |= ({"plan": plan} if plan else {}) | ({"progress": now} if now else {})
    data.pop("code", None)  # looking at a failed request is no failed call
    lines = [f"{request.state.value}. {answer.text}" if request.state in END else answer.text]
    lines += [f"Now: {now}"] if now else []
    lines += [f"It was rolled back by {data['rolled_back_by']}."] if "rolled_back_by" in data else []
    lines += [*plan_lines(plan), *(f"  {event.at} {_kind(event)}" for event in shown)]
    lines += [f"  … {cut} more"] if cut > 0 else []
    return Answer("\n".join(lines), data, own=answer.own)


def _kind(event: Event) -> str:
    return f"{event.kind} → {event.state}" if event.state else event.kind


@tool("Cancel a request", Effects.RECORDS)
async def _cancel(call: Call, given: RequestArguments) -> Answer:
    """Use this to stop a request before its first write; after that the answer says it is too late."""
    await call.service.limits.message(call.caller)
    answer = of_request(await call.engine.cancel(call.caller, given.request_id))
    return replace(answer, failed=False)  # the caller asked for this end


class SearchArguments(Frozen):
    """What `search_audit` takes."""

    query: str = Field("", max_length=500, description="Words to find; empty for the newest events.")
    namespace: str | None = Field(None, max_length=63, description="Events that touch it.")
    peer: str | None = Field(None, max_length=64, description="Events of it.")
    object: str | None = Field(None, max_length=300, description="e.g. docs-live/deployment/docs")
    sponsor: str | None = Field(None, max_length=200, description="Who answers for the token.")
    since: str | None = Field(None, max_length=40, description="Not before this time, e.g. 2026-11-01T00:00:00Z.")
    until: str | None = Field(None, max_length=40, description="Not after this time.")
    limit: int = Field(20, ge=1, le=100, description="How many events at most, newest first.")


@tool("Search the ledger", Effects.READS)
async def _search_audit(call: Call, given: SearchArguments) -> Answer:
    """Use this to find who asked for what and what came of it, by words, peer, namespace, object or time. Returns the
    newest events of the caller's circle and how many more there are.
    """
    circle = scope(call.caller)
    page = await call.engine.ledger.search(given.query, circle=circle, **given.model_dump(exclude={"query"}))
    found = [unsaid(call.caller, event) for event in page.events]
    more = page.total - len(found)
    count = f"{len(found)} of {page.total} events" + (f"; {more} older ones not shown" if more else "")
    events = [event.model_dump(mode="json", exclude={"data", "circle"}, exclude_none=True) for event in found]
    events = [event | {"text": event["text"][:1000]} for event in events]
    data = {"events": events, "total": page.total, "not_shown": more}
    return Answer("\n".join([*map(_line, found), count]), data)


def _line(event: Event) -> str:
    text = f'"{event.text}"' if event.text else ""  # texts of peers among them: one line, in quotes
    parts = [event.at, _kind(event), event.request or event.ask or "", event.peer or "", text]
    return "  ".join(" ".join(part.split()) for part in parts if part)[:400]


class StatusArguments(Frozen):
    """What `status` takes."""

    namespace: DnsLabel | None = Field(None, description="Only this namespace.")
    app: AppName | None = Field(None, description="Only this app of the catalogue.")
    place: ZoneName | None = Field(None, description="Only this DNS zone or Terraform workspace.")


@tool("See what is there", Effects.READS)
async def _status(call: Call, given: StatusArguments) -> Answer:
    """Use this to see the caller's namespaces and apps as they are now: health, drift between git and cluster, rotated
    pull secrets, and requests under way. Reads the cluster as the caller's circle.
    """
    return await look_at_status(call, namespace=given.namespace, app=given.app, place=given.place)


async def look_at_status(
    call: Call, *, namespace: str | None = None, app: str | None = None, place: str | None = None
) -> Answer:
    """The namespaces and apps that the caller may see.

    Raises:
        InfraError: `not-found`, with the same message for another circle's; `cluster-unreachable`.
    """
    data = await call.engine.status(call.caller, namespace=namespace, app=app, place=place)
    return Answer(_lines(data), data)


def _lines(data: dict[str, Any]) -> str:
    lines: list[str] = []
    for key, value in data.items():
        if isinstance(value, list):
            lines.append(f"{key}: {len(value)}")
            lines.extend(f"  {_flat(item)}" for item in value)
        else:
            lines.append(f"{key}: {_flat(value)}")
    return "\n".join(lines)


def _flat(item: object) -> str:
    if not isinstance(item, dict):
        return str(item)
    return ", ".join(
        f"{key} {value if isinstance(value, str | int | float) else json.dumps(value, default=str)}"
        for key, value in item.items()
        if value not in (None, "", [], {})
    )


class AppsArguments(Frozen):
    """What `apps` takes."""

    app: AppName | None = Field(None, description="Only this app.")


@tool("List apps", Effects.READS)
async def _apps(call: Call, given: AppsArguments) -> Answer:
    """Use this to see your apps in the repository: environments, versions, delivery, live state."""
    found = await call.engine.apps(call.caller, given.app)
    data = {"apps": found[:_MAX_APPS]} | ({"more": len(found) - _MAX_APPS} if len(found) > _MAX_APPS else {})
    return Answer(_lines(data), data)


TOOLS = (_get_request, approve.TOOL, _cancel, _search_audit, _status, _apps)
