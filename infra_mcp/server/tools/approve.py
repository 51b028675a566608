"""The `approve` tool: asks the person of the session to decide a parked change, and passes the decision on.

The model that calls it cannot answer: the tool takes an id and no more, and the answer comes from the host's own form.

In the era of 2026-07-28 the question is the call's result, and the client calls again with the answer and a state that
the SDK has sealed; in the one before, the question is sent while the call waits. `mcp.server.mcpserver.resolve` does
both for parameters of the SDK's own tools. Our tools are not those, so its parts are used one by one (mcp 2.3), and a
test fails when they are no longer there or work otherwise.
"""

from __future__ import annotations

import json
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from mcp.server.mcpserver import resolve
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp.types import InputRequiredResult
from pydantic import BaseModel, ConfigDict, Field

from infra_mcp.errors import InfraError
from infra_mcp.model.approval import Decided
from infra_mcp.model.names import Frozen
from infra_mcp.model.request import State
from infra_mcp.server.answers import Answer, of_request, parked, plan_lines
from infra_mcp.server.tools.call import Call, Progress, until
from infra_mcp.server.tools.tool import Audience, Effects, tool
from infra_mcp.text import harmless

if TYPE_CHECKING:
    from mcp.server.mcpserver import Context

    from infra_mcp.ledger.records import Event
    from infra_mcp.model.request import Request

_MAX_QUESTION = 6_000  # characters; a person reads it in a dialog
_MAX_QUOTE = 600  # characters of a peer's text
_MAX_LINE = 300  # characters of one change, and of the arguments
_PROGRESS_EVERY = 1.0  # seconds


class Decision(BaseModel):
    """The form a person fills in; the model that called the tool does not, and sees it only as a result."""

    model_config = ConfigDict(extra="forbid", strict=True)

    approve: bool = Field(title="Approve", description="Yes: exactly this change, once. No: it is denied.")


class Elicited(Enum):
    """The person's answer."""

    YES = "yes"
    NO = "no"
    NOTHING = "nothing"  # closed the question, or sent no valid answer


class Elicitation:
    """Questions to the person behind one call's client."""

    def __init__(self, context: Context[Any, Any]) -> None:
        self._context = context

    @property
    def supported(self) -> bool:
        """Whether the client declares that it can show a form to a person."""
        declared = self._context.client_capabilities
        elicitation = declared.elicitation if declared is not None else None
        return elicitation is not None and (elicitation.form is not None or elicitation.url is None)

    async def ask(self, question: str) -> Elicited | InputRequiredResult:
        """Ask, and return the answer, or the result by which the client must ask.

        An answer counts only for the exact text that was asked: when the question has changed by the time the answer
        comes, it is asked again. Who the person is stays unknown: the client alone says that there is one.

        Args:
            question: the whole text, already masked, the same at each call while nothing has changed.
        """

        async def decision() -> resolve.Elicit[Decision]:
            return resolve.Elicit(question, Decision)

        wanted = {"decision": (resolve.Resolve(decision), True)}
        try:
            found = await resolve.resolve_arguments(
                wanted, resolve.build_resolver_plans(wanted, set()), {}, self._context
            )
        except (MCPError, ToolError):  # the client cannot ask after all, or sent no valid answer: no approval
            return Elicited.NOTHING
        if isinstance(found, InputRequiredResult):
            return found
        outcome = found["decision"]
        if isinstance(outcome, resolve.AcceptedElicitation):
            return Elicited.YES if outcome.data.approve is True else Elicited.NO
        return Elicited.NO if isinstance(outcome, resolve.DeclinedElicitation) else Elicited.NOTHING


class ApproveArguments(Frozen):
    """What `approve` takes: no decision."""

    request_id: str = Field(max_length=64, description="The id of a request that waits for an approval.")


