"""The `approve` tool: puts a parked change before the person of the session, and hands on what the person says.

The model that calls it cannot answer: the tool takes an id and no more, and the answer comes from the host's own form.
Where the host has none, nothing is decided, and the result names the command a person can type instead.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from pydantic import Field

from infra_mcp.errors import InfraError
from infra_mcp.model.names import Frozen
from infra_mcp.model.request import State
from infra_mcp.server.answers import Answer, of_request, parked, plan_lines
from infra_mcp.server.elicitation import Elicited
from infra_mcp.server.tools.tool import Call, Progress, Tool, until
from infra_mcp.text import harmless

if TYPE_CHECKING:
    from infra_mcp.ledger.records import Event
    from infra_mcp.model.request import Request
    from infra_mcp.server.elicitation import Person

_LONGEST = 6_000  # characters of the question; a person reads it in a dialog
_WORDS = 600  # characters shown of what a peer wrote
_LINE = 300  # characters of one change, and of the arguments
_SIGN = 1.0  # seconds between two signs of life while the person thinks


class ApproveArguments(Frozen):
    """What `approve` takes. The decision is not among it."""

    request_id: str = Field(max_length=64, description="The id of a request that waits for an approval.")


async def _approve(call: Call, given: ApproveArguments) -> Answer:
    await call.service.limits.message(call.caller)
    if not (call.caller.operator or call.caller.attendant):
        what = "Only an operator, or the person of a session that attends as infra, approves."
        raise InfraError("policy-denied", what, rule="approve")
    request = await call.engine.get(call.caller, given.request_id)
    if request is None:
        raise InfraError("not-found", "There is no such request, or not for this caller.")
    if request.state is not State.AWAITING_APPROVAL or request.effect_digest is None:
        what = f"{request.id} waits for no approval: it is {request.state.value}."
        raise InfraError("approval-mismatch", what, next_step=f'get_request("{request.id}") shows how far it is.')
    if call.person is None or not call.person.reachable:
        return parked(request)
    digest = request.effect_digest
    shown = question(request, await call.engine.ledger.trail(request.id))
    reply = await _reply(call, call.person, call.engine.masker.mask(shown))
    if not isinstance(reply, Elicited):
        return Answer("", asks=reply)
    if reply is Elicited.NOTHING:
        return parked(request, "Nobody decided. ")
    await call.still_known()
    decided = await call.engine.approve(
        call.caller, request.id, digest, approve=reply is Elicited.YES, way="elicitation"
    )
    answer = of_request(decided)
    said = "Approved" if reply is Elicited.YES else "Denied"
    # That a denied request ends as it does is what was asked for: no failure.
    return Answer(f"{said} by the person asked. {answer.text}", answer.data | {"approved": reply is Elicited.YES})


async def _reply(call: Call, person: Person, shown: str) -> Any:  # noqa: ANN401 - a Reply, or the SDK's own result
    """The person's answer; with signs of life meanwhile, and no answer when the server stops first."""
    beside = [] if call.progress is None else [partial(_signs, call.progress)]
    reply = await until(call.service.stopping, partial(person.ask, shown), *beside)
    return Elicited.NOTHING if reply is None else reply


async def _signs(progress: Progress) -> None:
    started = anyio.current_time()
    while True:
        await anyio.sleep(_SIGN)
        await progress(anyio.current_time() - started, "waiting for the person's decision")


def planned(trail: list[Event], digest: str | None) -> dict[str, Any]:
    """The newest plan with this effect in a request's trail; empty where there is none."""
    for event in reversed(trail):
        for data in (event.data, event.data.get("plan")):
            if isinstance(data, dict) and "objects" in data and data.get("effect_digest") == digest:
                return data
    return {}


def question(request: Request, trail: list[Event]) -> str:
    """What the person reads: who wants what, what it does, and that words of peers are not ours.

    What decides comes first: each object and file, and whose fields are taken over. What a peer can make long comes
    after it, each line bounded, and the peer's words last. The same as long as the effect is, so that an answer can be
    told from one to something else.
    """
    who = f"{request.caller.name} (circle {request.caller.circle})"
    action = request.action.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    plan = planned(trail, request.effect_digest)
    objects = plan.get("objects", ())
    head = [
        f"Approve this change to the infrastructure? {request.id}, asked by {who}"
        + (f", worked on by {request.attendant}." if request.attendant else "."),
        f"What: {request.action.action} {_cut(json.dumps(action, ensure_ascii=False, sort_keys=True), _LINE)}",
        f"Effect: {request.effect_digest}",
        *_needs(trail),
        *plan_lines(plan | {"objects": [one | {"changes": ()} for one in objects]}),
    ]
    details = [f"{one['object']}: {change}" for one in objects for change in one["changes"]]
    said = []
    for name, text in (("words", request.words), ("reason", request.reason)):
        if text:
            more = f" (and {len(text) - _WORDS} characters more)" if len(text) > _WORDS else ""
            quoted = json.dumps(text[:_WORDS], ensure_ascii=False) + more
            said.append(harmless(f"The asker's {name}, quoted; they decide nothing: {quoted}"))
    lines = _fitting([harmless(_cut(line, _WORDS)) for line in head], _LONGEST - sum(map(len, said)))
    room = _LONGEST - sum(len(line) + 1 for line in (*lines, *said))
    return "\n".join([*lines, *_fitting([harmless(_cut(line, _LINE)) for line in details], room), *said])


def _fitting(lines: list[str], room: int) -> list[str]:
    """As many lines as there is room for, in characters, with a count of those that are left out."""
    for kept, line in enumerate(lines):
        room -= len(line) + 1
        if room < 0:
            return [*lines[:kept], f"… {len(lines) - kept} more lines cut; get_request shows all of it."]
    return lines


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most} more)"


def _needs(trail: list[Event]) -> list[str]:
    """Which rules want how many, and until when; from the event that parked it last."""
    data = next((event.data for event in reversed(trail) if event.data.get("needs")), {})
    lines = [
        f"Rule {need.get('rule')} wants {need.get('approvals', 1)} by {need.get('by', 'operator')}"
        for need in data.get("needs", ())
    ]
    return lines + ([f"It waits until {data['until']}."] if data.get("until") else [])


TOOL = Tool(
    name="approve",
    title="Have a person decide",
    description=(
        "Use this when a request waits for an approval: the person of this session is asked, with the plan before them,"
        " and decides. Takes no decision itself. Where the host cannot ask, nothing is decided and the result names the"
        " command for a person."
    ),
    arguments=ApproveArguments,
    answer=_approve,
    read_only=False,
    destructive=True,
    open_world=True,
    recorded=True,
    people=True,
)
