"""Rules and freezes across circles: which of them apply to a change, and what they require. Pure.

A rule with a key that this version does not know denies, unless a known key shows that it does not apply.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import Final

from infra_mcp.model.approval import Need
from infra_mcp.policy.approvals import AT_FORGE, BY_MERGE
from infra_mcp.policy.grammar import matches, seconds
from infra_mcp.policy.grants import Refusal
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.restrictions import Freeze, FreezeMatch, Rule

_STRENGTHS: Final = ("same-user", "token", "signed")


@dataclass(frozen=True)
class Subject:
    """A change, as rules match it."""

    action: str
    peer: str
    circle: str
    namespaces: frozenset[str] | None  # None: they are not known, so that every pattern may match
    apps: frozenset[str] = frozenset()
    environments: frozenset[str] = frozenset()


def _applies(match: FreezeMatch, **values: Collection[str] | None) -> bool:
    """Whether for every given key one of the values, or an unknown one, matches one of its patterns."""
    given = [
        (patterns, known)
        for key, known in values.items()
        if (patterns := getattr(match, key)) is not None and known is not None
    ]
    return all(any(matches(*pair) for pair in product(patterns, known)) for patterns, known in given)


def _applying(rules: Iterable[Rule], subject: Subject) -> Iterator[Rule]:
    values: dict[str, Collection[str] | None] = {
        "actions": (subject.action,),
        "peers": (subject.peer,),
        "circles": (subject.circle,),
        "namespaces": subject.namespaces,
        "apps": subject.apps,
        "environments": subject.environments,
    }
    return (rule for rule in rules if _applies(rule.match, **values))


def denials(rules: Iterable[Rule], subject: Subject) -> Iterator[Refusal]:
    """Every rule that denies or cannot be evaluated."""
    for rule in _applying(rules, subject):
        reason = rule.reason or f"Rule {rule.id} denies this."
        if cannot := cannot_evaluate(rule):
            reason = f"Rule {rule.id} cannot be evaluated ({cannot}), so it denies."
        if cannot or rule.deny:
            yield Refusal(f"rules.{rule.id}", reason, "Nothing, until an operator changes the rule in infra.toml.")


def requirements(rules: Iterable[Rule], subject: Subject) -> Iterator[tuple[Need, str]]:
    """The approvals that each rule requires, and its reason. Check `denials` first."""
    for rule in _applying(rules, subject):
        if rule.require is not None:
            wanted = rule.require.model_dump(include={"approvals", "by", "strength"})
            times = {"seconds": seconds(rule.require.expires), "bypass": seconds(rule.require.bypass or "0s")}
            need = Need.model_validate(wanted | times | {"rule": f"rules.{rule.id}"})
            yield need, rule.reason


def active_freeze(
    policy: Policy,
    *,
    app: str | None,
    namespaces: Collection[str] | None,
    circle: str | None,
    now: datetime,
    environments: Collection[str] = (),
) -> Freeze | None:
    """The freeze that applies to a change now and ends last, if any; a change that has begun continues.

    Args:
        policy: the policy in force.
        app: the app; None for another change, to which a freeze of apps does not apply.
        namespaces: the namespaces of the change; None where they are not known, and any may be meant.
        circle: the requester's circle.
        now: the present, with its offset.
        environments: the environment of the change, or any that it may be.
    """
    values: dict[str, Collection[str] | None] = {
        "apps": () if app is None else (app,),
        "namespaces": namespaces,
        "circles": (circle or "",),
        "environments": environments,
    }
    held = [one for one in policy.freezes if one.holds(now) and _applies(one.match, **values)]
    return max(held, key=lambda one: one.until, default=None)


def cannot_evaluate(rule: Rule) -> str:
    """Why this version cannot evaluate a rule, which then denies; empty where it can."""
    if rule.match.model_extra:
        return "it matches by a key this version does not know"
    if (wanted := rule.require) is None:
        return ""
    at_forge = wanted.by in AT_FORGE
    lone_bypass = wanted.bypass is not None and (at_forge or wanted.approvals == 1)
    reasons = (
        (bool(wanted.model_extra), "it requires something this version does not know"),
        (wanted.by != "operator" and not at_forge, "approvers can only be operators, who merges, or who reviews"),
        (lone_bypass, "only where several operators must approve can one of them bypass the others"),
        (wanted.by == BY_MERGE and wanted.approvals > 1, "a pull request is merged by one"),
        (
            at_forge and wanted.strength != "same-user",
            "how well an account at the forge is known cannot be checked",
        ),
        (wanted.strength not in _STRENGTHS, "it requires a strength that cannot be checked"),
    )
    return next((why for is_so, why in reasons if is_so), "")