@tool("Have a person decide", Effects.CHANGES, Audience.PEOPLE)
async def _approve(call: Call, given: ApproveArguments) -> Answer:
    """Use this when a request waits for an approval: the person of this session is asked, with the plan before them,
    and decides. Where the host cannot ask, the result names the command for a person.
    """
    await call.service.limits.message(call.caller)
    if not (call.caller.operator or call.caller.attendant):
        what = "Only an operator, or the person of a session that attends as infra, can approve."
        raise InfraError("policy-denied", what, rule="approve")
    request = await call.engine.get(call.caller, given.request_id)
    if request is None:
        raise InfraError("not-found", "There is no such request, or not for this caller.")
    if request.state is not State.AWAITING_APPROVAL or request.effect_digest is None:
        what = f"{request.id} is not waiting for approval: it is {request.state.value}."
        raise InfraError("approval-mismatch", what, next_step=f'get_request("{request.id}") shows how far it is.')
    if call.elicitation is None or not call.elicitation.supported:
        return parked(request)
    digest = request.effect_digest
    text = call.engine.masker.mask(question(request, await call.engine.ledger.trail(request.id)))
    # The client hears that the call is alive while the person thinks. A stop of the server counts as no decision.
    beside = [] if call.progress is None else [partial(_report_waiting, call.progress)]
    reply = await until(call.service.stopping, partial(call.elicitation.ask, text), *beside)
    if isinstance(reply, InputRequiredResult):
        return Answer("", asks=reply)
    if reply is None or reply is Elicited.NOTHING:
        return parked(request, "The person did not decide. ")
    await call.check_caller()
    approve = reply is Elicited.YES
    decided = Decided(approve=approve, way="elicitation")
    answer = of_request(await call.engine.approve(call.caller, request.id, digest, decided))
    # A denied request is no failed call: the person asked for this end.
    text = f"{'Approved' if approve else 'Denied'} by the person of this session. {answer.text}"
    return Answer(text, answer.data | {"approved": approve})


async def _report_waiting(progress: Progress) -> None:
    started = anyio.current_time()
    while True:
        await anyio.sleep(_PROGRESS_EVERY)
        await progress(anyio.current_time() - started, "waiting for the person's decision")


def planned(trail: list[Event], digest: str | None) -> dict[str, Any]:
    """The newest plan with this effect in a request's trail; empty without one."""
    for event in reversed(trail):
        for data in (event.data, event.data.get("plan")):
            if isinstance(data, dict) and "objects" in data and data.get("effect_digest") == digest:
                return data
    return {}


def question(request: Request, trail: list[Event]) -> str:
    """The text that the person reads: who asks for what, and what it changes.

    The facts to decide by come first: each object and file, and whose fields are taken over. Lines that a peer can make
    long follow, each bounded, and quotes of the peer last. An unchanged effect gives the same text, so that an answer
    to another question is recognised.
    """
    who = f"{request.caller.name} (circle {request.caller.circle})"
    action = request.action.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    plan = planned(trail, request.effect_digest)
    objects = plan.get("objects", ())
    head = [
        f"Approve this change to the infrastructure? {request.id}, asked by {who}"
        + (f", worked on by {request.attendant}." if request.attendant else "."),
        f"What: {request.action.action} {_cut(json.dumps(action, ensure_ascii=False, sort_keys=True), _MAX_LINE)}",
        f"Effect: {request.effect_digest}",
        *_needs(trail),
        *plan_lines(plan | {"objects": [one | {"changes": ()} for one in objects]}),
    ]
    details = [f"{one['object']}: {change}" for one in objects for change in one["changes"]]
    quotes = []
    for name, text in (("words", request.words), ("reason", request.reason)):
        if text:
            more = f" (and {len(text) - _MAX_QUOTE} characters more)" if len(text) > _MAX_QUOTE else ""
            quote = json.dumps(text[:_MAX_QUOTE], ensure_ascii=False) + more
            quotes.append(harmless(f"The asker's {name}, quoted; they decide nothing: {quote}"))
    lines = _fitting([harmless(_cut(line, _MAX_QUOTE)) for line in head], _MAX_QUESTION - sum(map(len, quotes)))
    room = _MAX_QUESTION - sum(len(line) + 1 for line in (*lines, *quotes))
    return "\n".join([*lines, *_fitting([harmless(_cut(line, _MAX_LINE)) for line in details], room), *quotes])


def _fitting(lines: list[str], room: int) -> list[str]:
    """As many lines as there is room for, in characters, and how many are left out."""
    for kept, line in enumerate(lines):
        room -= len(line) + 1
        if room < 0:
            return [*lines[:kept], f"… {len(lines) - kept} more lines cut; get_request shows all of it."]
    return lines


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most} more)"


def _needs(trail: list[Event]) -> list[str]:
    """Which rules require how many approvals, and until when; from the event that parked it last."""
    data = next((event.data for event in reversed(trail) if event.data.get("needs")), {})
    lines = [
        f"Rule {need.get('rule')} wants {need.get('approvals', 1)} by {need.get('by', 'operator')}"
        for need in data.get("needs", ())
    ]
    return lines + ([f"It waits until {data['until']}."] if data.get("until") else [])


TOOL = _approve
