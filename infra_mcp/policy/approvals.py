"""Whether what people decided is enough for what the rules require. Pure; whatever cannot be told counts as no."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from infra_mcp.model.approval import Approval, Need, Verdict
from infra_mcp.model.peer import Caller

_STRENGTHS = {"same-user": 0, "token": 1}


def satisfied(verdict: Verdict, digest: str, requester: Caller, approvals: Sequence[Approval], now: datetime) -> bool:
    """Whether a plan may go on. Asked until the first write begins, not after: an approval is used up then.

    What counts, for each rule that requires it: approvals of this very effect, not used, not expired, by different
    people who are known well enough, none of them whoever asked; where a rule wants several, only by operators for whom
    others vouch. Operators belong to no circle, so one who is called
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
    return all(len(_given(need, digest, requester, approvals, now)) >= need.approvals for need in verdict.needs)


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
        there = _given(need, digest, requester, approvals, now)
        if len(there) >= need.approvals:
            continue
        why = {one.approver: _against(one, need, requester, now) for one in approvals if one.effect_digest == digest}
        lost = ", ".join(f"{who}'s does not count: {why[who]}" for who in sorted(why.keys() - there) if why[who])
        yield f"{need.rule} has {len(there)} of {in_words(need)}" + (f" ({lost})" if lost else "")


def in_words(need: Need) -> str:
    """What a rule wants, in words: `2 approvals by operators known by a token`."""
    many = "1 approval by an operator" if need.approvals == 1 else f"{need.approvals} approvals by different operators"
    return many + (" known by a token" if need.strength == "token" else "")


def approval_timeout(verdict: Verdict) -> float:
    """How long a request waits for its approvals, in seconds: the shortest time that any of its rules gives."""
    return min((need.seconds for need in verdict.needs), default=0.0)


def _denied(digest: str, approvals: Sequence[Approval]) -> bool:
    return any(one.effect_digest == digest and not one.approve for one in approvals)


def _given(need: Need, digest: str, requester: Caller, approvals: Sequence[Approval], now: datetime) -> set[str]:
    """The people whose approvals count for a rule."""
    if need.by != "operator":
        return set()
    given = [one for one in approvals if one.approve and one.effect_digest == digest]
    return {one.approver for one in given if not _against(one, need, requester, now)}


def _against(approval: Approval, need: Need, requester: Caller, now: datetime) -> str:
    """Why an approval of the right effect does not count for a rule; empty when it does."""
    if approval.approver == requester.name:
        return "nobody approves what they asked for"
    if approval.gone:
        return "no operator any more"
    if _STRENGTHS[approval.strength] < _STRENGTHS[need.strength]:
        return "not known well enough"
    if need.approvals > 1 and not approval.vouched:
        return "no operator who counts by themselves: others must confirm them"
    # By the rule as it is now, too: it may have been made stricter since.
    until = min(_moment(approval.expires), _moment(approval.at) + timedelta(seconds=need.seconds))
    if now >= until:
        return "expired"
    return "used already" if approval.used is not None else ""


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
