"""The effect of a plan, checked against the policy. Pure.

`grants` checks the request, this module the writes, so that no fault in between (a file with other content, a driver
that adds an object) exceeds the grant.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, Final

from infra_mcp.model.actions import ActionModel
from infra_mcp.model.effect import Change, Effect
from infra_mcp.model.marks import BINDING, CIRCLE
from infra_mcp.model.peer import Caller
from infra_mcp.policy import grants
from infra_mcp.policy.actions import RULES
from infra_mcp.policy.actions.base import FAULT
from infra_mcp.policy.grammar import matches
from infra_mcp.policy.grants import Refusal
from infra_mcp.policy.images import new_images
from infra_mcp.policy.policy import Policy

# Only the server's own identity creates these.
_BOOTSTRAP: Final = frozenset({"Namespace", "rbac.authorization.k8s.io/RoleBinding"})


def touched(effect: Effect) -> frozenset[str]:
    """The scopes of an effect, also those it only compares."""
    return frozenset(scope for change in effect.changes if (scope := change.target.home) is not None)


def effect_refusals(
    policy: Policy, caller: Caller, action: ActionModel, effect: Effect, *, attendant: bool = False
) -> Iterator[Refusal]:
    """Every reason against an effect, beside those against the request."""
    rules = RULES[action.action]
    granted = grants.grants(policy, caller, attendant=attendant)
    place = rules.about(policy, action).place
    for change in effect.changes:
        target = change.target
        if target.place != place:
            yield Refusal("effect.cluster", f"The plan holds {target} of another cluster.", FAULT)
        if target.kind not in rules.writes:
            kind = target.kind.rpartition("/")[2]
            yield Refusal("effect.kinds", f"A {action.action} writes no {kind}, and the plan holds {target}.", FAULT)
        if not rules.is_about(policy, action, target):
            yield Refusal("effect.scope", f"The plan holds {target}, which this {action.action} is not about.", FAULT)
        for to in granted:
            if target.home is not None:
                yield from grants.namespace(policy, to, target.home)
            yield from grants.labels(to, _labels(change))
        yield from _identity(change)
        for take in change.takes:
            if not any(matches(pattern, take.manager) for pattern in policy.tree.adopt):
                yield Refusal(
                    "tree.adopt",
                    f"{take.field} of {change.target} belongs to {take.manager[:128]}.",
                    "Ask its owner to change it, or an operator to list that manager in [tree] adopt.",
                )
        for reference, to in product(new_images(change), granted):
            yield from grants.image(to, reference)
        yield from rules.effect_refusals(policy, caller, action, change)


def _labels(change: Change) -> list[str]:
    """The labels that a plan would set on a namespace, without the one that names its circle."""
    found: list[str] = []
    for field in change.fields if change.target.kind == "Namespace" else ():
        value: Any = field.after
        for step in reversed(field.path):
            value = {step: value} if isinstance(step, str) else {}
        labels = (value.get("metadata") or {}).get("labels") or {}
        found += [key for key in labels if key != CIRCLE]
    return found


def _identity(change: Change) -> Iterator[Refusal]:
    """The server's identity only creates a namespace and its binding, and never changes them."""
    target = change.target
    bootstrap = target.kind in _BOOTSTRAP and (target.kind == "Namespace" or target.name == BINDING)
    if (change.identity == "server") != bootstrap:
        yield Refusal("effect.identity", f"The plan would write {target} as the {change.identity}'s identity.", FAULT)
    if bootstrap and change.operation not in {"create", "unchanged"}:
        what = f"{target} exists and differs from the request; infra-mcp only creates namespaces and bindings."
        yield Refusal("effect.identity", what, "A cluster admin changes it, or the request leaves it as it is.")
