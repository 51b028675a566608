"""The checks of a rollback: what it is about is granted today, and so is every value that it sets back. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from infra_mcp.model.actions import Rollback, RollbackOf
from infra_mcp.model.effect import Change
from infra_mcp.model.peer import Caller
from infra_mcp.model.target import Target
from infra_mcp.policy.actions.base import FAULT, About, ActionRules, granted
from infra_mcp.policy.grants import Grant, Refusal
from infra_mcp.policy.policy import Policy


def rules(others: Mapping[str, ActionRules]) -> ActionRules:
    """The checks of a rollback, by those of the actions that it may be about.

    The caller needs the grant of that action, too, and what the action was about must be the caller's by the policy in
    force now. What that request asked for is not judged again: a version that is no longer granted may be rolled back.
    """
    return ActionRules(
        refusals=partial(_refusals, others),
        effect_refusals=_effect,
        # A copy of a secret has no file, so no rollback writes one.
        writes=frozenset[str]().union(*(one.writes for one in others.values())) - {"Secret"},
        about=partial(_about, others),
        is_about=partial(_is_about, others),
    )


def _refusals(
    others: Mapping[str, ActionRules], policy: Policy, caller: Caller, to: Grant, action: Rollback
) -> Iterator[Refusal]:
    if not isinstance(action, RollbackOf):
        yield Refusal("effect.scope", f"Nothing is known of {action.request}.", FAULT)
        return
    name = action.of.action
    yield from (refused := list(granted(policy, to, name)))
    if refused:
        return
    yield from others[name].subject_refusals(policy, caller, to, action.of)


def _effect(_: Policy, __: Caller, action: Rollback, change: Change) -> Iterator[Refusal]:
    # A record comes and goes as a value does: the request that it is of and the guardrails of its zone bound it. What a
    # workspace's former configuration creates and destroys, a person approves.
    if change.operation in {"create", "delete"} and change.target.system not in {"dns", "terraform"}:
        what = (
            f"The plan would {change.operation} {change.target}, and a rollback of {action.request} sets values back."
        )
        yield Refusal("effect.scope", what, FAULT)


def _about(others: Mapping[str, ActionRules], policy: Policy, action: Rollback) -> About:
    return others[action.of.action].about(policy, action.of) if isinstance(action, RollbackOf) else About("")


def _is_about(others: Mapping[str, ActionRules], policy: Policy, action: Rollback, target: Target) -> bool:
    return isinstance(action, RollbackOf) and others[action.of.action].is_about(policy, action.of, target)
