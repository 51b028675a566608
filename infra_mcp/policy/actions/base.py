"""What policy asks of an action, and what actions about an app of the catalogue share. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from infra_mcp.model.actions import AppAction
from infra_mcp.model.effect import Change
from infra_mcp.model.peer import Caller
from infra_mcp.model.target import Target
from infra_mcp.policy.grants import Grant, Refusal, cluster, namespace, some
from infra_mcp.policy.images import new_images
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.sections import AppRules

FAULT: Final = "This is not the caller's to change; an operator should look at the plan."
WORKLOADS: Final = frozenset({"apps/Deployment", "apps/StatefulSet", "apps/DaemonSet"})


@dataclass(frozen=True)
class About:
    """What an action is about, before anything is read: rules match by it, and it is locked.

    Args:
        place: policy's name of the cluster; empty where the action is about none.
        apps: the apps of the catalogue.
        scopes: the namespaces or zones.
        targets: the targets that it is about by itself.
    """

    place: str
    apps: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    targets: tuple[Target, ...] = ()

    @property
    def keys(self) -> frozenset[str]:
        """The locks that a request holds from its planning on."""
        return frozenset({f"app|{name}" for name in self.apps} | {target.key for target in self.targets})


@dataclass(frozen=True)
class ActionRules:
    """What policy asks of one action. Each function is pure.

    Args:
        writes: the kinds of targets that it may write, as `Target.kind` has them; nothing else, whatever a plan says.
        about: what it is about.
        is_about: whether a target is one that it is about.
        refusals: every reason of a grant against it, the first to be told first.
        effect_refusals: every reason against one change of its plan, beside those that hold for all actions.
    """

    writes: frozenset[str]
    about: Callable[[Policy, Any], About]
    is_about: Callable[[Policy, Any, Target], bool]
    refusals: Callable[[Policy, Caller, Grant, Any], Iterator[Refusal]]
    effect_refusals: Callable[[Policy, Caller, Any, Change], Iterator[Refusal]]


def app_about(policy: Policy, action: AppAction) -> About:
    """What an action about an app of the catalogue is about: the app, and the namespace that it runs in."""
    app = policy.apps.get(action.app)
    place = policy.cluster_name(getattr(action, "cluster", None)) or ""
    scopes = frozenset({app.workload_parts.namespace}) if app else frozenset[str]()
    return About(place, frozenset({action.app}), scopes)


def app_refusals(policy: Policy, caller: Caller, to: Grant, action: AppAction) -> Iterator[Refusal]:
    """What every action about an app asks: a cluster, an app of the caller's own that runs there, and its namespace."""
    yield from (refused := list(cluster(policy, getattr(action, "cluster", None))))
    if refused:
        return
    app = policy.apps.get(action.app)
    if app is None or app.owner != caller.name:
        own = sorted(name for name, one in policy.apps.items() if one.owner == caller.name)
        yield Refusal(
            f"apps.{action.app}",
            f"There is no app {action.app}, or it is not one of {caller.name}'s.",
            f"One of its own: {some(own)}." if own else f"The catalogue has no app of {caller.name}.",
        )
        return
    yield from _at_home(policy, action, app)
    yield from namespace(policy, to, app.workload_parts.namespace)


def _at_home(policy: Policy, action: AppAction, app: AppRules) -> Iterator[Refusal]:
    home = policy.cluster_name(app.cluster)
    if policy.cluster_name(getattr(action, "cluster", None)) != home:
        yield Refusal("clusters", f"App {action.app} does not run in that cluster.", f"Cluster {home}, or none named.")


def is_workload(policy: Policy, action: AppAction, target: Target) -> bool:
    """Whether a target is the app's own workload, and nothing else."""
    app = policy.apps.get(action.app)
    place = (target.scope, target.kind.rpartition("/")[2], target.name)
    return app is not None and place == tuple(app.workload_parts)


def same_images(_: Policy, __: Caller, action: AppAction, change: Change) -> Iterator[Refusal]:
    """What an action asks of a plan when it is not about a version: that no image changes."""
    for reference in new_images(change):
        what = f"The plan would set {reference[:200]}, and a {action.action} changes no image."
        yield Refusal("effect.scope", what, FAULT)
