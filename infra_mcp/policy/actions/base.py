"""The checks of policy for an action, and those that all actions about an app share. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from infra_mcp.model.actions import AppAction
from infra_mcp.model.actions.base import InstanceAction
from infra_mcp.model.effect import Change
from infra_mcp.model.peer import Caller
from infra_mcp.model.target import Target
from infra_mcp.policy.grants import Grant, Refusal, cluster, namespace, one_cluster, some
from infra_mcp.policy.images import new_images
from infra_mcp.policy.policy import Policy

FAULT: Final = "The caller cannot correct this; an operator should look at the plan."
KUBERNETES: Final = "kubernetes"
SYSTEMS: Final = frozenset({KUBERNETES, "helm", "terraform", "dns"})
WORKLOADS: Final = frozenset({"apps/Deployment", "apps/StatefulSet", "apps/DaemonSet"})


@dataclass(frozen=True)
class About:
    """What an action is about before anything is read, for rules and locks."""

    place: str  # the policy's name of the cluster; empty for none
    apps: frozenset[str] = frozenset()  # of the catalogue
    scopes: frozenset[str] = frozenset()  # namespaces or zones, as far as they are known
    environments: frozenset[str] = frozenset()  # of the app: the one that is named, or any that it could be
    targets: tuple[Target, ...] = ()  # targets that the action names itself

    @property
    def keys(self) -> frozenset[str]:
        """The locks that a request holds from planning on."""
        return frozenset({f"app|{name}" for name in self.apps} | {target.key for target in self.targets})


def _instance(action: AppAction) -> tuple[str | None, str | None]:
    """The environment and the cluster that an action names."""
    return (action.environment, action.cluster) if isinstance(action, InstanceAction) else (None, None)


def app_about(policy: Policy, action: AppAction) -> About:
    """An action about an app is about the app, its environment, and its namespace where the policy names it."""
    app = policy.apps.get(action.app)
    environment, cluster = _instance(action)
    place = policy.home(action.app, environment, cluster) or ""
    environments = frozenset({environment} if environment else app.environments if app else ())
    scopes = app.namespaces(environment) if app else frozenset[str]()
    return About(place, frozenset({action.app}), scopes, environments)


def app_refusals(policy: Policy, caller: Caller, to: Grant, action: AppAction) -> Iterator[Refusal]:
    """Every action about an app needs a cluster, an app of the caller that runs there, and a grant of its namespace.

    An app without a section may be the caller's if [[owners]] names them: then the files of the plan decide.
    """
    environment, named = _instance(action)
    by_cluster = policy.by_cluster(action.app, environment)
    yield from (refused := list(cluster(policy, named)) if by_cluster or named is not None else [])
    if refused:
        return
    app = policy.apps.get(action.app)
    owned = policy.owner_of_app(action.app) == caller.name
    if not owned and (app is not None or all(one.owner != caller.name for one in policy.owners)):
        own = sorted(name for name in policy.apps if policy.owner_of_app(name) == caller.name)
        yield Refusal(
            f"apps.{action.app}",
            f"There is no app {action.app}, or {caller.name} does not own it.",
            f"One of its own: {some(own)}." if own else f"The catalogue has no app of {caller.name}.",
        )
        return
    if by_cluster:
        yield from one_cluster(f"App {action.app}", policy.homes(action.app, environment), named)
    for name in sorted(app.namespaces(environment)) if app else ():
        yield from namespace(policy, to, name)


def granted(policy: Policy, to: Grant, name: str) -> Iterator[Refusal]:
    """Whether an action is granted, of which something is to be rolled back."""
    if name not in to.own.actions or not policy.in_force(name):
        own = [one for one in to.own.actions if policy.in_force(one)]
        yield Refusal(
            f"{to.rule}.actions",
            f"{to.name} may not {name}, and so not roll that back.",
            to.hint(
                "actions", f"A request of one of its actions: {some(own)}.", "No action is granted to this circle."
            ),
        )


def is_workload(policy: Policy, action: AppAction, target: Target) -> bool:
    """Whether a target is the app's workload; without one in policy, whether it is no workload of another's app.

    Of a release, a record or a workspace the files decide that declare it: they must be the caller's.
    """
    if target.system != KUBERNETES:
        return True
    place = (target.scope, target.kind.rpartition("/")[2], target.name)
    app = policy.apps.get(action.app)
    if app is not None and app.workload_parts is not None:
        return place == tuple(app.workload_parts)
    owner = policy.owner_of_app(action.app)
    return not any(
        one.workload_parts is not None and place == tuple(one.workload_parts) and policy.owner_of_app(name) != owner
        for name, one in policy.apps.items()
    )


def same_images(_: Policy, __: Caller, action: AppAction, change: Change) -> Iterator[Refusal]:
    """The plan of an action without a version may change no image."""
    for reference in new_images(change):
        what = f"The plan would set {reference[:200]}, and a {action.action} changes no image."
        yield Refusal("effect.scope", what, FAULT)


@dataclass(frozen=True)
class ActionRules:
    """The checks of one action, each a pure function; the defaults are for an action about an app.

    Args:
        refusals: every reason of a grant against the action, the one to report first.
        effect_refusals: every reason against one change of its plan, beside those for all actions.
        writes: the kinds of Kubernetes that it may write itself, as in `Target.kind`; no plan may write others.
        about: what the action is about.
        is_about: whether the action is about a target.
        subject_refusals: those of `refusals` that concern what the action is about, and not the values that it sets:
            a rollback of the action is judged by them, and by the values that it sets itself.
        systems: the systems in which it may write.
    """

    refusals: Callable[[Policy, Caller, Grant, Any], Iterator[Refusal]] = app_refusals
    effect_refusals: Callable[[Policy, Caller, Any, Change], Iterator[Refusal]] = same_images
    writes: frozenset[str] = WORKLOADS
    about: Callable[[Policy, Any], About] = app_about
    is_about: Callable[[Policy, Any, Target], bool] = is_workload
    subject_refusals: Callable[[Policy, Caller, Grant, Any], Iterator[Refusal]] = app_refusals
    systems: frozenset[str] = SYSTEMS
