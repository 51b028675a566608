"""What a change reaches through builds and other deliveries, judged: each of them must be the caller's. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from infra_mcp.model.effect import Effect, Reached
from infra_mcp.model.peer import Caller
from infra_mcp.model.target import Target
from infra_mcp.policy import grants
from infra_mcp.policy.actions.base import About
from infra_mcp.policy.grants import Grant, Refusal, some
from infra_mcp.policy.owners import is_within
from infra_mcp.policy.policy import Policy

_ALONE: Final = "Set it in the overlay or the values file that decides for this app alone."


def built(effect: Effect) -> frozenset[str]:
    """The keys of the targets that the reached builds give otherwise."""
    return frozenset(key for one in effect.reach for key in one.targets)


def scopes(effect: Effect) -> frozenset[str]:
    """The namespaces of these targets."""
    return frozenset(scope for key in built(effect) if (scope := key.split("|")[2]))


def may_move(policy: Policy, caller: Caller, target: Target) -> bool:
    """Whether a target that a build gives otherwise is no workload of an app of others."""
    others = policy.once(("others", caller.name, caller.circle), lambda: _of_others(policy, caller))
    return (target.scope, target.kind.rpartition("/")[2], target.name) not in others


def _of_others(policy: Policy, caller: Caller) -> frozenset[tuple[str | None, ...]]:
    """Namespace, kind and name of each workload of an app that is not the caller's."""
    apps = policy.apps.items()
    return frozenset(
        tuple(one.workload_parts) for name, one in apps if one.workload_parts and not _owns(policy, caller, name)
    )


def refusals(
    policy: Policy, caller: Caller, granted: Sequence[Grant], about: About, effect: Effect
) -> Iterator[Refusal]:
    """Every reason against what an effect reaches.

    Args:
        policy: in force.
        caller: the requester.
        granted: all that must grant the request.
        about: what the action is about.
        effect: of the plan.
    """
    for one in effect.reach:
        what = f"{one.by or one.delivery} of {one.root}"
        if one.cluster in policy.clusters and one.cluster != about.place:
            where = f"on cluster {one.cluster}, and the request is for {about.place or 'none'}"
            yield Refusal("effect.cluster", f"The change would reach {what} {where}.", _ALONE)
        elif not one.own and not _is_of(policy, caller, one):
            yield Refusal("reach", f"The change would reach {what}, which is not known to be {caller.name}'s.", _ALONE)
        strange = [app for app in one.apps if app in policy.apps and not _owns(policy, caller, app)]
        if strange and (one.targets or not one.own):
            yield Refusal(
                "reach", f"The change would also move {some(strange)}, which {caller.name} does not own.", _ALONE
            )
    for scope in sorted(scopes(effect)):
        for to in granted:
            yield from grants.namespace(policy, to, scope)


def _is_of(policy: Policy, caller: Caller, one: Reached) -> bool:
    """Whether a delivery is the caller's: by [[owners]], or since it delivers nothing but their apps."""
    owner = policy.owner_of(one.root) or policy.owner_of(f"{one.root}/.")  # a folder is owned like what is in it
    if owner is not None:
        return owner == caller.name
    if not one.apps:  # only objects of no app change: a ConfigMap
        mine = (path for app, rules in policy.apps.items() if _owns(policy, caller, app) for path in rules.paths)
        return any(is_within(one.root, path) for path in mine)
    return all(_owns(policy, caller, app) and _is_named(policy, app, one.root) for app in one.apps)


def _owns(policy: Policy, caller: Caller, app: str) -> bool:
    return policy.is_of(app, caller.name, caller.circle)


def _is_named(policy: Policy, app: str, root: str) -> bool:
    """Whether a root is one of an app's environments; of any, where its section names none."""
    environments = policy.apps[app].environments.values()
    named = [path for one in environments for path in one.paths]
    return not named or any(is_within(root, path) or is_within(path, root) for path in named)
