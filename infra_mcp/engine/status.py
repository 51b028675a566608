"""What there is and how it fares, as far as the caller may see: read live, as the circle."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import anyio

from infra_mcp.drivers.base import Context, Question
from infra_mcp.engine.dependencies import Dependencies
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather, gather_pair
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import END
from infra_mcp.policy.policy import Policy

_RECENT = 10
_MAX_APPS = 20  # that are looked at in the cluster when none is named
_PATIENCE = 10.0  # seconds for one of them


async def status(deps: Dependencies, caller: Caller, namespace: str | None, app: str | None) -> dict[str, Any]:
    """The caller's apps, its namespace's workloads and pull secrets, and its circle's requests.

    What lies outside the caller's circle looks like not there. An operator sees requests and policy; the cluster is
    read as a circle only, so an operator names none. Without a namespace or an app, all apps are listed.

    Raises:
        InfraError: `not-found`, `cluster-unreachable`, `cluster-denied`.
    """
    policy = deps.policy()
    recent = partial(deps.ledger.recent, caller.circle, _RECENT, True)
    there, requests = await gather_pair(partial(_there, deps, policy, caller, namespace, app), recent)
    found: dict[str, Any] = {"cluster": policy.cluster_name(), **there}
    if waiting := policy.waiting(caller.circle):
        found["waiting_for_policy_accept"] = list(waiting)
    found["open"] = [_line(request) for request in requests if request.state not in END]
    found["recent"] = [_line(request) for request in requests if request.state in END]
    return found


async def _there(
    deps: Dependencies, policy: Policy, caller: Caller, namespace: str | None, app: str | None
) -> dict[str, Any]:
    """What the caller looks at in the cluster; for one who named nothing, the apps.

    Raises:
        InfraError: as for `status`.
    """
    if not (namespace or app):
        return {"apps": await _apps(deps, policy, caller)}
    if caller.circle is None:
        raise InfraError("not-found", "An operator has no circle to look into a namespace with.")
    if app is not None:
        known = policy.apps.get(app)
        if known is None or known.owner != caller.name:
            raise InfraError("not-found", f"There is no app {app}, or it is not yours.")
    elif namespace is None or not policy.reaches(caller.circle, namespace):
        raise InfraError("not-found", "There is no such namespace, or it is not yours.")
    about: dict[str, Any] = {"app": app} if app is not None else {"namespace": namespace}
    return about | await _compared(deps, policy, caller.circle, Question(app=app, scope=namespace))


async def _apps(deps: Dependencies, policy: Policy, caller: Caller) -> list[dict[str, Any]]:
    """The caller's apps, each as it is live; for who may look at all every app, as the ledger knows it."""
    names = [
        name
        for name, rules in sorted(policy.apps.items())
        if caller.reads_all
        or (rules.owner == caller.name and policy.reaches(caller.circle, rules.workload_parts.namespace))
    ]
    landed = await gather(partial(deps.ledger.landed_version, name) for name in names)
    lines: list[dict[str, Any]] = [
        {"app": name, "workload": policy.apps[name].workload, "landed": version}
        for name, version in zip(names, landed, strict=True)
    ]
    if caller.circle is None:  # the cluster is read as a circle only
        return lines
    looked = await gather(partial(_fares, deps, policy, caller.circle, name) for name in names[:_MAX_APPS])
    return [line | found for line, found in zip(lines, looked, strict=False)] + lines[len(looked) :]


async def _fares(deps: Dependencies, policy: Policy, circle: str, app: str) -> dict[str, Any]:
    """One app among many: what keeps it from being seen is its reason, and no failure of the others."""
    reason = "the API server gave no answer in time"
    with anyio.move_on_after(_PATIENCE):
        try:
            return await _compared(deps, policy, circle, Question(app=app))
        except InfraError as error:
            reason = error.what
    return {"health": "unknown", "reason": reason}


async def _compared(deps: Dependencies, policy: Policy, circle: str, question: Question) -> dict[str, Any]:
    """What is live, compared with the branch's head; where that cannot be read, its drift says why."""
    delivery, place = next(iter(policy.places), ("", ""))
    driver = await deps.places.driver(policy, delivery, place)
    context = Context(request="", circle=circle, policy=policy)
    try:
        tree = await deps.tree(policy, await deps.git.head(policy.tree.branch))
    except InfraError as error:
        return await driver.status(context, question) | {"drift": [f"not known: {error.what}"]}
    return await driver.status(context, replace(question, tree=tree))


def _line(request: Any) -> dict[str, Any]:  # noqa: ANN401 - a Request
    receipt = request.receipt or {}
    return {
        "request": request.id,
        "by": request.caller.name,
        "action": request.action.action,
        "state": request.state.value,
        "message": str(receipt.get("message", ""))[:200],
    }
