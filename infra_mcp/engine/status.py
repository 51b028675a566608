"""What there is and how it fares, as far as the caller may see: read live, as the circle."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio

from infra_mcp.clients.kube import KubeError
from infra_mcp.engine.tools import Tools
from infra_mcp.errors import InfraError
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import END
from infra_mcp.policy.rules import Policy
from infra_mcp.repository.value import Tree
from infra_mcp.together import both, together

__all__ = ["status"]

_RECENT = 10
_MOST = 20  # apps that are looked at in the cluster when none is named
_PATIENCE = 10.0  # seconds for one of them


async def status(tools: Tools, caller: Caller, namespace: str | None, app: str | None) -> dict[str, Any]:
    """The caller's apps, its namespace's workloads and pull secrets, and its circle's requests.

    What lies outside the caller's circle looks like not there. An operator sees requests and policy; the cluster is
    read as a circle only, so an operator names none. Without a namespace or an app, all apps are listed.

    Raises:
        InfraError: `not-found`, `cluster-unreachable`, `cluster-denied`.
    """
    policy = tools.policy()
    recent = partial(tools.ledger.recent, caller.circle, _RECENT, True)
    there, requests = await both(partial(_there, tools, policy, caller, namespace, app), recent)
    found: dict[str, Any] = {"cluster": tools.cluster, **there}
    found["open"] = [_line(request) for request in requests if request.state not in END]
    found["recent"] = [_line(request) for request in requests if request.state in END]
    return found


async def _there(
    tools: Tools, policy: Policy, caller: Caller, namespace: str | None, app: str | None
) -> dict[str, Any]:
    """What the caller looks at in the cluster; for one who named nothing, the apps.

    Raises:
        InfraError: as for `status`.
    """
    if not (namespace or app):
        return {"apps": await _apps(tools, policy, caller)}
    if caller.circle is None:
        raise InfraError("not-found", "An operator has no circle to look into a namespace with.")
    try:
        return await _live(tools, policy, caller.circle, namespace, app, caller.name)
    except KubeError as error:
        if error.status in {403, 404}:  # not there, or not bound to the circle: the same to the caller
            raise InfraError("not-found", "There is no such namespace, or it is not yours.") from None
        raise error.translate(None) from error


async def _apps(tools: Tools, policy: Policy, caller: Caller) -> list[dict[str, Any]]:
    """The caller's apps, each as it is live; for who may look at all every app, as the ledger knows it."""
    names = [
        name
        for name, rules in sorted(policy.apps.items())
        if caller.reads_all
        or (rules.owner == caller.name and policy.reaches(caller.circle, rules.workload_parts.namespace))
    ]
    landed = await together(partial(tools.ledger.landed_version, name) for name in names)
    lines: list[dict[str, Any]] = [
        {"app": name, "workload": policy.apps[name].workload, "landed": version}
        for name, version in zip(names, landed, strict=True)
    ]
    if caller.circle is None:  # the cluster is read as a circle only
        return lines
    user = policy.service_account(caller.circle)
    looked = await together(partial(_fares, tools, policy, name, user) for name in names[:_MOST])
    return [line | found for line, found in zip(lines, looked, strict=False)] + lines[len(looked) :]


async def _fares(tools: Tools, policy: Policy, app: str, user: str) -> dict[str, Any]:
    """One app among many: what keeps it from being seen is its reason, and no failure of the others."""
    reason = "the API server gave no answer in time"
    with anyio.move_on_after(_PATIENCE):
        try:
            return await _compared(tools, policy, partial(tools.driver.observe_app, policy, app, user))
        except KubeError as error:
            reason = error.translate(app).what
        except InfraError as error:
            reason = error.what
    return {"health": "unknown", "reason": reason}


async def _live(
    tools: Tools, policy: Policy, circle: str, namespace: str | None, app: str | None, caller: str
) -> dict[str, Any]:
    user = policy.service_account(circle)
    if app is not None:
        known = policy.app(app)
        if known is None or known.owner != caller:
            raise InfraError("not-found", f"There is no app {app}, or it is not yours.")
        return {"app": app, **await _compared(tools, policy, partial(tools.driver.observe_app, policy, app, user))}
    if namespace is None or not policy.reaches(circle, namespace):
        raise InfraError("not-found", "There is no such namespace, or it is not yours.")
    observe = partial(tools.driver.observe_namespace, policy, namespace, user, circle)
    return {"namespace": namespace, **await _compared(tools, policy, observe)}


async def _compared(
    tools: Tools, policy: Policy, observe: Callable[[Tree | None], Awaitable[dict[str, Any]]]
) -> dict[str, Any]:
    """What is observed, compared with the branch's head; where that cannot be read, its drift says why."""
    try:
        tree = await tools.tree(policy, await tools.git.head(policy.tree.branch))
    except InfraError as error:
        return await observe(None) | {"drift": [f"not known: {error.what}"]}
    return await observe(tree)


def _line(request: Any) -> dict[str, Any]:  # noqa: ANN401 - a Request
    receipt = request.receipt or {}
    return {
        "request": request.id,
        "by": request.caller.name,
        "action": request.action.action,
        "state": request.state.value,
        "message": str(receipt.get("message", ""))[:200],
    }
