"""Reads the pods of a workload's newest revision, pods of others that block it, and warnings.

Other pods of former revisions are left out: they end, and fail meanwhile, which says nothing about the new revision.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from infra_mcp.clients.kube import Cluster, KubeError
from infra_mcp.drivers.kubernetes.causes import claims_of
from infra_mcp.drivers.kubernetes.health import changed_at, condition, time_of
from infra_mcp.gather import gather

WORKLOADS: Final = ("Deployment", "StatefulSet", "DaemonSet")
_REVISION = "deployment.kubernetes.io/revision"
_HASH = "controller-revision-hash"
_PODS = frozenset({"f:template", "f:replicas"})  # a change of these makes the controller create pods

Objects = list[dict[str, Any]]


class Seen(NamedTuple):
    """What `look` found."""

    pods: Objects  # of the revision
    events: Objects  # warnings, oldest first
    replicasets: Objects  # that of the revision, unless its failure is older than the change
    blockers: Objects  # pods of other revisions that the controller waits for
    ready: int | None  # ready pods of the revision; None where pods may not be read


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
        cluster: the connection.
        live: the live workload.
        as_user: the identity to read as. Objects that it may not read count as absent: the workload's own state still
            tells whether it landed, only the cause may stay unknown.
        warnings: whether to read events too.

    Raises:
        KubeError: the API server cannot be asked.
    """
    kind, chosen = live["kind"], selector(live)
    read = partial(_list, cluster, live["metadata"]["namespace"], as_user)
    calls = [partial(read, "v1", "Pod", label_selector=chosen)]
    if between := {"Deployment": "ReplicaSet", "DaemonSet": "ControllerRevision"}.get(kind):
        calls.append(partial(read, "apps/v1", between, label_selector=chosen))
    if warnings:
        calls.append(partial(read, "v1", "Event", field_selector="type=Warning"))
    found, *rest = await gather(calls)
    reported = (rest.pop() if warnings else None) or []
    others, sets = _owned((rest[0] if rest else None) or [], [live]), []
    if kind == "Deployment":
        sets = _current(live, others)
        mine = _owned(found or [], others)
        pods = _owned(mine, sets)
    else:
        mine, revision = _owned(found or [], [live]), _revision(live, others)
        pods = [pod for pod in mine if revision in {None, (pod["metadata"].get("labels") or {}).get(_HASH)}]
    blockers = [pod for pod in mine if pod not in pods and _blocks(live, pod)]
    events = _recent(live, reported, pods=_uids(pods + blockers), owners=_uids([live, *sets]))
    waiting = [pod for pod in pods + blockers if condition(pod, "PodScheduled").get("status") != "True"]
    if warnings and (claims := {name for pod in waiting for name in claims_of(pod)}):
        # A volume that is not there yet is told by no pod, and mostly by events that are no warnings.
        about = await read("v1", "Event", field_selector="involvedObject.kind=PersistentVolumeClaim") or []
        since = min(time_of(pod["metadata"].get("creationTimestamp")) for pod in waiting)
        events += [one for one in about if one["involvedObject"].get("name") in claims and _when(one) >= since]
        events.sort(key=_when)
    ready = None if found is None else sum(is_ready(pod) and not _is_leaving(pod) for pod in pods)
    return Seen(pods, events, [one for one in sets if not _failed_before(live, one)], blockers, ready)


def _failed_before(live: dict[str, Any], replicaset: dict[str, Any]) -> bool:
    """Whether a replica set's failure is older than the change; its controller retries before it clears the failure."""
    failure = condition(replicaset, "ReplicaFailure")
    return bool(failure) and time_of(failure.get("lastTransitionTime")) < changed_at(live, _PODS)


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether a pod takes requests."""
    return bool(condition(pod, "Ready").get("status") == "True")


def _blocks(live: dict[str, Any], pod: dict[str, Any]) -> bool:
    """Whether the controller waits for a pod of another revision: to be gone, or ready in an ordered StatefulSet."""
    ordered = live["kind"] == "StatefulSet" and live["spec"].get("podManagementPolicy", "OrderedReady") != "Parallel"
    return _is_leaving(pod) or (ordered and not is_ready(pod))


def _is_leaving(pod: dict[str, Any]) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def _uids(objects: Objects) -> set[str]:
    return {one["metadata"]["uid"] for one in objects}


async def _list(
    cluster: Cluster, namespace: str, as_user: str | None, api_version: str, kind: str, **selectors: str
) -> Objects | None:
    """The objects; None where they may not be read."""
    try:
        found = await cluster.list(api_version, kind, namespace, as_user=as_user, **selectors)
    except KubeError as error:
        if error.status == HTTPStatus.FORBIDDEN:
            return None
        raise
    items: Objects = found["items"]
    return items


def _owned(objects: Objects, owners: Objects) -> Objects:
    uids = _uids(owners)
    return [one for one in objects if any(o.get("uid") in uids for o in one["metadata"].get("ownerReferences") or [])]


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

    def counts(event: dict[str, Any]) -> bool:
        uid = (event.get("involvedObject") or {}).get("uid")
        return uid in pods or (uid in owners and _when(event) > since)

    return sorted(filter(counts, events), key=_when)


def _when(event: dict[str, Any]) -> datetime:
    last = (event.get("series") or {}).get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return time_of(last or event["metadata"].get("creationTimestamp"))
