"""Requests that must wait: for the time of a release, or for people. The event first, then nobody works on them."""

from __future__ import annotations

from infra_mcp.engine import report
from infra_mcp.engine.approvals import carried, wait_for
from infra_mcp.engine.dependencies import Dependencies
from infra_mcp.engine.releases import hold, overtaken_by
from infra_mcp.engine.run import Run
from infra_mcp.errors import InfraError
from infra_mcp.model.approval import Verdict
from infra_mcp.model.request import State
from infra_mcp.policy.approvals import missing


async def park_if_not_due(deps: Dependencies, run: Run) -> bool:
    """Whether a release that has not begun must wait for its time; if so it is parked.

    Looked at with its objects' locks held, since another one may have landed while it waited for them.

    Raises:
        InfraError: `superseded`, when a newer version landed or is on its way by now.
    """
    request = run.request
    if request.notify is None or run.begun:
        return False
    policy = deps.policy()
    if newer := await overtaken_by(deps.ledger, policy, request):
        raise InfraError("superseded", f"{newer} took its place before it began.")
    found = hold(policy, request, deps.now())
    if found is not None:
        data = found.shown() | {"message": f"It waits until {found.words}."}
        await deps.ledger.record(request.id, State.SCHEDULED, "held", data, record=run.record.kept())
        return True
    if request.state is State.SCHEDULED:
        await deps.ledger.record(request.id, State.QUEUED, "due", {}, record=run.record.kept())
        run.request = request.model_copy(update={"state": State.QUEUED})
    return False


async def park_if_unapproved(deps: Dependencies, run: Run, verdict: Verdict) -> bool:
    """Whether a plan that has not begun must wait for people; if so it is parked with what they need to decide."""
    run.approved = False
    if verdict.decision == "allow":
        return False
    request, effect, now = run.request, run.plan.effect.digest, deps.now()
    if await carried(deps.ledger, request, verdict, effect, now):
        run.approved = True
        return False
    before = run.record.awaiting
    waiting = wait_for(verdict, effect, before, now)
    lacks = missing(verdict, effect, request.caller, await deps.ledger.approvals.of(request.id), now)
    moved = before is not None and before.digest != effect
    first = f"What it would do is no longer what was shown as {before.digest}. " if before and moved else ""
    data = {
        "effect_digest": effect,
        "plan": report.shown_plan(run.plan),
        "needs": [need.model_dump(mode="json") for need in verdict.needs],
        "rule": verdict.rule,
        "missing": lacks,
        "until": waiting.until,
        "message": f"{first}It waits for an approval of {effect} until {waiting.until}: {lacks}.",
    }
    run.record = run.record.update(awaiting=waiting)
    record = run.record.kept()
    await deps.ledger.record(
        request.id, State.AWAITING_APPROVAL, "approval-needed", data, record=record, effect_digest=effect
    )
    return True
