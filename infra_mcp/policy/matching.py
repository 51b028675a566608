"""The rules that cut across circles: which of them are about a change, and what they want. Pure.

A rule either holds, does not hold, or cannot be told (a key this version does not know). Not to be told counts as a
denial, unless a key that is known already says that the rule is about something else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from infra_mcp.model.approval import Need
from infra_mcp.policy.grammar import matches, seconds
from infra_mcp.policy.grants import Refusal
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.sections import Freeze, Match, Require, Rule

_STRENGTHS: Final = ("same-user", "token")
_APPROVERS: Final = ("operator",)


@dataclass(frozen=True)
class Subject:
    """What a rule can be about."""

    action: str
    peer: str
    circle: str
    namespaces: frozenset[str]
    apps: frozenset[str] = frozenset()


def about(patterns: tuple[str, ...] | None, values: Iterable[str]) -> bool:
    """Whether one of the values matches one of the patterns. Patterns that are not given are about everything."""
    return patterns is None or any(matches(pattern, value) for pattern in patterns for value in values)


def _about(match: Match, subject: Subject) -> bool:
    """Whether every key that is known here says that the rule is about this."""
    return (
        about(match.namespaces, subject.namespaces)
        and about(match.actions, (subject.action,))
        and about(match.peers, (subject.peer,))
        and about(match.circles, (subject.circle,))
        and about(match.apps, subject.apps)
    )


def denials(rules: Iterable[Rule], subject: Subject) -> Iterator[Refusal]:
    """Every rule that denies, and every one that cannot be evaluated."""
    for rule in rules:
        if not _about(rule.match, subject):
            continue
        if cannot := _cannot(rule):
            yield Refusal(
                f"rules.{rule.id}",
                f"Rule {rule.id} cannot be evaluated ({cannot}), so it denies.",
                "Nothing, until an operator corrects the rule in infra.toml.",
            )
        elif rule.deny:
            yield Refusal(
                f"rules.{rule.id}",
                rule.reason or f"Rule {rule.id} denies this.",
                "Nothing, while this rule stands: it is an operator's to change.",
            )


def requirements(rules: Iterable[Rule], subject: Subject) -> Iterator[tuple[Need, str]]:
    """What every rule wants that requires an approval first, and its reason.

    Asked after `denials`, which holds the rules that cannot be evaluated.
    """
    for rule in rules:
        if rule.require is not None and _about(rule.match, subject):
            wanted = rule.require.model_dump(include={"approvals", "by", "strength"})
            need = Need.model_validate(wanted | {"rule": f"rules.{rule.id}", "seconds": seconds(rule.require.expires)})
            yield need, rule.reason


def active_freeze(
    policy: Policy, *, app: str | None, namespaces: Iterable[str], circle: str | None, now: datetime
) -> Freeze | None:
    """The freeze that a change would fall into.

    A direct change in it is refused (`decide`); a release that came by a notify is held until it ends, and then due
    by its schedule again. What has begun is not stopped by it.

    Args:
        policy: the policy in force.
        app: the app that is deployed; None for a change of something else, which a freeze of apps is not about.
        namespaces: the namespaces that are touched.
        circle: the circle of whoever asks.
        now: the present, with its offset.

    Returns:
        The one that ends last, where several hold now; None when none does.
    """
    held = [
        one
        for one in policy.freeze
        if one.begins <= now < one.until
        and about(one.match.apps, () if app is None else (app,))
        and about(one.match.namespaces, namespaces)
        and about(one.match.circles, (circle or "",))
    ]
    return max(held, key=lambda one: one.until, default=None)


def _cannot(rule: Rule) -> str:
    if rule.match.model_extra:
        return "it matches by a key this version does not know"
    return _uncheckable(rule.require) if rule.require else ""


def _uncheckable(require: Require) -> str:
    if require.model_extra:
        return "it requires something this version does not know"
    if require.by not in _APPROVERS:
        return "approvers can only be operators"
    return "" if require.strength in _STRENGTHS else "it requires a strength that cannot be checked"
