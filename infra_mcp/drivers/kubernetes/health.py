"""Tells whether an object is in the state its spec asks for: a table from kind to a rule, after kstatus. Pure.

Source: sigs.k8s.io/cli-utils, pkg/kstatus. Generic rules come first (deletion, observedGeneration, Reconciling and
Stalled conditions), then the kind's own, then a `Ready` condition; an object with none of these is Current. As there, a
running Job and a failed Pod are Current. Current does not mean that the newest version runs: a workload may ask for no
pods, or keep old ones; its reason says so then. Unlike there, a StatefulSet whose pods are replaced by hand (OnDelete)
is Current only when its pods are there and ready, and a condition older than the pod template fails no Deployment.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

from infra_mcp.text import quoted

State = Literal["Current", "InProgress", "Failed", "Terminating"]

_UNSCHEDULABLE_FOR = timedelta(seconds=15)
_FOREVER = 2**31 - 1  # "no deadline" in progressDeadlineSeconds
_COUNTING = {"Deployment", "StatefulSet", "DaemonSet"}  # without a status they would look as if they ran nothing
_EARLIEST = datetime.min.replace(tzinfo=UTC)


class Health(NamedTuple):
    """A state, and its reason."""

    state: State
    reason: str = ""


CURRENT: Final = Health("Current")


def status(obj: dict[str, Any], now: datetime | None = None) -> Health:
    """The health of one live object.

    Args:
        obj: the object, as the API server gives it.
        now: the time by the API server's clock; without it a pod without a node is never Failed, only InProgress.
    """
    metadata, seen = obj.get("metadata") or {}, obj.get("status") or {}
    if metadata.get("deletionTimestamp"):
        return Health("Terminating", "it is being deleted")
    if "observedGeneration" in seen and seen["observedGeneration"] != metadata.get("generation"):
        return Health("InProgress", "its controller has not seen the change yet")
    if _is(obj, "Reconciling") == "True":
        return Health("InProgress", _why(obj, "Reconciling") or "it is being reconciled")
    stalled = condition(obj, "Stalled")
    if stalled.get("status") == "True" and stalled.get("observedGeneration") in {None, metadata.get("generation")}:
        return Health("Failed", _why(obj, "Stalled") or "it is stalled")
    if obj.get("kind") in _COUNTING and "observedGeneration" not in seen:
        return Health("InProgress", "its controller has not seen it yet")
    rule = _RULES.get((str(obj.get("apiVersion", "")).rpartition("/")[0], str(obj.get("kind"))))
    return rule(obj, now) if rule else _ready(obj)


def condition(obj: dict[str, Any], kind: str) -> dict[str, Any]:
    """One of an object's conditions; empty when it has none of that type."""
    return next((one for one in (obj.get("status") or {}).get("conditions") or [] if one.get("type") == kind), {})


def changed_at(obj: dict[str, Any], fields: frozenset[str] = frozenset({"f:template"})) -> datetime:
    """When one of these fields of the spec was last written, by the API server's clock; very early if unknown.

    Args:
        obj: the object.
        fields: the fields, as `managedFields` write them; the pod template when left out.
    """
    times = [
        time_of(entry.get("time"))
        for entry in (obj.get("metadata") or {}).get("managedFields") or []
        if "subresource" not in entry and fields & ((entry.get("fieldsV1") or {}).get("f:spec") or {}).keys()
    ]
    return max(times, default=_EARLIEST)


def time_of(text: str | None) -> datetime:
    """A time as the API server writes it; very early for none."""
    return datetime.fromisoformat(text) if text else _EARLIEST


def _is(obj: dict[str, Any], kind: str) -> str | None:
    return condition(obj, kind).get("status")


def _why(obj: dict[str, Any], kind: str) -> str:
    one = condition(obj, kind)
    text = str(one.get("message") or one.get("reason") or "")
    return f"it says {quoted(text)}" if text else ""


