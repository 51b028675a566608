"""The decision. `admit` before anything is read, `judge` on the effect of a plan. Pure: equal input, equal verdict.

Default deny: only what a circle is granted passes. Deny beats allow: any reason against it decides, whatever speaks for
it. A rule that cannot be evaluated denies. The names of rules in verdicts are stable; docs/policy.md lists them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from infra_mcp.errors import InfraError
from infra_mcp.model.actions import ActionModel
from infra_mcp.model.approval import Need, Verdict
from infra_mcp.model.effect import Effect
from infra_mcp.model.peer import Caller
from infra_mcp.policy.actions import RULES
from infra_mcp.policy.approvals import in_words
from infra_mcp.policy.effects import effect_refusals, touched
from infra_mcp.policy.grammar import format_duration
from infra_mcp.policy.grants import Grant, Refusal, grants, some
from infra_mcp.policy.matching import Subject, active_freeze, denials, requirements
from infra_mcp.policy.policy import Policy

_COMMAND = "`infra-mcp approve ID DIGEST`"


def admit(
    policy: Policy,
    caller: Caller,
    action: ActionModel,
    *,
    attendant: bool = False,
    now: datetime | None = None,
) -> Verdict:
    """Whether this caller may ask for this at all. Nothing has been read when this is asked.

    Args:
        policy: the policy in force.
        caller: who asks, as the transport knows it; the asker, where an attending session acts for someone.
        action: what is asked.
        attendant: whether an attending session acts: then the asker's circle and [attend] must both grant it.
        now: the present, with its offset; None ignores freezes: for a release from a notify, which a freeze delays and
            does not refuse (see `engine.releases`), and for a change whose first write has begun.

    Returns:
        The verdict, with the policy's digest. A refusal tells only of the caller's own circle. With `needs-approval`,
        `needs` holds what every rule wants; `approvals.satisfied` says whether it is there.
    """
    against = list(_refusals(policy, caller, action, attendant=attendant))
    return _verdict(policy, against, _subject(policy, caller, action, frozenset()), now)


def judge(
    policy: Policy,
    caller: Caller,
    action: ActionModel,
    effect: Effect,
    *,
    attendant: bool = False,
    now: datetime | None = None,
) -> Verdict:
    """Whether what a plan would really do is allowed. Asks again all that `admit` asks: the policy may have changed.

    Args:
        policy: the policy in force now.
        caller: as for `admit`.
        action: what was asked.
        effect: what would be done.
        attendant: as for `admit`.
        now: as for `admit`.

    Returns:
        The verdict, as `admit` gives it.
    """
    against = list(_refusals(policy, caller, action, attendant=attendant))
    if not against:
        against = list(effect_refusals(policy, caller, action, effect, attendant=attendant))
    return _verdict(policy, against, _subject(policy, caller, action, touched(effect)), now)


def refusal(verdict: Verdict, *, request: str = "ID", digest: str = "DIGEST") -> InfraError:
    """A verdict that does not allow, as the error the asker sees.

    Args:
        verdict: what was decided.
        request: the request's id, for the command that approves it.
        digest: its effect digest, for the same.

    Raises:
        ValueError: the verdict allows.
    """
    if verdict.decision == "allow":
        msg = "an allowing verdict is no refusal"
        raise ValueError(msg)
    code, next_step = "policy-denied", verdict.would_pass
    if verdict.decision == "needs-approval":
        code, next_step = "needs-approval", next_step.replace(_COMMAND, f"`infra-mcp approve {request} {digest}`")
    return InfraError(code, f"{verdict.reason} (rule {verdict.rule})", next_step=next_step, rule=verdict.rule)


def _verdict(policy: Policy, against: Iterable[Refusal], subject: Subject, now: datetime | None) -> Verdict:
    for found in (*against, *denials(policy.rules, subject), *_freeze(policy, subject, now)):
        return Verdict(
            decision="refuse",
            rule=found.rule,
            reason=found.reason[:1000],
            would_pass=found.would_pass,
            policy=policy.digest,
        )
    if wanted := list(requirements(policy.rules, subject)):
        return _needs(policy, wanted)
    rule = f"circles.{subject.circle}.actions"
    reason = f"Circle {subject.circle} is granted {subject.action} here."
    return Verdict(decision="allow", rule=rule, reason=reason, policy=policy.digest)


def _freeze(policy: Policy, subject: Subject, now: datetime | None) -> Iterable[Refusal]:
    if now is None:
        return
    app = next(iter(subject.apps), None)
    one = active_freeze(policy, app=app, namespaces=subject.namespaces, circle=subject.circle, now=now)
    if one is not None:
        until = one.until.isoformat()
        why = f" ({one.reason})" if one.reason else ""
        yield Refusal(f"freeze.{one.id}", f"Nothing is changed here until {until}{why}.", f"The same after {until}.")


def _needs(policy: Policy, wanted: list[tuple[Need, str]]) -> Verdict:
    """What the rules want, and how it is given: who, how many, by when."""
    why = [
        f"Rule {need.rule.removeprefix('rules.')} requires {in_words(need)}" + (f" ({reason})" if reason else "")
        for need, reason in wanted
    ]
    passes = "; ".join(f"{in_words(need)} within {format_duration(need.seconds)}" for need, _ in wanted)
    return Verdict(
        decision="needs-approval",
        rule=wanted[0][0].rule,
        reason=("; ".join(why) + ".")[:1000],
        would_pass=f"{passes}, and never by whoever asked: {_COMMAND}.",
        policy=policy.digest,
        needs=tuple(need for need, _ in wanted),
    )


def _subject(policy: Policy, caller: Caller, action: ActionModel, scopes: frozenset[str]) -> Subject:
    about = RULES[action.action].about(policy, action)
    circle = caller.circle or ""
    namespaces = about.scopes | scopes
    return Subject(action=action.action, peer=caller.name, circle=circle, namespaces=namespaces, apps=about.apps)


def _refusals(policy: Policy, caller: Caller, action: ActionModel, *, attendant: bool) -> Iterator[Refusal]:
    """Every reason against the action, the first to be told first. None at all means that it is granted."""
    circle = caller.circle
    if circle is None:
        yield Refusal(
            "caller.circle",
            f"{caller.name} belongs to no circle, and so may look and decide but change nothing.",
            "The same request from a peer, with its own token.",
        )
        return
    if policy.circle(circle) is None:
        yield Refusal(
            f"circles.{circle}",
            f"The policy grants nothing to circle {circle}.",
            f"A section [circles.{circle}] in infra.toml, accepted by an operator.",
        )
        return
    for to in grants(policy, caller, attendant=attendant):
        against = list(_against(policy, caller, to, action))
        yield from against
        if against:
            return  # what the session may do is not told of what the asker may not do


def _against(policy: Policy, caller: Caller, to: Grant, action: ActionModel) -> Iterator[Refusal]:
    name = action.action
    if name not in to.own.actions:
        own = [one for one in to.own.actions if policy.in_force(one)]
        yield Refusal(
            f"{to.rule}.actions",
            f"{to.name} may not {name}.",
            to.hint("actions", f"One of its actions: {some(own)}.", "No action is granted to this circle."),
        )
    elif not policy.in_force(name):
        yield Refusal(
            f"{to.rule}.actions",
            f"{to.name} may {name} only once the policy is accepted anew: it was accepted before this action existed.",
            "An operator runs `infra-mcp policy accept`, or adds the action to a deployment's --policy-pin.",
        )
    else:
        yield from RULES[name].refusals(policy, caller, to, action)
