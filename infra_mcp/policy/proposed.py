"""Judges what a person's pull request would do, by its effect alone. Pure.

No peer asks for it, so no circle's actions count. Each object is judged as the circles would be that may work in
its namespace: one of them must be allowed all of it. What is in no circle's namespace belongs to people: nothing of it
is refused, and what guardrails find in it, and was not there before, is for people to approve. Rules and freezes hold
as for a request, with an action only where the change is one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, Self

from infra_mcp.model.effect import Change, FieldChange, Trait
from infra_mcp.model.names import Frozen
from infra_mcp.policy import grants, protected, zones
from infra_mcp.policy.approvals import in_words
from infra_mcp.policy.grants import Grant, Refusal, some
from infra_mcp.policy.guard import judge as guard
from infra_mcp.policy.guard.kinds import delivers, is_cluster_scoped, rule_of
from infra_mcp.policy.guard.rules import GUARDRAILS, HOSTS
from infra_mcp.policy.matching import Subject, active_freeze, denials, requirements
from infra_mcp.policy.policy import Policy
from infra_mcp.repository.partial import get_path

Decision = Literal["refuse", "needs-approval"]
_KEEPS: Final = frozenset({"PersistentVolumeClaim", "apps/StatefulSet"})
_LATEST: Final = "latest"
_BOUNDED: Final = (("spec", "replicas"), ("spec", "maxReplicas"))
_QUOTAS: Final = frozenset({"ResourceQuota", "LimitRange"})


class Finding(Frozen):
    """One thing that policy has against a pull request."""

    decision: Decision
    rule: str
    reason: str
    would_pass: str = ""

    @classmethod
    def refuse(cls, rule: str, reason: str, passes: str) -> Self:
        """Policy refuses it."""
        return cls(decision="refuse", rule=rule, reason=reason, would_pass=passes)

    @classmethod
    def ask(cls, rule: str, reason: str, passes: str = "People who may decide it approve the pull request.") -> Self:
        """People must approve it."""
        return cls(decision="needs-approval", rule=rule, reason=reason, would_pass=passes)


@dataclass(frozen=True)
class Touched:
    """Something that a pull request changes, as rules and freezes match it."""

    action: str = ""  # the action that would make the same change; empty where there is none
    app: str | None = None
    environment: str | None = None
    namespaces: frozenset[str] | None = frozenset()  # None: they are not known, and any may be meant


def circles_of(policy: Policy, namespace: str | None, circle: str | None = None) -> tuple[str, ...]:
    """The circles that an object of a namespace is judged as; none where it is people's.

    Args:
        policy: of the base.
        namespace: of the object; None outside of namespaces.
        circle: the one that everything is judged as, where one is given.
    """
    if circle is not None:
        return (circle,)
    return tuple(name for name in policy.circles if namespace is not None and policy.reaches(name, namespace))


def object_findings(
    policy: Policy,
    change: Change,
    added: Collection[Trait],
    *,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
    circle: str | None = None,
    brought: Collection[tuple[str | None, str]] = (),
) -> Iterator[Finding]:
    """Everything against one object.

    Args:
        policy: of the base.
        change: of the object, with all that guardrails find in it.
        added: what they did not find before.
        before: the whole object; None where it was not there.
        after: the same.
        circle: as in `circles_of`.
        brought: the service accounts that change with it, as `guard.judge.accounts` gives them.
    """
    if change.operation == "delete" and (change.target.kind in _KEEPS or delivers(change.target.kind)):
        yield Finding.ask("objects.deleted", f"It deletes {change.target}, and what that holds may go with it.")
    yield from (Finding.ask(one.rule, one.reason) for one in protected.refusals(policy, change, is_rendered=True))
    circles = circles_of(policy, change.target.home, circle)
    if not circles:
        yield from _of_people(change, added)
        if policy.circles and change.target.home is None and not is_cluster_scoped(change.target.kind):
            what = f"{change.target} names no namespace, so no circle's grants could be applied to it."
            yield Finding.ask("namespace.unknown", what)
        return
    each = [list(_of_circle(policy, name, change, before, after, brought)) for name in circles]
    for one in min(each, key=len):
        # A kind that no circle brings is people's to bring; judged as a circle, it is refused.
        is_peoples = circle is None and (one.rule.startswith("kinds.") or one.rule.endswith(".kinds"))
        yield Finding.ask(one.rule, one.reason) if is_peoples else _refused(one)


def _of_circle(
    policy: Policy,
    name: str,
    change: Change,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
    brought: Collection[tuple[str | None, str]],
) -> Iterator[Refusal]:
    to = Grant(f"circles.{name}", f"circle {name}", policy.circles[name], listed=True)
    if change.target.home is not None:
        yield from grants.namespace(policy, to, change.target.home)
    yield from zones.object_refusals(policy, change)
    yield from guard.refusals(policy, (to,), change, is_rendered=True, brought=brought)
    yield from guard.image_refusals(policy, (to,), change)
    yield from grants.amounts(to, change.model_copy(update={"fields": tuple(_amounts(change, before, after))}))


def _amounts(change: Change, before: dict[str, Any] | None, after: dict[str, Any] | None) -> Iterator[FieldChange]:
    """The fields of an object that a circle's limits are for, where they differ."""
    kind = change.target.kind.rpartition("/")[2]
    for path in (("spec",),) if kind in _QUOTAS else _BOUNDED:
        _, old = get_path(before or {}, path)
        has, new = get_path(after or {}, path)
        if has and new != old:
            yield FieldChange(path=path, before=None, after=new, had=False)


