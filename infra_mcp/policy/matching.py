"""The rules that cut across circles: which of them are about a change, and what they want. Pure.

A rule either holds, does not hold, or cannot be told (a key this version does not know). Not to be told counts as a
denial, unless a key that is known already says that the rule is about something else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from infra_mcp.policy.grammar import matches
from infra_mcp.policy.grants import Refusal
from infra_mcp.policy.sections import Match, Require, Rule

__all__ = ["Subject", "denials", "requirements"]

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


def _any(patterns: tuple[str, ...] | None, values: Iterable[str]) -> bool:
    return patterns is None or any(matches(pattern, value) for pattern in patterns for value in values)


def _holds(match: Match, subject: Subject) -> Literal["yes", "no", "unknown"]:
    known = (
        _any(match.namespaces, subject.namespaces)
        and _any(match.actions, (subject.action,))
        and _any(match.peers, (subject.peer,))
        and _any(match.circles, (subject.circle,))
        and _any(match.apps, subject.apps)
    )
    if not known:
        return "no"
    return "unknown" if match.model_extra else "yes"


def denials(rules: Iterable[Rule], subject: Subject) -> Iterator[Refusal]:
    """Every rule that denies, and every one that cannot be evaluated."""
    for rule in rules:
        holds = _holds(rule.match, subject)
        if holds == "no":
            continue
        cannot = _cannot(rule) if rule.match.model_extra or rule.require else ""
        if cannot:
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


def requirements(rules: Iterable[Rule], subject: Subject) -> Iterator[Refusal]:
    """Every rule that wants an approval first."""
    for rule in rules:
        if rule.require is not None and _holds(rule.match, subject) == "yes":
            many = f"{rule.require.approvals} approvals" if rule.require.approvals > 1 else "an approval"
            why = f" ({rule.reason})" if rule.reason else ""
            yield Refusal(
                f"rules.{rule.id}",
                f"Rule {rule.id} requires {many} by {rule.require.by}{why}, and approvals are not there yet.",
                "Ask an operator to make the change, or to change the rule.",
            )


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
