"""The checks of a change set beside those of its steps, which `decide` makes one by one. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from infra_mcp.model.actions.change_set import ChangeSet
from infra_mcp.model.peer import Caller
from infra_mcp.model.target import Target
from infra_mcp.policy.actions.base import About, ActionRules, granted
from infra_mcp.policy.grants import Grant, Refusal, some
from infra_mcp.policy.policy import Policy


def rules(others: Mapping[str, ActionRules]) -> ActionRules:
    """The checks of a set, by those of the actions that may be its steps.

    Its subject and what it is about are asked for a rollback of it: then every step counts.
    """
    return ActionRules(
        refusals=partial(_refusals, others),
        about=partial(_about, others),
        is_about=partial(_is_about, others),
        writes=frozenset[str]().union(*(one.writes for one in others.values())),
        subject_refusals=partial(_subject_refusals, others),
    )


def _abouts(others: Mapping[str, ActionRules], policy: Policy, action: ChangeSet) -> list[About]:
    return [others[one.action].about(policy, one) for one in action.steps_of]


def _about(others: Mapping[str, ActionRules], policy: Policy, action: ChangeSet) -> About:
    found = _abouts(others, policy, action)
    return About(
        place=next((one.place for one in found if one.place), ""),
        apps=frozenset[str]().union(*(one.apps for one in found)),
        scopes=frozenset[str]().union(*(one.scopes for one in found)),
        environments=frozenset[str]().union(*(one.environments for one in found)),
        targets=tuple(dict.fromkeys(target for one in found for target in one.targets)),
    )


def _is_about(others: Mapping[str, ActionRules], policy: Policy, action: ChangeSet, target: Target) -> bool:
    return any(others[one.action].is_about(policy, one, target) for one in action.steps_of)


def _subject_refusals(
    others: Mapping[str, ActionRules], policy: Policy, caller: Caller, to: Grant, action: ChangeSet
) -> Iterator[Refusal]:
    for one in action.steps_of:
        yield from granted(policy, to, one.action)
        yield from others[one.action].subject_refusals(policy, caller, to, one)


def _refusals(
    others: Mapping[str, ActionRules], policy: Policy, _: Caller, __: Grant, action: ChangeSet
) -> Iterator[Refusal]:
    places = sorted({one.place for one in _abouts(others, policy, action) if one.place})
    if len(places) > 1:
        what = f"The steps are for {len(places)} clusters: {some(places)}."
        yield Refusal("clusters", what, "One set of changes for each cluster.")