def _of_people(change: Change, added: Collection[Trait]) -> Iterator[Finding]:
    """What people must look at in an object of no circle."""
    target = change.target
    rule = rule_of(target.kind, target.scope if is_cluster_scoped(target.kind) else target.scope or "?")
    if rule is not None:
        what = f"{GUARDRAILS[rule].refuses}: {change.operation} {change.target}"
        yield Finding.ask(rule, f"No circle may bring {what}.")
    found: dict[str, list[str]] = {}
    for one in added:
        known = GUARDRAILS.get(one.rule)
        if known is None or known.judges not in {"restricted", "required"}:
            value = f" ({one.value})" if one.value else ""
            found.setdefault(one.rule, []).append(f"{change.target}{one.where}{value}")
    for name, places in found.items():
        what = "the traffic of a host" if name == HOSTS else GUARDRAILS[name].refuses if name in GUARDRAILS else name
        reason = f"It newly has {what}: {some(places)}."
        yield Finding.ask(name, reason)


def version_findings(policy: Policy, app: str, version: str) -> Iterator[Finding]:
    """Whether an app of the catalogue may be brought to a version: a tag, perhaps with a digest behind it."""
    rules, tag = policy.apps.get(app), version.partition("@")[0]
    if rules is None or not tag:
        return
    if tag.casefold() == _LATEST:
        what = f"The tag latest of {app} moves, so the version that runs would be unknown."
        yield Finding.refuse("version.latest", what, "The version's own tag.")
    if not rules.allows(tag):
        what = f"Policy does not allow {app} to be brought to version {tag}."
        yield Finding.refuse(f"apps.{app}.versions", what, f"A version such as {some(rules.versions)}.")


def is_named_version(policy: Policy, app: str, version: str) -> bool:
    """Whether the app's `versions` name a version: then it needs no approval where it cannot be rendered."""
    rules = policy.apps.get(app)
    return rules is not None and bool(rules.versions) and not any(version_findings(policy, app, version))


def rule_findings(
    policy: Policy, touched: Iterable[Touched], now: datetime, circle: str | None = None
) -> Iterator[Finding]:
    """Every rule and freeze that holds for what a pull request changes, each once."""
    found: dict[Finding, None] = {}
    for one in touched:
        known = one.namespaces or frozenset()
        circles = {name for space in known for name in circles_of(policy, space, circle)} or {circle or ""}
        apps, environments = (frozenset(filter(None, [name])) for name in (one.app, one.environment))
        for name in sorted(circles):
            subject = Subject(one.action, "", name, one.namespaces, apps, environments)
            found |= dict.fromkeys(map(_refused, denials(policy.rules, subject)))
            for need, reason in requirements(policy.rules, subject):
                what = f"Rule {need.rule.removeprefix('rules.')} requires {in_words(need)}"
                what += f" ({reason})." if reason else "."
                found[Finding.ask(need.rule, what)] = None
            held = active_freeze(
                policy, app=one.app, namespaces=one.namespaces, circle=name, now=now, environments=environments
            )
            if held is not None:
                until = held.until.isoformat()
                why = f" ({held.reason})" if held.reason else ""
                what = f"Nothing may change here until {until}{why}."
                found[Finding.refuse(f"freeze.{held.id}", what, f"The same after {until}.")] = None
    yield from found


def _refused(one: Refusal) -> Finding:
    return Finding.refuse(*one)
