"""The checks of a Helm release: the circle may use Helm in its namespace. Its objects are judged by all. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from infra_mcp.model.actions.helm_release import HelmRelease
from infra_mcp.model.peer import Caller
from infra_mcp.model.target import Target
from infra_mcp.policy.actions.base import About, ActionRules
from infra_mcp.policy.grants import Grant, Refusal, cluster, namespace, one_cluster
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.systems import scope

_NO_APP = ""  # a release may be wherever an app may be


def _target(policy: Policy, action: HelmRelease) -> Target:
    place = policy.home(_NO_APP, None, action.cluster) or ""
    return Target(system="helm", place=place, scope=action.namespace, kind="release", name=action.release)


def _about(policy: Policy, action: HelmRelease) -> About:
    target = _target(policy, action)
    return About(target.place, scopes=frozenset({action.namespace}), targets=(target,))


def _refusals(policy: Policy, _: Caller, to: Grant, action: HelmRelease) -> Iterator[Refusal]:
    yield from (refused := list(cluster(policy, action.cluster)))
    if refused:
        return
    yield from one_cluster(f"Release {action.release}", policy.homes(_NO_APP), action.cluster)
    yield from (refused := list(namespace(policy, to, action.namespace)))
    if not refused:
        yield from scope(policy, to, _target(policy, action))


RULES = ActionRules(
    refusals=_refusals,
    effect_refusals=lambda *_: iter(()),  # the objects that it renders are judged in `decide`, one by one
    writes=frozenset(),
    about=_about,
    is_about=lambda policy, action, target: target.system == "helm" and target == _target(policy, action),
    subject_refusals=_refusals,
    systems=frozenset({"helm"}),
)
