"""Whether what people decided is enough for what the rules require. Pure; whatever cannot be told counts as no."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from infra_mcp.model.approval import Approval, Need
from infra_mcp.model.peer import Caller
from infra_mcp.model.plan import Verdict

__all__ = ["in_words", "missing", "patience", "satisfied"]

_STRENGTHS = {"same-user": 0, "token": 1}


def satisfied(verdict: Verdict, digest: str, requester: Caller, approvals: Sequence[Approval], now: datetime) -> bool:
    """Whether a plan may go on. Asked until the first write begins, not after: an approval is used up then.

    What counts, for each rule that requires it: approvals of this very effect, not used, not expired, by different
    people who are known well enough, none of them whoever asked. Operators belong to no circle, so one who is called
    like the requester is taken for the requester. One denial of this effect is a no, whoever else approved.

    Args:
        verdict: what `judge` said of the plan now.
        digest: the plan's effect digest now.
        requester: who asked; for an ask that someone acted on, the asker.
        approvals: what people decided about the request.
        now: the present, with its offset.
    """
    if verdict.decision == "allow":
        return True
    if verdict.decision == "refuse" or not verdict.needs or _denied(digest, approvals):
        return False
    return all(_count(need, digest, requester, approvals, now) >= need.approvals for need in verdict.needs)


def missing(verdict: Verdict, digest: str, requester: Caller, approvals: Sequence[Approval], now: datetime) -> str:
    """What is still missing, in words for people; empty when nothing is. Arguments as for `satisfied`."""
    if satisfied(verdict, digest, requester, approvals, now):
        return ""
    if verdict.decision == "refuse" or not verdict.needs:
        return f"{verdict.rule} refuses it, so no approval helps"
    if _denied(digest, approvals):
        return "it was denied"
    return "; ".join(_lacks(verdict, digest, requester, approvals, now))


def _lacks(
    verdict: Verdict, digest: str, requester: Caller, approvals: Sequence[Approval], now: datetime
) -> Iterator[str]:
    for need in verdict.needs:
        there = _count(need, digest, requester, approvals, now)
        if there < need.approvals:
            yield f"{need.rule} has {there} of {in_words(need)}"


def in_words(need: Need) -> str:
    """What a rule wants, in words: `2 approvals by operators known by a token`."""
    many = "1 approval by an operator" if need.approvals == 1 else f"{need.approvals} approvals by different operators"
    return many + (" known by a token" if need.strength == "token" else "")


def patience(verdict: Verdict) -> float:
    """How long a request waits for its approvals, in seconds: the shortest time that any of its rules gives."""
    return min((need.seconds for need in verdict.needs), default=0.0)


def _denied(digest: str, approvals: Sequence[Approval]) -> bool:
    return any(one.effect_digest == digest and not one.approve for one in approvals)


def _count(need: Need, digest: str, requester: Caller, approvals: Sequence[Approval], now: datetime) -> int:
    """How many different people's approvals count for a rule."""
    if need.by != "operator":
        return 0
    return len({one.approver for one in approvals if _counts(one, need, digest, requester, now)})


def _counts(approval: Approval, need: Need, digest: str, requester: Caller, now: datetime) -> bool:
    return (
        approval.approve
        and approval.effect_digest == digest
        and approval.used is None
        and approval.approver != requester.name
        and _STRENGTHS[approval.strength] >= _STRENGTHS[need.strength]
        and now < _moment(approval.expires)
        # The rule may have been made stricter since.
        and now < _moment(approval.at) + timedelta(seconds=need.seconds)
    )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
