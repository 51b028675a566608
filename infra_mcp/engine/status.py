"""What there is and its health, as far as the caller may see: read live, as the circle."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import anyio

from infra_mcp.drivers.base import Context, Question
from infra_mcp.engine.run import Dependencies
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather, gather_pair
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import END, Request
from infra_mcp.policy.grammar import matches
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.systems import CARRIED_OUT
from infra_mcp.repository.census.roots import OURS

_MAX_RECENT = 10
_SOON = 14 * 86_400.0  # seconds before and after its end in which operators are told of a token
_MAX_APPS = 20  # that are read in the cluster when none is named
_PATIENCE = 10.0  # seconds for one of them


async def status(
    deps: Dependencies, caller: Caller, namespace: str | None, app: str | None, place: str | None = None
) -> dict[str, Any]:
    """The caller's apps, its namespace's workloads and pull secrets, a zone or workspace, and its circle's requests.

    What is outside the caller's circle looks absent. The cluster is read as a circle only, so an operator sees
    requests and policy. Without a namespace or an app, all apps are listed.

    Raises:
        InfraError: `not-found`, `cluster-unreachable`, `cluster-denied`.
    """
    policy = deps.policy()
    recent = partial(deps.ledger.recent, caller.circle, _MAX_RECENT, True)
    live, requests = await gather_pair(partial(_live, deps, policy, caller, namespace, app, place), recent)
    found: dict[str, Any] = {"cluster": policy.cluster_name(), **live}
    if len(policy.clusters) > 1:
        found["clusters"] = list(policy.clusters)
    if waiting := policy.waiting(caller.circle):
        found["waiting_for_policy_accept"] = list(waiting)
    if freezes := _freezes(deps, policy, caller):
        found["freezes"] = freezes
    if caller.operator and (ending := await deps.ledger.tokens(_SOON)):
        names = {"peer", "circle", "id", "expires", "expired", "used", "sponsor", "replaced"}
        found["expiring_tokens"] = [one.model_dump(mode="json", include=names) for one in ending]
    found["open"] = [_line(request) for request in requests if request.state not in END]
    by = await deps.ledger.rolled_back_by(request.id for request in requests)
    ended = [request for request in requests if request.state in END]
    found["recent"] = [_line(one) | ({"rolled_back_by": by[one.id]} if one.id in by else {}) for one in ended]
    return found


def _freezes(deps: Dependencies, policy: Policy, caller: Caller) -> list[dict[str, Any]]:
    """The freezes that hold now and may be about the caller's circle; to a peer without what else they are about."""
    now, found = deps.now(), []
    for one in policy.freezes:
        circles = one.match.circles
        is_theirs = caller.circle is None or circles is None or any(matches(each, caller.circle) for each in circles)
        if one.holds(now) and is_theirs:
            about = {"match": one.match.model_dump(mode="json", exclude_none=True)} if caller.operator else {}
            found.append({"id": one.id, "until": one.until.isoformat(), "reason": one.reason, **about})
    return found


async def _live(
    deps: Dependencies, policy: Policy, caller: Caller, namespace: str | None, app: str | None, place: str | None
) -> dict[str, Any]:
    if not (namespace or app or place):
        return {"apps": await _apps(deps, policy, caller)}
    if caller.circle is None:
        raise InfraError("not-found", "An operator has no circle, and so cannot look into anything of one.")
    if place is not None:
        if not policy.grants_place(caller.circle, place):
            raise InfraError("not-found", "There is no such zone or workspace, or it is not yours.")
        return {"place": place} | await _compared(deps, policy, caller.circle, Question(scope=place), place)
    if app is not None:
        known = policy.apps.get(app)
        if known is None or policy.owner_of_app(app) != caller.name:
            raise InfraError("not-found", f"There is no app {app}, or it is not yours.")
    elif namespace is None or not policy.reaches(caller.circle, namespace):
        raise InfraError("not-found", "There is no such namespace, or it is not yours.")
    about: dict[str, Any] = {"app": app} if app is not None else {"namespace": namespace}
    if app is not None and (others := policy.other_places(app)):
        return about | await _elsewhere(deps, policy, caller.circle, app, others)
    places = policy.homes(app or "")
    question = Question(app=app, scope=namespace)
    if len(places) == 1:
        return about | await _compared(deps, policy, caller.circle, question, places[0])
    look = partial(_looked, deps, policy, caller.circle, question)
    found = await gather(partial(look, place) for place in places)
    return about | {"in": dict(zip(places, found, strict=True))}


