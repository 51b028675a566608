"""The apps that a repository holds: each instance with its version, where that stands, and how it becomes live."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import anyio
from anyio import to_thread

from infra_mcp.actions.base import census_of
from infra_mcp.engine.run import Dependencies
from infra_mcp.engine.status import health
from infra_mcp.gather import gather
from infra_mcp.model.peer import Caller
from infra_mcp.policy.policy import Policy
from infra_mcp.repository.census.apps import Census, Instance
from infra_mcp.repository.locator.version import held

_MAX_LIVE = 20  # apps that are read in the cluster
_MAX_HEALTH = 100  # the same, for all at once within a few seconds
_AT_ONCE = 16


def listed(census: Census, policy: Policy) -> list[dict[str, Any]]:
    """Every instance of every app, by name.

    Args:
        census: of the repository.
        policy: in force, or as the checkout has it.

    Returns:
        For each: `app`, `environment`, `version`, `at` (the place that decides it), `units`, `delivery`, `by`,
        `cluster`, `namespace`, `owner`; what is not known is None.
    """
    return [_line(policy, one) for instances in census.apps.values() for one in instances]


def _line(policy: Policy, one: Instance) -> dict[str, Any]:
    holds = held(one)
    decides = [hold.decides for hold in holds]
    path = decides[0].spot.path if decides else one.units[0].path
    root = policy.root_of(one.entry.root or path) if "roots" in policy.tree.model_fields_set else None
    spaces = {unit.namespace for unit in one.units if unit.namespace}
    return {
        "app": one.app,
        "environment": one.environment,
        "version": ", ".join(dict.fromkeys(place.version or place.pinned for place in decides)) or None,
        "at": [str(place.spot) for place in decides],
        "units": [str(unit) for unit in one.units],
        "delivery": root.delivery if root else one.entry.delivery,
        "by": one.entry.by or None,
        "cluster": (root.cluster if root else None) or one.entry.cluster,
        "namespace": ", ".join(sorted(spaces)) or None,
        "owner": policy.owner_of_app(one.app) or policy.owner_of(path),
    }


async def apps(deps: Dependencies, caller: Caller, app: str | None) -> list[dict[str, Any]]:
    """The apps that a caller owns, or all for those who read all, each with its live state where it can be read.

    Args:
        deps: of the engine.
        caller: as the transport identified it.
        app: only this one.

    Raises:
        InfraError: `git-failed`; the policy is not in force.
    """
    policy = deps.policy()
    head = await deps.git.head(policy.tree.branch)
    tree = await deps.tree(policy, head, policy.cluster_name() or "")
    lines = await to_thread.run_sync(lambda: listed(census_of(policy, tree), policy))
    mine = [line for line in lines if app in (None, line["app"]) and (caller.reads_all or line["owner"] == caller.name)]
    if caller.circle is not None:
        names = [name for name in dict.fromkeys(line["app"] for line in mine) if name in policy.apps][:_MAX_LIVE]
        read = await gather(partial(health, deps, policy, caller.circle, name) for name in names)
        live = dict(zip(names, read, strict=True))
        mine = [line | ({"live": live[line["app"]]} if line["app"] in live else {}) for line in mine]
    return mine


async def healths(
    deps: Dependencies, lines: Sequence[Mapping[str, Any]], seconds: float
) -> list[dict[str, Any] | None]:
    """The live health of each instance, where it was read in time: each app as the circle of its owner may see it.

    Args:
        deps: of the engine.
        lines: instances, as `listed` gives them.
        seconds: how long all of them may take; they are read side by side.

    Returns:
        For each line `health`, `reason` and `version`, or None: not in time, or nothing that policy lets be read.
    """
    policy, found, places = deps.policy(), {}, anyio.Semaphore(_AT_ONCE)

    async def read(app: str, circle: str) -> None:
        async with places:
            found[app] = await health(deps, policy, circle, app)

    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as group:
            for app in list(dict.fromkeys(line["app"] for line in lines))[:_MAX_HEALTH]:
                if (circle := _circle_of(policy, app)) is not None:
                    group.start_soon(read, app, circle)
    instances = Counter(line["app"] for line in lines)
    return [_health_of(policy, line, found.get(line["app"]), instances[line["app"]] == 1) for line in lines]


def _circle_of(policy: Policy, app: str) -> str | None:
    """The circle by which an app of the catalogue is read: one of its owner's that reaches its namespaces."""
    owner = policy.owner_of_app(app)
    return next((one for one in policy.circles if owner and policy.is_of(app, owner, one)), None)


def _health_of(
    policy: Policy, line: Mapping[str, Any], found: dict[str, Any] | None, alone: bool
) -> dict[str, Any] | None:
    """What was read of an app, if it is about this instance: of several, the one of its cluster and namespace."""
    spaces = policy.apps[line["app"]].namespaces() if found else ()
    if not alone and spaces and line["namespace"] not in spaces:
        return None
    one = (found or {}).get("in", {}).get(line["cluster"]) if "in" in (found or {}) else found
    return {name: one.get(name) for name in ("health", "reason", "version")} if one and one.get("health") else None
