"""The checks of a scaling: an app of the caller, and no more replicas than granted. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from infra_mcp.errors import InfraError
from infra_mcp.model.actions.scale import Scale
from infra_mcp.model.effect import Change
from infra_mcp.model.peer import Caller
from infra_mcp.model.setting import check
from infra_mcp.policy.actions.base import FAULT, ActionRules, app_refusals, same_images
from infra_mcp.policy.grants import Grant, Refusal, replicas
from infra_mcp.policy.policy import Policy

_REPLICAS: Final = ("spec", "replicas")


def _refusals(policy: Policy, caller: Caller, to: Grant, action: Scale) -> Iterator[Refusal]:
    yield from (refused := list(app_refusals(policy, caller, to, action)))
    yield from replicas(to, action.replicas)
    rule = None if refused else policy.setting(action.app, "replicas")
    if rule is not None:
        try:
            check(rule, action.replicas, name="replicas")
        except InfraError as error:
            yield Refusal("settings.replicas", error.what, error.next_step)


def _effect(policy: Policy, caller: Caller, action: Scale, change: Change) -> Iterator[Refusal]:
    yield from same_images(policy, caller, action, change)
    for field in change.fields:
        if field.path == _REPLICAS and field.after != action.replicas:
            what = f"The plan would set {field.after} replicas, and the request is for {action.replicas}."
            yield Refusal("effect.scope", what, FAULT)


RULES = ActionRules(_refusals, _effect)
