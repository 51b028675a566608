"""The decision. `admit` before anything is read, `judge` on the effect of a plan. Pure: equal input, equal verdict.

Default deny: only what a circle is granted passes. Deny beats allow: any reason against it decides, whatever speaks for
it. A rule that cannot be evaluated denies. The names of rules in verdicts are stable; docs/policy.md lists them.
"""

from __future__ import annotations

from collections.abc import Iterable

from infra_mcp.errors import InfraError
from infra_mcp.model.action import Deploy, ProvisionNamespace
from infra_mcp.model.peer import Caller
from infra_mcp.model.plan import Plan, Verdict
from infra_mcp.policy.effects import objections, touched
from infra_mcp.policy.grants import Refusal, refusals
from infra_mcp.policy.matching import Subject, denials, requirements
from infra_mcp.policy.rules import Policy

__all__ = ["admit", "judge", "refusal"]


def admit(policy: Policy, caller: Caller, action: ProvisionNamespace | Deploy) -> Verdict:
    """Whether this caller may ask for this at all. Nothing has been read when this is asked.

    Args:
        policy: the policy in force.
        caller: who asks, as the transport knows it.
        action: what is asked.

    Returns:
        The verdict, with the policy's digest. A refusal tells only of the caller's own circle.
    """
    against = list(refusals(policy, caller, action))
    return _verdict(policy, caller, action, against, frozenset())


def judge(policy: Policy, caller: Caller, action: ProvisionNamespace | Deploy, plan: Plan) -> Verdict:
    """Whether what the plan would really do is allowed. Asks again all that `admit` asks: the policy may have changed.

    Args:
        policy: the policy in force now.
        caller: who asks.
        action: what was asked.
        plan: what would be done.

    Returns:
        The verdict, with the policy's digest.
    """
    against = list(refusals(policy, caller, action))
    if not against:
        against = list(objections(policy, caller, action, plan))
    return _verdict(policy, caller, action, against, touched(plan))


def refusal(verdict: Verdict) -> InfraError:
    """A verdict that does not allow, as the error the asker sees.

    Raises:
        ValueError: the verdict allows.
    """
    if verdict.decision == "allow":
        msg = "an allowing verdict is no refusal"
        raise ValueError(msg)
    code = "needs-approval" if verdict.decision == "needs-approval" else "policy-denied"
    return InfraError(code, f"{verdict.reason} (rule {verdict.rule})", next_step=verdict.would_pass, rule=verdict.rule)


def _verdict(
    policy: Policy,
    caller: Caller,
    action: ProvisionNamespace | Deploy,
    against: Iterable[Refusal],
    namespaces: frozenset[str],
) -> Verdict:
    for found in against:
        return _no(policy, found)
    subject = _subject(policy, caller, action, namespaces)
    for found in denials(policy.rules, subject):
        return _no(policy, found)
    for found in requirements(policy.rules, subject):
        return Verdict(
            decision="needs-approval",
            rule=found.rule,
            reason=found.reason,
            would_pass=found.would_pass,
            policy=policy.digest,
        )
    rule = f"circles.{caller.circle}.actions"
    reason = f"Circle {caller.circle} is granted {action.action} here."
    return Verdict(decision="allow", rule=rule, reason=reason, policy=policy.digest)


def _no(policy: Policy, found: Refusal) -> Verdict:
    return Verdict(
        decision="refuse",
        rule=found.rule,
        reason=found.reason[:1000],
        would_pass=found.would_pass,
        policy=policy.digest,
    )


def _subject(
    policy: Policy, caller: Caller, action: ProvisionNamespace | Deploy, namespaces: frozenset[str]
) -> Subject:
    apps: frozenset[str] = frozenset()
    if isinstance(action, Deploy):
        apps = frozenset({action.app})
        app = policy.app(action.app)
        namespaces |= {app.workload_parts.namespace} if app else frozenset()
    else:
        namespaces |= {action.namespace}
    return Subject(action=action.action, peer=caller.name, circle=caller.circle or "", namespaces=namespaces, apps=apps)
