"""The checks of a change set beside those of its steps, which `decide` makes one by one. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from infra_mcp.model.actions.change_set import ChangeSet
from infra_mcp.model.peer import Caller
from infra_mcp.policy.actions.base import About, ActionRules
from infra_mcp.policy.grants import Grant, Refusal, some
from infra_mcp.policy.policy import Policy


def rules(others: Mapping[str, ActionRules]) -> ActionRules:
    """The checks of a set, by those of the actions that may be its steps."""
    refusals = partial(_refusals, others)
    return ActionRules(refusals=refusals, about=partial(_about, others), subject_refusals=refusals)


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


def _refusals(
    others: Mapping[str, ActionRules], policy: Policy, _: Caller, __: Grant, action: ChangeSet
) -> Iterator[Refusal]:
    places = sorted({one.place for one in _abouts(others, policy, action) if one.place})
    if len(places) > 1:
        what = f"The steps are for {len(places)} clusters: {some(places)}."
        yield Refusal("clusters", what, "One set of changes for each cluster.")
