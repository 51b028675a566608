"""Answers: a short text and the same as data, bounded, with counts of the cuts; and the views of requests in them.

Tools declare no output schema: one of the receipt costs some 600 bytes in each tool, in every session, and tells a
model no more than the names of the fields do; and clients that check results against it would refuse fields of cut
answers, of failures and of newer servers. Programs have `state`, `code` and `exit`, which are stable.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from infra_mcp.codes import CODES, Exit
from infra_mcp.errors import InfraError
from infra_mcp.model.actions import Rollback
from infra_mcp.model.outcome import exit_for
from infra_mcp.model.request import AT_THE_FORGE, END, Request, State
from infra_mcp.text import clip

if TYPE_CHECKING:
    from mcp.types import InputRequiredResult

    from infra_mcp.ledger.records import Event
    from infra_mcp.ledger.store import Ledger
    from infra_mcp.model.peer import Caller

MAXIMUM = 19_000  # bytes of an answer's text, and of its data as JSON; at 4 bytes a token both are below 10k tokens
_NOTE = 40  # bytes for a note of the cut
_STEPS = ((4000, 100), (1000, 20), (200, 10), (80, 3))  # bytes of a text and items of a list, until all of it fits
_MIN_FIELDS = 30  # of an object, kept in any case
_MAX_EVENTS = 2_000  # the newest events about an object, searched for their requests
_GOOD = frozenset(state for state in END if exit_for(state) is Exit.LANDED)


@dataclass(frozen=True)
class Answer:
    """The answer to one call. `text` and `data` are each complete without the other."""

    text: str
    data: dict[str, Any] = field(default_factory=dict)
    failed: bool = False
    asks: InputRequiredResult | None = None  # instead of all that: a question the client must answer first
    own: str = ""  # names and values that the caller sent and gets back unmasked, even where they equal a secret


def of_error(error: InfraError) -> Answer:
    """A failure: stable code, what is wrong, what to do next."""
    return Answer(str(error), error.as_dict() | {"exit": int(error.exit)}, failed=True)


def of_request(request: Request, *, attended: bool = False) -> Answer:
    """A request: its receipt when it ended, else its state and how to ask again.

    With `attended` the caller is the session of a person who may approve.
    """
    return replace(_of_request(request, attended), own=own(request))


def own(request: Request) -> str:
    """The names and values of a request that an answer may repeat unmasked."""
    return f"{request.action.model_dump_json()}\n{request.idempotency_key}"


def _of_request(request: Request, attended: bool) -> Answer:
    if request.state is State.AWAITING_APPROVAL:
        answer = parked(request)
        if not attended:
            return answer
        step = f'approve("{request.id}") puts it before the person of this session.'
        return replace(answer, text=f"{answer.text} Here: {step}", data=answer.data | {"next": step})
    data = receipt_fields(request)
    if request.state in AT_THE_FORGE:
        return at_the_forge(request, data)
    if request.state not in END:
        goes_on = "it begins when its schedule opens" if request.state is State.SCHEDULED else "it goes on"
        proposal = data.get("proposal") or {}
        goes_on = f"{proposal['url']} was merged, and {goes_on}" if proposal.get("merged") else goes_on
        text = (
            f"{request.id} is {request.state.value}; {goes_on}. "
            f'Next: get_request("{request.id}") shows how far it is; '
            f'cancel("{request.id}") stops it before its first write.'
        )
        return Answer(text, data)
    text, good = data["message"], request.state in _GOOD
    if not good:
        error = data.get("error") or {}
        code = error.get("code", "")
        advice = CODES[code].next_step if code in CODES else "See get_request."
        data |= {
            "code": code or request.state.value,
            "what": error.get("what", text),
            "next": error.get("next", advice),
        }
        text = f"{data['code']}: {text} Next: {data['next']}"
    digests = (("effect_digest", "effect"), ("commit", "commit"), ("revert", "revert"), ("audit_head", "audit head"))
    trace = [f"request {request.id}", *(f"{name} {data[key]}" for key, name in digests if data.get(key))]
    return Answer("\n".join([text, *plan_lines(data.get("plan") or {}), ", ".join(trace)]), data, failed=not good)


def parked(request: Request, first: str = "") -> Answer:
    """A request that waits for an approval, which is no failure, with the command for a person, after a sentence."""
    command = f"infra-mcp approve {request.id} {request.effect_digest}"
    what = f"{first}{request.id} waits for an approval."
    error = InfraError("needs-approval", what, next_step=f"A person types: {command}")
    from infra_mcp.engine.approvals import waiting_for  # noqa: PLC0415 - no command without a server needs the drivers

    waiting = waiting_for(request)
    until = {"until": waiting.until} if waiting else {}
    return Answer(str(error), receipt_fields(request) | until | error.as_dict() | {"exit": int(Exit.WAITING)})


def at_the_forge(request: Request, data: dict[str, Any]) -> Answer:
    """A request whose pull request waits for people, which is no failure."""
    reverts = request.state is State.REVERTING
    proposal = request.record.get("reversal" if reverts else "proposal") or {}
    url = str(proposal.get("url", ""))
    if not reverts and proposal.get("merged"):
        return Answer(f"{request.id}: {url} was merged, and it goes on.", data | {"url": url})
    what = "It did not land: merge the pull request that takes it back" if reverts else "It waits for people to merge"
    text = (
        f"{request.id} is {request.state.value}. {what}: {url}. "
        f'Next: get_request("{request.id}") shows how far it is'
        + ("." if reverts else f'; cancel("{request.id}") closes the pull request.')
    )
    return Answer(text, data | {"url": url})


def plan_lines(plan: dict[str, Any]) -> list[str]:
    """A plan for people: totals, each object with its changes and the fields it takes over, files, drift."""
    lines = _totals(plan.get("blast_radius") or {})
    for one in plan.get("objects", ()):
        lines.append(f"{one['operation']} {one['object']} ({one['checked']})")
        lines += [f"  {change}" for change in one["changes"]]
        lines += [f"  takes over {taken}" for taken in one["adopts"]]
        lines += [f"  guardrail {found}" for found in one.get("guardrails", ())]
    lines += [f"{file['operation']} {file['path']}" for file in plan.get("files", ())]
    lines += [f"left alone: {drift}" for drift in plan.get("drift", ())]
    return lines + [f"note: {note}" for note in plan.get("notes", ())]


def _totals(radius: dict[str, Any]) -> list[str]:
    parts = [
        f"{radius[operation]} to {operation}" for operation in ("create", "update", "delete") if radius.get(operation)
    ]
    for key, relation in (("namespaces", "in"), ("adopted_from", "taking over fields from")):
        if radius.get(key):
            parts.append(f"{relation} {', '.join(radius[key])}")
    return [f"in all: {', '.join(parts)}"] if parts else []


def receipt_fields(request: Request) -> dict[str, Any]:
    """A request as data: always id, state and exit code, and the receipt's fields once there is one."""
    receipt = request.receipt or {}
    error = receipt.get("error") or {}
    data: dict[str, Any] = {
        "request": request.id,
        "state": request.state.value,
        "action": request.action.action,
        "message": receipt.get("message", ""),
        "effect_digest": receipt.get("effect_digest", request.effect_digest),
        "commit": receipt.get("commit", request.commit),
        "revert": receipt.get("revert", request.revert),
        "audit_head": receipt.get("audit_head", ""),
        "objects": list(receipt.get("objects", ())),
        "exit": int(exit_for(request.state.value, error.get("code"))),
    }
    if proposal := request.record.get("proposal"):
        data["proposal"] = {key: proposal.get(key) for key in ("url", "number", "merged", "merged_by")}
    data |= sponsors_of(request)
    return data | {key: receipt[key] for key in ("error", "plan") if receipt.get(key)}


