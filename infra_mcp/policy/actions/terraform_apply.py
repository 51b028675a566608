"""The checks of a Terraform workspace: it is granted. What its plan does is judged for every action. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from infra_mcp.model.actions.terraform_apply import TerraformApply
from infra_mcp.model.peer import Caller
from infra_mcp.model.target import Target
from infra_mcp.policy.actions.base import About, ActionRules
from infra_mcp.policy.grants import Grant, Refusal
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.systems import workspace
from infra_mcp.policy.terraform import SYSTEM, WORKSPACE


def _about(_: Policy, action: TerraformApply) -> About:
    name = action.workspace
    target = Target(system=SYSTEM, place=name, scope=name, kind=WORKSPACE, name=name)
    return About("", scopes=frozenset({name}), targets=(target,))


def _refusals(policy: Policy, _: Caller, to: Grant, action: TerraformApply) -> Iterator[Refusal]:
    yield from workspace(policy, to, action.workspace)


RULES = ActionRules(
    refusals=_refusals,
    effect_refusals=lambda *_: iter(()),
    writes=frozenset(),
    about=_about,
    is_about=lambda _, action, target: (target.system, target.place) == (SYSTEM, action.workspace),
    subject_refusals=_refusals,
    systems=frozenset({SYSTEM}),
)