async def _elsewhere(
    deps: Dependencies, policy: Policy, circle: str, app: str, places: Sequence[str]
) -> dict[str, Any]:
    """An app whose files are those of zones or workspaces."""
    looks = [partial(_looked, deps, policy, circle, Question(app=app, scope=name), name) for name in places]
    return {"in": dict(zip(places, await gather(looks), strict=True))}


async def _apps(deps: Dependencies, policy: Policy, caller: Caller) -> list[dict[str, Any]]:
    """The caller's apps, each as it is live; for those who read all, every app as the ledger knows it."""
    names = [name for name in sorted(policy.apps) if caller.reads_all or policy.is_of(name, caller.name, caller.circle)]
    landed = await gather(partial(deps.ledger.landed_version, name, confirmed=True) for name in names)
    lines: list[dict[str, Any]] = [
        {"app": name, "workload": policy.apps[name].workload, "landed": version}
        for name, version in zip(names, landed, strict=True)
    ]
    if caller.circle is None:  # the cluster is read as a circle only
        return lines
    read = await gather(partial(health, deps, policy, caller.circle, name) for name in names[:_MAX_APPS])
    return [line | found for line, found in zip(lines, read, strict=False)] + lines[len(read) :]


async def health(deps: Dependencies, policy: Policy, circle: str, app: str) -> dict[str, Any]:
    """One app among many, in its cluster or in each of its clusters."""
    if others := policy.other_places(app):
        return {"in": {name: {} for name in others}}  # a list of apps starts no program for each
    places = policy.homes(app)
    look = partial(_looked, deps, policy, circle, Question(app=app))
    if len(places) == 1:
        return await look(places[0])
    found = await gather(partial(look, place) for place in places)
    return {"in": dict(zip(places, found, strict=True))}


async def _looked(deps: Dependencies, policy: Policy, circle: str, question: Question, place: str) -> dict[str, Any]:
    """One answer among several: when there is none, that is its reason, and the others are still read."""
    reason = "the API server did not answer in time"
    with anyio.move_on_after(_PATIENCE):
        try:
            return await _compared(deps, policy, circle, question, place)
        except InfraError as error:
            reason = error.what
    return {"health": "unknown", "reason": reason}


async def _compared(deps: Dependencies, policy: Policy, circle: str, question: Question, place: str) -> dict[str, Any]:
    """The live state compared with the head of the branch; where that cannot be read, `drift` says why.

    Where a place has several deliveries, each says what it knows; of what two say, that of the later one holds.
    """
    context = Context(request="", circle=circle, policy=policy)
    more: dict[str, Any] = {}
    try:
        tree = await deps.tree(policy, await deps.git.head(policy.tree.branch), place)
        question = replace(question, tree=tree)
    except InfraError as error:
        more = {"drift": [f"not known: {error.what}"]}
    first, *rest = _deliveries(policy, place)
    found = await (await deps.places.driver(policy, first, place)).status(context, question) | more
    for delivery in rest:
        try:
            found |= await (await deps.places.driver(policy, delivery, place)).status(context, question)
        except InfraError as error:
            found[delivery] = f"not known: {error.what}"
    return found


def _deliveries(policy: Policy, place: str) -> list[str]:
    """The deliveries of a place: the one of plain objects first, then those of our own that say more."""
    if alone := policy.delivery_of(place):  # a zone, a workspace
        return [alone]
    here = [delivery for delivery, at in policy.places if at == place]
    ours = [delivery for delivery in here if delivery in CARRIED_OUT]
    return sorted(ours, key=lambda one: one != OURS) or here[:1] or [""]


def _line(request: Request) -> dict[str, Any]:
    receipt = request.receipt or {}
    return {
        "request": request.id,
        "by": request.caller.name,
        "action": request.action.action,
        "state": request.state.value,
        "message": str(receipt.get("message", ""))[:200],
    }