def sponsors_of(request: Request) -> dict[str, Any]:
    """Who answers for the token that a request came by, and the pipeline's identity, where they are known."""
    return request.caller.model_dump(include={"sponsor", "identity"}, exclude_none=True)


def scope(caller: Caller) -> str | None:
    """The circle whose requests a caller may see; None for all.

    Raises:
        InfraError: `policy-denied`, for a caller who may see none.
    """
    if not caller.reads_all and caller.circle is None:
        raise InfraError("policy-denied", "A caller without a circle sees no requests and no events.")
    return None if caller.reads_all else caller.circle


def _sent(caller: Caller, name: str | None, circle: str | None) -> bool:
    """Whether a caller is the sender: masked, its own texts would tell it whether a guess equals a secret."""
    return not caller.reads_all and (caller.name, caller.circle) == (name, circle)


def unsaid(caller: Caller, event: Event) -> Event:
    """An event as its reader may see it: without the reader's own texts."""
    if not _sent(caller, event.peer, event.circle) or (event.state is not None and event.kind != "received"):
        return event
    data = {key: value for key, value in event.data.items() if key not in {"reason", "ask", "reply", "what"}}
    return event.model_copy(update={"text": "", "data": data})


async def facts(ledger: Ledger, caller: Caller, *requests: Request) -> list[dict[str, Any]]:
    """The facts of each request, with the one that rolled it back, if any."""
    by = await ledger.rolled_back_by(request.id for request in requests)
    listed = [_facts(request, caller) for request in requests]
    return [one | ({"rolled_back_by": by[one["request"]]} if one["request"] in by else {}) for one in listed]


