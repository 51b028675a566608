"""Whether the approvals of a request meet what the rules require. Pure; anything unclear counts as no."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from infra_mcp.model.approval import Approval, Need, Verdict
from infra_mcp.model.peer import Caller

BY_MERGE = "merge"
_STRENGTHS = {"same-user": 0, "token": 1}


def satisfied(verdict: Verdict, digest: str, requester: Caller, approvals: Sequence[Approval], now: datetime) -> bool:
    """Whether a plan may go on; not asked after the first write, which uses up the approvals.

    For each rule count approvals of this effect, not used and not expired, by different people other than the requester
    who authenticated strongly enough; where a rule wants several, only operators whom others confirmed. Operators have
    no circle, so one with the requester's name counts as the requester. One denial of this effect is a no.

    Args:
        verdict: the verdict of `judge` on the plan now.
        digest: the plan's effect digest now.
        requester: the requester; for an attended ask, the asker.
        approvals: the decisions about the request.
        now: the present, with its offset.
    """
    return not missing(verdict, digest, requester, approvals, now)


def missing(verdict: Verdict, digest: str, requester: Caller, approvals: Sequence[Approval], now: datetime) -> str:
    """What is still missing, as text; empty when nothing is. Arguments as for `satisfied`."""
    if verdict.decision == "allow":
        return ""
    if verdict.decision == "refuse" or not verdict.needs:
        return f"{verdict.rule} refuses it, so no approval helps"
    if any(one.effect_digest == digest and not one.approve for one in approvals):
        return "it was denied"
    lacks = []
    for need in verdict.needs:
        there = _given(need, digest, requester, approvals, now)
        if len(there) < need.approvals:
            why = {
                one.approver: _against(one, need, requester, now) for one in approvals if one.effect_digest == digest
            }
            lost = ", ".join(f"{who}'s does not count: {why[who]}" for who in sorted(why.keys() - there) if why[who])
            lacks.append(f"{need.rule} has {len(there)} of {in_words(need)}" + (f" ({lost})" if lost else ""))
    return "; ".join(lacks)


def before_merge(verdict: Verdict) -> Verdict:
    """The verdict without what the merge of its pull request is to approve."""
    needs = tuple(need for need in verdict.needs if need.by != BY_MERGE)
    if len(needs) == len(verdict.needs):
        return verdict
    return verdict.model_copy(update={"needs": needs, "decision": "needs-approval" if needs else "allow"})


def of_merge(verdict: Verdict) -> tuple[str, ...]:
    """The rules that want the merge of its pull request as approval."""
    return tuple(need.rule for need in verdict.needs if need.by == BY_MERGE)


def in_words(need: Need) -> str:
    """What a rule requires, as text: `2 approvals by different operators known by a token`."""
    if need.by == BY_MERGE:
        return "1 merge by an operator"
    many = "1 approval by an operator" if need.approvals == 1 else f"{need.approvals} approvals by different operators"
    return many + (" known by a token" if need.strength == "token" else "")


def approval_timeout(verdict: Verdict) -> float:
    """How many seconds a request waits for its approvals: the shortest time of its rules."""
    return min((need.seconds for need in verdict.needs), default=0.0)


def _given(need: Need, digest: str, requester: Caller, approvals: Sequence[Approval], now: datetime) -> set[str]:
    """The people whose approvals count for a rule."""
    if need.by != "operator":
        return set()
    given = [one for one in approvals if one.approve and one.effect_digest == digest]
    return {one.approver for one in given if not _against(one, need, requester, now)}


def _against(approval: Approval, need: Need, requester: Caller, now: datetime) -> str:
    """Why an approval of the right effect does not count for a rule; empty when it does."""
    if approval.approver == requester.name:
        return "requesters cannot approve their own request"
    if approval.gone:
        return "no longer an operator"
    if _STRENGTHS[approval.strength] < _STRENGTHS[need.strength]:
        return "not authenticated strongly enough"
    if need.approvals > 1 and not approval.vouched:
        return "others must confirm this operator first"
    # Also by the current rule, which may be stricter than at the time of the approval.
    given, until = datetime.fromisoformat(approval.at), datetime.fromisoformat(approval.expires)
    if now >= min(until, given + timedelta(seconds=need.seconds)):
        return "expired"
    return "used already" if approval.used is not None else ""
