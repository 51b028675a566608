"""The pods of the revision a workload is being brought to, those of others that block it, and warnings. Reads only.

Other pods of former revisions are left out: they end, and fail while they do, and nothing of that says how the new one
fares.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from infra_mcp.clients.kube import Cluster, KubeError
from infra_mcp.drivers.kubernetes.health import changed_at, condition, time_of
from infra_mcp.gather import gather

WORKLOADS: Final = ("Deployment", "StatefulSet", "DaemonSet")
_REVISION = "deployment.kubernetes.io/revision"
_HASH = "controller-revision-hash"
_PODS = frozenset({"f:template", "f:replicas"})  # a change of these makes the controller create pods

Objects = list[dict[str, Any]]


class Seen(NamedTuple):
    """What was found: pods of the revision, warnings, oldest first, and the replica set, if nothing older ails it.

    `blockers` are pods of other revisions that the controller waits for; `ready` counts the revision's ready pods, and
    is None where pods may not be read.
    """

    pods: Objects
    events: Objects
    replicasets: Objects
    blockers: Objects
    ready: int | None


def selector(live: dict[str, Any]) -> str:
    """The workload's pod selector as the API takes it in a query."""
    found = (live.get("spec") or {}).get("selector") or {}
    parts = [f"{key}={value}" for key, value in sorted((found.get("matchLabels") or {}).items())]
    for one in found.get("matchExpressions") or []:
        key, values = one["key"], ",".join(one.get("values") or [])
        form = {"In": "{k} in ({v})", "NotIn": "{k} notin ({v})", "Exists": "{k}", "DoesNotExist": "!{k}"}
        parts.append(form[one["operator"]].format(k=key, v=values))
    return ",".join(parts)


async def look(cluster: Cluster, live: dict[str, Any], *, as_user: str | None, warnings: bool = True) -> Seen:
    """Look at the pods of the revision the workload's controller works on.

    Args:
        cluster: where.
        live: the workload, as it is now.
        as_user: the identity to read as. What it may not read counts as absent: the workload's own state still tells
            whether it landed, only the cause may stay unknown.
        warnings: whether to read events too.

    Raises:
        KubeError: the API server cannot be asked.
    """
    kind, uid, namespace = live["kind"], live["metadata"]["uid"], live["metadata"]["namespace"]
    read = partial(_list, cluster, namespace, as_user)
    chosen = selector(live)
    calls = [partial(read, "v1", "Pod", label_selector=chosen)]
    if kind == "Deployment":
        calls.append(partial(read, "apps/v1", "ReplicaSet", label_selector=chosen))
    if kind == "DaemonSet":
        calls.append(partial(read, "apps/v1", "ControllerRevision", label_selector=chosen))
    if warnings:
        calls.append(partial(read, "v1", "Event", field_selector="type=Warning"))
    found, *rest = await gather(calls)
    told = (rest.pop() if warnings else None) or []
    others = _owned((rest[0] if rest else None) or [], uid)
    sets = _current(live, others) if kind == "Deployment" else []
    owners = _uids(others if kind == "Deployment" else [live])
    mine = [pod for pod in found or [] if any(_owned([pod], owner) for owner in owners)]
    if kind == "Deployment":
        pods = [pod for pod in mine if any(_owned([pod], owner) for owner in _uids(sets))]
    else:
        revision = _revision(live, others)
        pods = [pod for pod in mine if revision in {None, (pod["metadata"].get("labels") or {}).get(_HASH)}]
    blockers = [pod for pod in mine if pod not in pods and _blocks(live, pod)]
    events = _recent(live, told, pods=_uids(pods + blockers), owners=_uids([live, *sets]))
    ready = None if found is None else sum(is_ready(pod) and not _is_leaving(pod) for pod in pods)
    return Seen(pods, events, [one for one in sets if not _failed_before(live, one)], blockers, ready)


def _failed_before(live: dict[str, Any], replicaset: dict[str, Any]) -> bool:
    """Whether a replica set's failure is older than the change; its controller tries again before it clears it."""
    failure = condition(replicaset, "ReplicaFailure")
    return bool(failure) and time_of(failure.get("lastTransitionTime")) < changed_at(live, _PODS)


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether a pod takes requests."""
    return bool(condition(pod, "Ready").get("status") == "True")


def _blocks(live: dict[str, Any], pod: dict[str, Any]) -> bool:
    """Whether a pod of another revision is waited for: until it is gone, or in an ordered StatefulSet until ready."""
    ordered = live["kind"] == "StatefulSet" and live["spec"].get("podManagementPolicy", "OrderedReady") != "Parallel"
    return _is_leaving(pod) or (ordered and not is_ready(pod))


def _is_leaving(pod: dict[str, Any]) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def _uids(objects: Objects) -> set[str]:
    return {one["metadata"]["uid"] for one in objects}


async def _list(
    cluster: Cluster,
    namespace: str,
    as_user: str | None,
    api_version: str,
    kind: str,
    label_selector: str | None = None,
    field_selector: str | None = None,
) -> Objects | None:
    """The objects; None where they may not be read."""
    try:
        found = await cluster.list(
            api_version, kind, namespace, as_user=as_user, label_selector=label_selector, field_selector=field_selector
        )
    except KubeError as error:
        if error.status == HTTPStatus.FORBIDDEN:
            return None
        raise
    items: Objects = found["items"]
    return items


def _owned(objects: Objects, uid: str) -> Objects:
    return [one for one in objects if any(o.get("uid") == uid for o in one["metadata"].get("ownerReferences") or [])]


def _current(live: dict[str, Any], sets: Objects) -> Objects:
    """The replica set of the deployment's own revision; its controller writes both numbers."""
    wanted = (live["metadata"].get("annotations") or {}).get(_REVISION)
    return [one for one in sets if (one["metadata"].get("annotations") or {}).get(_REVISION) == wanted]


def _revision(live: dict[str, Any], revisions: Objects) -> str | None:
    if live["kind"] == "StatefulSet":
        found = (live.get("status") or {}).get("updateRevision")
        return str(found) if found else None
    newest = max(revisions, key=lambda one: int(one.get("revision") or 0), default=None)
    return str((newest["metadata"].get("labels") or {}).get(_HASH)) if newest else None


def _recent(live: dict[str, Any], events: Objects, *, pods: set[str], owners: set[str]) -> Objects:
    """Events about these pods; about what creates them, only those since the pod template was last changed.

    One of the very second of the change may be older than it. If it is not, it comes again: a creation that failed is
    tried again within seconds.
    """
    since = changed_at(live, _PODS)
    found = []
    for event in events:
        uid, when = (event.get("involvedObject") or {}).get("uid"), _when(event)
        if uid in pods or (uid in owners and when > since):
            found.append((when, event))
    return [event for _, event in sorted(found, key=lambda one: one[0])]


def _when(event: dict[str, Any]) -> datetime:
    series = event.get("series") or {}
    for one in (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime")):
        if one:
            return time_of(one)
    return time_of(event["metadata"].get("creationTimestamp"))