def _facts(request: Request, caller: Caller) -> dict[str, Any]:
    """Who asked for what, when, by which channel, and what came of it; of the caller's own texts, only a sentence."""
    words, reason = request.words, request.reason
    if _sent(caller, request.caller.name, request.caller.circle):  # a sentence has only names that it may know
        words, reason = (words if request.channel == "ask" and not reason else ""), ""
    data = receipt_fields(request) | {
        "caller": request.caller.name,
        "circle": request.caller.circle,
        "strength": request.caller.strength,
        "door": request.channel,
        "attendant": request.attendant,
        "created": request.created,
        "words": words,
        "reason": reason,
    }
    data.pop("plan", None)
    return data | ({"rolls_back": request.action.request} if isinstance(request.action, Rollback) else {})


async def request_trail(ledger: Ledger, caller: Caller, request_id: str) -> dict[str, Any]:
    """A request with all its events.

    Raises:
        InfraError: `not-found`, with the same message for another circle's.
    """
    found = await ledger.request(request_id)
    circle = scope(caller)
    if found is None or (circle is not None and found.caller.circle != circle):
        raise InfraError("not-found", "There is no such request, or not for this caller.")
    events = [
        unsaid(caller, event).model_dump(mode="json", exclude_none=True) for event in await ledger.trail(found.id)
    ]
    return (await facts(ledger, caller, found))[0] | {"events": events}


async def object_trail(ledger: Ledger, caller: Caller, name: str, limit: int) -> dict[str, Any]:
    """The newest requests about an object, such as `NAMESPACE/KIND/NAME`, refused and failed ones too.

    `not_shown` counts the others among the newest events.
    """
    events = await ledger.trail_of(name, circle=scope(caller), limit=_MAX_EVENTS)
    found = dict.fromkeys(event.request for event in reversed(events) if event.request)
    requests = [one for request_id in list(found)[:limit] if (one := await ledger.request(request_id)) is not None]
    shown = await facts(ledger, caller, *requests)
    return {"object": name, "requests": shown, "not_shown": len(found) - len(requests)}


def bounded(answer: Answer) -> Answer:
    """The answer within its bounds, with a note of each cut. A text that is the data as JSON stays so."""
    data = answer.data
    for string, items in _STEPS:
        if len(as_json(data).encode()) <= MAXIMUM:
            break
        data = _shrunk(answer.data, string, items)
    if len(as_json(data).encode()) > MAXIMUM:  # nested without end: only the plain values at the top
        plain = {key: value for key, value in data.items() if isinstance(value, str | int | float | bool)}
        data = plain | {"…": f"{len(data) - len(plain)} more cut"}
    if data is not answer.data and answer.text == as_json(answer.data):
        return replace(answer, text=as_json(data), data=data)
    return replace(answer, text=_clip(answer.text, MAXIMUM - _NOTE), data=data)


def as_json(data: dict[str, Any]) -> str:
    """Data as the text of an answer."""
    return json.dumps(data, ensure_ascii=False)


def _clip(text: str, most: int) -> str:
    """At most so many bytes of a text, and how many characters were cut."""
    kept, cut = clip(text, most)
    return f"{kept}… ({cut} characters cut)" if cut else text


def _shrunk(value: Any, string: int, items: int) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        return _clip(value, string)
    if isinstance(value, list | tuple):
        kept = [_shrunk(item, string, items) for item in value[:items]]
        return [*kept, f"… {len(value) - items} more cut"] if len(value) > items else kept
    if isinstance(value, dict):
        most = max(items, _MIN_FIELDS)
        shown = {_clip(str(key), string): _shrunk(item, string, items) for key, item in list(value.items())[:most]}
        return shown | {"…": f"{len(value) - most} more cut"} if len(value) > most else shown
    return value
