"""Requests that must wait: for the time of a release, or for people. The event first, then nobody works on them."""

from __future__ import annotations

from infra_mcp.engine import report
from infra_mcp.engine.approvals import Waiting, carried, waiting_for
from infra_mcp.engine.releases import hold, overtaken_by
from infra_mcp.engine.run import Run
from infra_mcp.engine.tools import Tools
from infra_mcp.errors import InfraError
from infra_mcp.model.plan import Verdict
from infra_mcp.model.request import State
from infra_mcp.policy.approvals import missing

__all__ = ["held", "unapproved"]


async def held(tools: Tools, run: Run) -> bool:
    """Whether a release that has not begun must wait for its time; if so it is parked.

    Looked at with its objects' locks held, since another one may have landed while it waited for them.

    Raises:
        InfraError: `superseded`, when a newer version landed or is on its way by now.
    """
    request = run.request
    if request.notify is None or run.begun:
        return False
    policy = tools.policy()
    if newer := await overtaken_by(tools.ledger, policy, request):
        raise InfraError("superseded", f"{newer} took its place before it began.")
    found = hold(policy, request, tools.now())
    if found is not None:
        data = found.shown() | {"message": f"It waits until {found.words}."}
        await tools.ledger.record(request.id, State.SCHEDULED, "held", data, record=run.memory)
        return True
    if request.state is State.SCHEDULED:
        await tools.ledger.record(request.id, State.QUEUED, "due", {}, record=run.memory)
        run.request = request.model_copy(update={"state": State.QUEUED})
    return False


async def unapproved(tools: Tools, run: Run, verdict: Verdict) -> bool:
    """Whether a plan that has not begun must wait for people; if so it is parked with what they need to decide."""
    run.approved = False
    if verdict.decision == "allow":
        return False
    request, (_, prepared) = run.request, run.planned
    effect, now = prepared.plan.effect.digest, tools.now()
    if await carried(tools.ledger, request, verdict, effect, now):
        run.approved = True
        return False
    before = waiting_for(run.memory)
    waiting = Waiting.now(verdict, effect, before, now)
    lacks = missing(verdict, effect, request.caller, await tools.ledger.approvals.of(request.id), now)
    moved = before is not None and before.digest != effect
    first = f"What it would do is no longer what was shown as {before.digest}. " if before and moved else ""
    data = {
        "effect_digest": effect,
        "plan": report.shown_plan(prepared.plan),
        "needs": [need.model_dump(mode="json") for need in verdict.needs],
        "rule": verdict.rule,
        "missing": lacks,
        "until": waiting.until,
        "message": f"{first}It waits for an approval of {effect} until {waiting.until}: {lacks}.",
    }
    record = run.remember(**waiting.kept())
    await tools.ledger.record(
        request.id, State.AWAITING_APPROVAL, "approval-needed", data, record=record, effect_digest=effect
    )
    return True
