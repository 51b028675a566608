"""Whether the approvals of a request meet what the rules require. Pure; anything unclear counts as no."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from infra_mcp.model.approval import SIGNED, Approval, Need, Reviewed, Verdict
from infra_mcp.model.peer import Caller

BY_MERGE, BY_REVIEW = "merge", "review"
AT_FORGE = frozenset({BY_MERGE, BY_REVIEW})  # approvals that people give at the pull request, which is open meanwhile
_HOW = {"same-user": "", "token": " known by a token", "signed": ", signed"}
_STRENGTHS = {"same-user": 0, "token": 1, "signed": 2}


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
        there = _given(verdict, need, digest, requester, approvals, now)
        if len(there) < need.approvals and not _bypassed(verdict, need, digest, requester, approvals, now):
            why = {
                one.approver: _against(one, verdict, need, requester, now)
                for one in approvals
                if one.effect_digest == digest
            }
            lost = ", ".join(f"{who}'s does not count: {why[who]}" for who in sorted(why.keys() - there) if why[who])
            lacks.append(f"{need.rule} has {len(there)} of {in_words(need)}" + (f" ({lost})" if lost else ""))
    return "; ".join(lacks)


def _bypassed(
    verdict: Verdict, need: Need, digest: str, requester: Caller, approvals: Sequence[Approval], now: datetime
) -> bool:
    """Whether one operator goes on without the others whom a rule wants, as it allows, and for as long as that."""
    alone = need.model_copy(update={"approvals": 1, "seconds": min(need.bypass, need.seconds)})
    said = [one for one in approvals if one.bypass]
    return need.bypass > 0 and bool(_given(verdict, alone, digest, requester, said, now))


def bypassable(verdict: Verdict) -> tuple[str, ...]:
    """The rules whose missing approvals one operator may bypass."""
    return tuple(need.rule for need in verdict.needs if need.bypass)


def before_merge(verdict: Verdict) -> Verdict:
    """The verdict without what people are to approve at its pull request."""
    needs = tuple(need for need in verdict.needs if need.by not in AT_FORGE)
    if len(needs) == len(verdict.needs):
        return verdict
    return verdict.model_copy(update={"needs": needs, "decision": "needs-approval" if needs else "allow"})


def at_forge(verdict: Verdict) -> tuple[Need, ...]:
    """What people are to approve at its pull request: by merging it, or by their reviews."""
    return tuple(need for need in verdict.needs if need.by in AT_FORGE)


def missing_reviews(
    need: Need,
    reviews: Sequence[Reviewed],
    operators: Mapping[str, str],
    requester: str,
    *,
    gone: Collection[str],
    uncounted: Collection[str],
) -> str:
    """What a rule lacks of the reviews that it wants, as text; empty when nothing.

    As with approvals, each counts once for an operator who did not ask, and one operator who asks for changes is a no.

    Args:
        need: by reviews.
        reviews: the last word of each reviewer.
        operators: by their accounts at the forge.
        requester: the name of who asked for the change.
        gone: operators that were removed.
        uncounted: operators who do not count where a rule wants several: others must confirm them first.
    """
    there, lost = set[str](), list[str]()
    for one in reviews:
        operator = operators.get(one.by, "")
        if operator and not one.approves:
            return f"{need.rule}: {operator} asks for changes"
        if operator in gone:
            why = "no longer an operator"
        elif need.approvals > 1 and operator in uncounted:
            why = "others must confirm this operator first"
        else:
            why = one.against or against_operator(one.by, operator, requester)
        if not why:
            there.add(operator)
        elif one.approves:
            lost.append(f"{one.by}'s does not count: {why}")
    if len(there) >= need.approvals:
        return ""
    return f"{need.rule} has {len(there)} of {in_words(need)}" + (f" ({'; '.join(lost)})" if lost else "")


def against_operator(account: str, operator: str, requester: str) -> str:
    """Why what an account does at the forge approves nothing, by who it is; empty where it may.

    Args:
        account: at the forge.
        operator: whose it is by policy; empty where policy does not say.
        requester: the name of who asked for the change.
    """
    if not operator:
        return f"forge.operators maps {account or 'an unnamed account'} to no operator"
    return f"{operator} asked for it" if operator == requester else ""


def in_words(need: Need) -> str:
    """What a rule requires, as text: `2 approvals by different operators known by a token`."""
    if need.by == BY_MERGE:
        return "1 merge by an operator"
    if need.by == BY_REVIEW:
        return "1 review by an operator" if need.approvals == 1 else f"{need.approvals} reviews by different operators"
    many = "1 approval by an operator" if need.approvals == 1 else f"{need.approvals} approvals by different operators"
    return many + _HOW[need.strength]


def approval_timeout(verdict: Verdict) -> float:
    """How many seconds a request waits for its approvals: the shortest time of its rules."""
    return min((need.seconds for need in verdict.needs), default=0.0)


def _given(
    verdict: Verdict, need: Need, digest: str, requester: Caller, approvals: Sequence[Approval], now: datetime
) -> set[str]:
    """The people whose approvals count for a rule."""
    if need.by != "operator":
        return set()
    given = [one for one in approvals if one.approve and one.effect_digest == digest]
    return {one.approver for one in given if not _against(one, verdict, need, requester, now)}


def _against(approval: Approval, verdict: Verdict, need: Need, requester: Caller, now: datetime) -> str:
    """Why an approval of the right effect does not count for a rule; empty when it does."""
    # Also by the current rule, which may be stricter than at the time of the approval.
    given, until = datetime.fromisoformat(approval.at), datetime.fromisoformat(approval.expires)
    unknown_key = approval.strength == SIGNED and approval.key not in verdict.signers.get(approval.approver, ())
    reasons = (
        (approval.approver == requester.name, "requesters cannot approve their own request"),
        (approval.gone, "no longer an operator"),
        (unknown_key, "the policy no longer has its key"),
        (_STRENGTHS.get(approval.strength, 0) < _STRENGTHS[need.strength], "not authenticated strongly enough"),
        (need.approvals > 1 and not approval.vouched, "others must confirm this operator first"),
        (now >= min(until, given + timedelta(seconds=need.seconds)), "expired"),
        (approval.used is not None, "used already"),
    )
    return next((why for is_so, why in reasons if is_so), "")
