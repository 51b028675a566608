"""The checks of a namespace: its name, labels, pull secrets and amounts, each as granted. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from infra_mcp.model.actions.provision_namespace import ProvisionNamespace
from infra_mcp.model.effect import Change
from infra_mcp.model.peer import Caller
from infra_mcp.model.target import Target
from infra_mcp.policy.actions.base import FAULT, KUBERNETES, About, ActionRules
from infra_mcp.policy.grants import (
    NONE,
    Grant,
    Refusal,
    cluster,
    fixed_labels,
    labels,
    namespace,
    numbers,
    one_cluster,
    some,
)
from infra_mcp.policy.policy import Policy

_WRITES: Final = frozenset(
    {
        "Namespace",
        "rbac.authorization.k8s.io/RoleBinding",
        "ServiceAccount",
        "Secret",
        "ResourceQuota",
        "LimitRange",
        "networking.k8s.io/NetworkPolicy",
    }
)
_NO_APP: Final = ""  # a namespace may be wherever an app may be


def _about(policy: Policy, action: ProvisionNamespace) -> About:
    place = policy.home(_NO_APP, None, action.cluster) or ""
    target = Target(system="kubernetes", place=place, scope=None, kind="Namespace", name=action.namespace)
    return About(place, scopes=frozenset({action.namespace}), targets=(target,))


def _subject(policy: Policy, _: Caller, to: Grant, action: ProvisionNamespace) -> Iterator[Refusal]:
    yield from (refused := list(cluster(policy, action.cluster)))
    if not refused:
        yield from one_cluster(f"Namespace {action.namespace}", policy.homes(_NO_APP), action.cluster)
        yield from namespace(policy, to, action.namespace)


def _refusals(policy: Policy, caller: Caller, to: Grant, action: ProvisionNamespace) -> Iterator[Refusal]:
    yield from _subject(policy, caller, to, action)
    if list(cluster(policy, action.cluster)):
        return
    yield from fixed_labels(action.labels)
    yield from labels(to, action.labels)
    granted = set(to.own.pull_secrets) & set(policy.pull_secrets)
    missing = [name for name in action.pull_secrets if name not in granted]
    if missing:
        yield Refusal(
            f"{to.rule}.pull_secrets",
            f"{to.name} is not granted a pull secret {some(missing)}.",
            to.hint("pull_secrets", f"Its own: {some(to.own.pull_secrets)}.", NONE.format("pull secret")),
        )
    for asked in (action.quota, action.limits):
        if asked is not None:
            yield from numbers(to, asked.cpu, asked.memory)


def _effect(policy: Policy, caller: Caller, action: ProvisionNamespace, change: Change) -> Iterator[Refusal]:
    target = change.target
    if target.kind == "Secret":
        circle = caller.circle or ""
        copies = {policy.pull_secrets[name].target for name in action.pull_secrets if policy.granted(circle, name)}
        if target.name not in copies:
            yield Refusal(
                f"circles.{circle}.pull_secrets",
                f"The plan would write {target}, which is no copy of a requested pull secret.",
                FAULT,
            )


RULES = ActionRules(
    _refusals,
    _effect,
    _WRITES,
    _about,
    lambda _, action, target: target.home == action.namespace,
    _subject,
    frozenset({KUBERNETES}),
)