def _ready(obj: dict[str, Any]) -> Health:
    if _is(obj, "Ready") in {"False", "Unknown"}:
        return Health("InProgress", _why(obj, "Ready") or "it is not ready")
    return CURRENT


def _first(*waits: tuple[bool, str], remark: str = "") -> Health:
    """InProgress for the first reason that holds, else Current with a remark."""
    return next((Health("InProgress", reason) for holds, reason in waits if holds), Health("Current", remark))


def _idle(wanted: int) -> str:
    return "" if wanted else "no pod runs it: 0 replicas are asked for"


def _counts(obj: dict[str, Any], *names: str) -> tuple[int, ...]:
    seen = obj.get("status") or {}
    return tuple(int(seen.get(name) or 0) for name in names)


def _wanted(obj: dict[str, Any]) -> int:
    replicas = (obj.get("spec") or {}).get("replicas")
    return 1 if replicas is None else int(replicas)


def _deployment(obj: dict[str, Any], _: datetime | None) -> Health:
    spec, wanted = obj.get("spec") or {}, _wanted(obj)
    there, updated, ready, available = _counts(obj, "replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    progress = condition(obj, "Progressing")
    # It stays until there is progress, and this change's own deadline passes a second after the change or later.
    since = time_of(progress.get("lastUpdateTime") or progress.get("lastTransitionTime"))
    if progress.get("reason") == "ProgressDeadlineExceeded" and (since > changed_at(obj) or since == _EARLIEST):
        return Health("Failed", "its progress deadline is exceeded")
    has_deadline = spec.get("progressDeadlineSeconds") not in {None, _FOREVER}
    complete = progress.get("status") == "True" and progress.get("reason") == "NewReplicaSetAvailable"
    return _first(
        (wanted > there, f"{there} of {wanted} replicas are there"),
        (wanted > updated, f"{updated} of {wanted} replicas are updated"),
        (there > wanted, f"{there - wanted} old replicas are still there"),
        (updated > available, f"{available} of {updated} updated replicas are available"),
        (wanted > ready, f"{ready} of {wanted} replicas are ready"),
        (has_deadline and not complete, "its new ReplicaSet is not available"),
        (_is(obj, "Available") != "True", "it is not available"),
        remark=_idle(wanted),
    )


def _replica_set(obj: dict[str, Any], _: datetime | None) -> Health:
    wanted, labels = _wanted(obj), "fullyLabeledReplicas"
    there, labelled, available, ready = _counts(obj, "replicas", labels, "availableReplicas", "readyReplicas")
    return _first(
        (_is(obj, "ReplicaFailure") == "True", _why(obj, "ReplicaFailure") or "its pods cannot be created"),
        (wanted > labelled, f"{labelled} of {wanted} replicas are labelled"),
        (wanted > available, f"{available} of {wanted} replicas are available"),
        (wanted > ready, f"{ready} of {wanted} replicas are ready"),
        (there > wanted, f"{there - wanted} replicas are still there"),
    )


def _stateful_set(obj: dict[str, Any], _: datetime | None) -> Health:
    spec, seen, wanted = obj.get("spec") or {}, obj.get("status") or {}, _wanted(obj)
    strategy = spec.get("updateStrategy") or {}
    there, ready, updated, current = _counts(obj, "replicas", "readyReplicas", "updatedReplicas", "currentReplicas")
    partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
    remark = _idle(wanted)
    waits = [
        (wanted > there, f"{there} of {wanted} replicas are there"),
        (wanted > ready, f"{ready} of {wanted} replicas are ready"),
        (there > wanted, f"{there - wanted} replicas are still there"),
    ]
    if strategy.get("type") == "OnDelete":
        return _first(*waits, remark=remark)
    if partition:
        due = max(wanted - partition, 0)
        waits.append((updated < due, f"{updated} of {due} replicas above the partition are updated"))
        if updated < wanted:
            remark = f"{updated} of {wanted} replicas are updated: its partition is {partition}"
    else:
        revised = seen.get("currentRevision") != seen.get("updateRevision")
        waits += [
            (wanted > current, f"{current} of {wanted} replicas are of the current revision"),
            (revised, f"{updated} of {wanted} replicas are updated"),
        ]
    return _first(*waits, remark=remark)


def _daemon_set(obj: dict[str, Any], _: datetime | None) -> Health:
    scheduled = (f"{which}NumberScheduled" for which in ("desired", "current", "updated"))
    wanted, there, updated, available, ready = _counts(obj, *scheduled, "numberAvailable", "numberReady")
    return _first(
        (wanted > there, f"{there} of {wanted} pods are there"),
        (wanted > updated, f"{updated} of {wanted} pods are updated"),
        (wanted > available, f"{available} of {wanted} pods are available"),
        (wanted > ready, f"{ready} of {wanted} pods are ready"),
        remark="" if wanted else "no pod runs it: no node is there for one",
    )


def _job(obj: dict[str, Any], _: datetime | None) -> Health:
    if _is(obj, "Failed") == "True":
        return Health("Failed", _why(obj, "Failed") or "it failed")
    if "True" in {_is(obj, "Complete"), _is(obj, "Suspended")} or (obj.get("status") or {}).get("startTime"):
        return CURRENT
    return Health("InProgress", "it has not started")


def _pod(obj: dict[str, Any], now: datetime | None) -> Health:
    seen = obj.get("status") or {}
    phase = seen.get("phase")
    if phase in {"Succeeded", "Failed"}:
        return CURRENT
    if phase == "Running":
        if _is(obj, "Ready") == "True":
            return CURRENT
        waiting = [((one.get("state") or {}).get("waiting") or {}) for one in seen.get("containerStatuses") or []]
        if any(one.get("reason") == "CrashLoopBackOff" for one in waiting):
            return Health("Failed", "a container crashes again and again")
        return Health("InProgress", "it is not ready")
    placed = condition(obj, "PodScheduled")
    if phase == "Pending" and placed.get("status") == "False" and placed.get("reason") == "Unschedulable":
        since = placed.get("lastTransitionTime")
        late = bool(now and since and now - datetime.fromisoformat(since) > _UNSCHEDULABLE_FOR)
        return Health("Failed" if late else "InProgress", "no node takes it")
    return Health("InProgress", "it has not started")


def _claim(obj: dict[str, Any], _: datetime | None) -> Health:
    return _first(((obj.get("status") or {}).get("phase") != "Bound", "it is not bound to a volume"))


def _service(obj: dict[str, Any], _: datetime | None) -> Health:
    spec = obj.get("spec") or {}
    return _first((spec.get("type") == "LoadBalancer" and not spec.get("clusterIP"), "it has no address yet"))


def _definition(obj: dict[str, Any], _: datetime | None) -> Health:
    if _is(obj, "NamesAccepted") == "False":
        return Health("Failed", _why(obj, "NamesAccepted") or "its names are taken")
    established = condition(obj, "Established")
    if established.get("status") == "True":
        return CURRENT
    if established.get("status") == "False" and established.get("reason") != "Installing":
        return Health("Failed", _why(obj, "Established") or "it is not established")
    return Health("InProgress", "it is being installed")


_RULES: Final[dict[tuple[str, str], Callable[[dict[str, Any], datetime | None], Health]]] = {
    ("apps", "Deployment"): _deployment,
    ("apps", "ReplicaSet"): _replica_set,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "DaemonSet"): _daemon_set,
    ("batch", "Job"): _job,
    ("batch", "CronJob"): lambda *_: CURRENT,
    ("", "Pod"): _pod,
    ("", "PersistentVolumeClaim"): _claim,
    ("", "Service"): _service,
    ("", "ConfigMap"): lambda *_: CURRENT,
    ("", "Secret"): lambda *_: CURRENT,
    ("policy", "PodDisruptionBudget"): lambda *_: CURRENT,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _definition,
}
