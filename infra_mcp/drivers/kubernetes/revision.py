"""The pods of the revision a workload is being brought to, and what is said about them. Reads only.

Pods of the revision before are left out: they end, and fail while they do, and nothing of that says how the new one
fares.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from infra_mcp.clients.kube import Cluster, KubeError
from infra_mcp.together import together

__all__ = ["WORKLOADS", "Seen", "look", "selector"]

WORKLOADS: Final = ("Deployment", "StatefulSet", "DaemonSet")
_REVISION = "deployment.kubernetes.io/revision"
_HASH = "controller-revision-hash"
_EARLIEST = datetime.min.replace(tzinfo=UTC)

Objects = list[dict[str, Any]]


class Seen(NamedTuple):
    """What was found: pods and replica sets of the revision, and warnings about them, oldest first."""

    pods: Objects
    events: Objects
    replicasets: Objects


def selector(live: dict[str, Any]) -> str:
    """The workload's pod selector as the API takes it in a query."""
    found = (live.get("spec") or {}).get("selector") or {}
    parts = [f"{key}={value}" for key, value in sorted((found.get("matchLabels") or {}).items())]
    for one in found.get("matchExpressions") or []:
        key, values = one["key"], ",".join(one.get("values") or [])
        form = {"In": "{k} in ({v})", "NotIn": "{k} notin ({v})", "Exists": "{k}", "DoesNotExist": "!{k}"}
        parts.append(form[one["operator"]].format(k=key, v=values))
    return ",".join(parts)


async def look(cluster: Cluster, live: dict[str, Any], *, as_: str | None, warnings: bool = True) -> Seen:
    """Look at the pods of the revision the workload's controller works on.

    Args:
        cluster: where.
        live: the workload, as it is now.
        as_: the identity to read as. What it may not read is taken as not there: the workload's own state still tells
            whether it landed, only the cause may stay unknown.
        warnings: whether to read events too.

    Raises:
        KubeError: the API server cannot be asked.
    """
    kind, uid, namespace = live["kind"], live["metadata"]["uid"], live["metadata"]["namespace"]
    read = partial(_list, cluster, namespace, as_)
    chosen = selector(live)
    calls = [partial(read, "v1", "Pod", label_selector=chosen)]
    if kind == "Deployment":
        calls.append(partial(read, "apps/v1", "ReplicaSet", label_selector=chosen))
    if kind == "DaemonSet":
        calls.append(partial(read, "apps/v1", "ControllerRevision", label_selector=chosen))
    if warnings:
        calls.append(partial(read, "v1", "Event", field_selector="type=Warning"))
    pods, *rest = await together(calls)
    told = rest.pop() if warnings else []
    sets = _current(live, _owned(rest[0], uid)) if kind == "Deployment" else []
    owners = {one["metadata"]["uid"] for one in sets} if kind == "Deployment" else {uid}
    pods = [pod for owner in owners for pod in _owned(pods, owner)]
    if kind != "Deployment":
        revision = _revision(live, _owned(rest[0], uid) if rest else [])
        pods = [pod for pod in pods if revision in {None, (pod["metadata"].get("labels") or {}).get(_HASH)}]
    about = owners | {pod["metadata"]["uid"] for pod in pods}
    return Seen(pods, _recent(live, told, about), sets)


async def _list(
    cluster: Cluster,
    namespace: str,
    as_: str | None,
    api_version: str,
    kind: str,
    label_selector: str | None = None,
    field_selector: str | None = None,
) -> Objects:
    try:
        found = await cluster.list(
            api_version, kind, namespace, as_=as_, label_selector=label_selector, field_selector=field_selector
        )
    except KubeError as error:
        if error.status == HTTPStatus.FORBIDDEN:
            return []
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


def _recent(live: dict[str, Any], events: Objects, about: set[str]) -> Objects:
    """Events about these objects; about the workload itself, only those since it was last changed."""
    since = max(
        (
            _time(entry.get("time"))
            for entry in live["metadata"].get("managedFields") or []
            if "subresource" not in entry
        ),
        default=_EARLIEST,
    )
    found = []
    for event in events:
        uid, when = (event.get("involvedObject") or {}).get("uid"), _when(event)
        if uid in about and (uid != live["metadata"]["uid"] or when >= since):
            found.append((when, event))
    return [event for _, event in sorted(found, key=lambda one: one[0])]


def _when(event: dict[str, Any]) -> datetime:
    series = event.get("series") or {}
    for one in (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime")):
        if one:
            return _time(one)
    return _time(event["metadata"].get("creationTimestamp"))


def _time(text: str | None) -> datetime:
    return datetime.fromisoformat(text) if text else _EARLIEST
