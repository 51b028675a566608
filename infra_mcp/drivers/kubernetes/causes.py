"""Finds why a rollout does not progress, from pods, events and replica sets. Pure.

A *terminal* cause cannot pass without a change: an image that does not exist, a pod that admission denies. All others
may pass (a registry that hiccups, a node that is on its way, a container that waits for its database by crashing) and
get the app's grace first. Anything that is not listed here is no cause, only waiting.

Pods of other revisions count where the controller waits for them: it replaces no pod of an ordered StatefulSet while
another one is not ready, so a version that never got ready blocks every later one until someone deletes its pod
(https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback).

Texts come from pods, registries and webhooks: they are cut and cleaned, and searched only for the patterns below.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from infra_mcp.drivers.kubernetes.health import condition
from infra_mcp.text import named, one_line, quoted

_TEXT = 500
_REPORTED = 200  # of it the text of others
_QUOTE = 180  # of a text within another
_LOOPS_AFTER = 3  # restarts that are a loop even without an event: events may be dropped

_NO_SUCH_IMAGE = re.compile(
    r"not found|manifest unknown|name unknown|does not exist|no match for platform|no matching manifest", re.IGNORECASE
)
_NO_ENTRY = re.compile(
    r"denied|unauthorized|authentication required|forbidden|no basic auth credentials", re.IGNORECASE
)
_CANNOT_RUN = re.compile(
    r"executable file not found|no such file or directory|permission denied|exec format error", re.IGNORECASE
)
_REFUSED_POD = re.compile(
    r"denied the request|violates PodSecurity|admission webhook|is invalid:|ValidatingAdmissionPolicy", re.IGNORECASE
)
_MAY_PASS = re.compile(
    r"exceeded quota|serviceaccount .* not found|error looking up|timeout|failed calling webhook|connection refused",
    re.IGNORECASE,
)
_PULLING: Final = {"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "ImageInspectError"}
_STARTING: Final = {"CreateContainerError", "RunContainerError", "PostStartHookError", "PreStartHookError"}
# Why a claim has no volume: a fault, and what is only waited for.
_UNBOUND: Final = {"ProvisioningFailed", "FailedBinding"}
_PROVISIONING: Final = {"ExternalProvisioning", "WaitForFirstConsumer", *_UNBOUND}
_SETTING_UP: Final = {"FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "NetworkNotReady"}


class Cause(NamedTuple):
    """Why it does not progress. `kind` stays while the same cause lasts; `message` may change."""

    kind: str
    message: str
    terminal: bool = False


def cause(
    pods: Sequence[dict[str, Any]],
    events: Sequence[dict[str, Any]],
    replicasets: Sequence[dict[str, Any]],
    blockers: Sequence[dict[str, Any]] = (),
) -> Cause | None:
    """The cause to report: a terminal one if there is one, else the first that may pass.

    Args:
        pods: of the revision that is rolled out, and of no other.
        events: recent ones of all these pods, and of the objects that create them.
        replicasets: that of the revision, where the kind has such.
        blockers: pods of other revisions that the controller waits for.
    """
    found = list(_creation(replicasets, events))
    for pod in _staying(pods):
        found += _pod(pod, events)
    for pod in _staying(blockers):
        found += [one._replace(message=_blocked_by(pod, one.message)) for one in _pod(pod, events)]
    return next((one for one in found if one.terminal), found[0] if found else None)


def not_ready(
    pods: Iterable[dict[str, Any]],
    events: Sequence[dict[str, Any]] = (),
    blockers: Sequence[dict[str, Any]] = (),
) -> Cause | None:
    """The report when the time is up without a cause: which pods are not ready, and what their probes answered."""
    for pod in _staying(blockers):
        if why := _without_volume(pod, events, _PROVISIONING):  # the next pod of that name would wait for it, too
            what = f"a pod of another revision blocks the rollout: {why}"
            return Cause("NotReady", one_line(what, _TEXT))
        return Cause("NotReady", _blocked_by(pod, "it is not ready"))
    names = [str(pod["metadata"]["name"]) for pod in _staying(pods) if condition(pod, "Ready").get("status") != "True"]
    leaving = sorted(str(pod["metadata"]["name"]) for pod in blockers)
    if not names and leaving:
        what = f"{len(leaving)} pods of another revision are not gone yet ({', '.join(leaving[:3])})"
        return Cause("NotGone", one_line(what, _TEXT))
    if not names:
        return None
    texts = [str(event.get("message")) for event in events if event.get("reason") == "Unhealthy"]
    probe = f": {_reported(texts[-1])}" if texts and texts[-1] else ""
    for why in filter(None, (_without_volume(pod, events, _PROVISIONING) for pod in _staying(pods))):
        probe = f": {why}"
    what = f"{len(names)} of its pods are not ready ({', '.join(names[:3])}){probe}"
    return Cause("NotReady", one_line(what, _TEXT))


def is_failing(pod: dict[str, Any]) -> bool:
    """Whether the pod alone shows a fault, so that its events are worth reading."""
    return bool(restarts([pod])) or next(_pod(pod, []), None) is not None


def claims_of(pod: dict[str, Any]) -> set[str]:
    """The volume claims that a pod uses."""
    volumes = (pod.get("spec") or {}).get("volumes") or []
    return {str(one["persistentVolumeClaim"]["claimName"]) for one in volumes if one.get("persistentVolumeClaim")}


def restarts(pods: Iterable[dict[str, Any]]) -> int:
    """How often containers of these pods were started again."""
    return sum(int(one.get("restartCount") or 0) for pod in pods for one in _containers(pod))


def _staying(pods: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pods that are not being deleted, by name."""
    staying = (pod for pod in pods if not pod["metadata"].get("deletionTimestamp"))
    return sorted(staying, key=lambda one: str(one["metadata"]["name"]))


def _blocked_by(pod: dict[str, Any], why: str) -> str:
    """The report about a pod of another revision: why it is not ready, and what to do."""
    name, namespace = pod["metadata"]["name"], pod["metadata"].get("namespace")
    delete = f"kubectl -n {namespace} delete pod {name}"
    what = f"pod {name} is of another revision and blocks the rollout: {one_line(why, _QUOTE)}"
    return f"{what}; it is replaced only once it is ready, or deleted ({delete})"


def _containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    seen = pod.get("status") or {}
    return [*(seen.get("initContainerStatuses") or []), *(seen.get("containerStatuses") or [])]


def _creation(replicasets: Sequence[dict[str, Any]], events: Sequence[dict[str, Any]]) -> Iterator[Cause]:
    """Pods that cannot even be created, by a replica set's condition, and for the other kinds by an event."""
    texts = [
        str(failure.get("message") or failure.get("reason") or "")
        for failure in (condition(one, "ReplicaFailure") for one in replicasets)
        if failure.get("status") == "True"
    ]
    texts += [str(event.get("message")) for event in events if event.get("reason") == "FailedCreate"]
    for message in texts[:1]:
        terminal = bool(_REFUSED_POD.search(message)) and not _MAY_PASS.search(message)
        yield Cause("PodsNotCreated", f"its pods cannot be created: {_reported(message)}", terminal)


def _pod(pod: dict[str, Any], events: Sequence[dict[str, Any]]) -> Iterator[Cause]:
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    without_volume = _without_volume(pod, events, _UNBOUND)
    events = [one for one in events if (one.get("involvedObject") or {}).get("uid") == pod["metadata"]["uid"]]
    for one in _containers(pod):
        found = _container(one, events)
        if found is not None:
            yield found._replace(message=one_line(f"{found.message} (pod {name})", _TEXT))
    if status.get("phase") == "Failed":
        why = _reported(str(status.get("message") or status.get("reason") or "no reason given"))
        yield Cause("PodFailed", one_line(f"pod {name} failed: {why}", _TEXT))
    placed = condition(pod, "PodScheduled")
    if placed.get("status") == "False" and placed.get("reason") == "Unschedulable":
        why = _reported(str(placed.get("message")))
        yield Cause("Unschedulable", one_line(f"no node takes pod {name}: {why}", _TEXT))
    elif without_volume:
        yield Cause("NoVolume", one_line(without_volume, _TEXT))
    elif placed.get("reason") == "SchedulingGated":
        gates = ", ".join(str(one.get("name")) for one in pod["spec"].get("schedulingGates") or [])
        yield Cause("Gated", one_line(f"pod {name} is held back by its scheduling gates: {_reported(gates)}", _TEXT))
    elif status.get("phase") == "Pending":
        for event in [event for event in events if event.get("reason") in _SETTING_UP][:1]:
            why = _reported(str(event.get("message")))
            yield Cause("SettingUp", one_line(f"pod {name} cannot start: {why}", _TEXT))


def _without_volume(pod: dict[str, Any], events: Sequence[dict[str, Any]], reasons: Collection[str]) -> str:
    """Which claim keeps a pod from a node, by the newest event about it; empty where none does."""
    if condition(pod, "PodScheduled").get("status") == "True":
        return ""
    claims = claims_of(pod)
    for event in reversed(events):
        about = event.get("involvedObject") or {}
        if about.get("kind") != "PersistentVolumeClaim" or about.get("name") not in claims:
            continue
        if event.get("reason") == "ProvisioningSucceeded":
            return ""
        if event.get("reason") in reasons:
            why = _reported(str(event.get("message")))
            return f"pod {pod['metadata']['name']} waits for a volume of claim {about['name']}: {why}"
    return ""


def _container(one: dict[str, Any], events: Sequence[dict[str, Any]]) -> Cause | None:
    waiting = (one.get("state") or {}).get("waiting") or {}
    reason, text = str(waiting.get("reason") or ""), str(waiting.get("message") or "")
    name, image, why = one.get("name"), one.get("image"), _reported(text)
    if reason in {"InvalidImageName", "ErrImageNeverPull"}:
        return Cause("Image", f"image {image} cannot be used ({reason}): {why}", terminal=True)
    if reason in _PULLING:
        return _pull(str(image), text, events)
    if reason == "CreateContainerConfigError":
        return Cause("Configuration", f"container {name} cannot be configured: {why}")
    if reason in _STARTING:
        return Cause("Start", f"container {name} cannot be started: {why}", bool(_CANNOT_RUN.search(text)))
    return _crash(one, reason, events)


def _pull(image: str, text: str, events: Sequence[dict[str, Any]]) -> Cause:
    """An image that does not come. While the kubelet waits before the next try, only an event says why."""
    failures = [str(one.get("message") or "") for one in events if one.get("reason") == "Failed"]
    for found in (text, *(one for one in failures if image in one)):
        # The image's own name may contain any of the patterns: only the rest of the text counts.
        about, why = found.replace(image, ""), _reported(found)
        if _NO_SUCH_IMAGE.search(about):
            return Cause("Image", f"image {image} is not there: {why}", terminal=True)
        if _NO_ENTRY.search(about):
            return Cause("Image", f"the registry does not let image {image} be pulled: {why}", terminal=True)
    return Cause("ImagePull", f"image {image} cannot be pulled: {_reported(text) if text else 'no reason given'}")


def _crash(one: dict[str, Any], reason: str, events: Sequence[dict[str, Any]]) -> Cause | None:
    """A crash loop is restarts together with a bad end and back-off.

    `waiting` alone often never shows it: a kubelet writes no status while the back-off is shorter than a minute.
    """
    again = int(one.get("restartCount") or 0)
    ended = (one.get("state") or {}).get("terminated") or (one.get("lastState") or {}).get("terminated") or {}
    if not ended or one.get("ready") or (not again and reason != "CrashLoopBackOff"):
        return None
    backs_off = any(event.get("reason") == "BackOff" and "restarting" in str(event.get("message")) for event in events)
    if reason != "CrashLoopBackOff" and not backs_off and again < _LOOPS_AFTER:
        return None
    how = f"exit code {ended.get('exitCode')} ({named(str(ended.get('reason') or 'Error'))})"
    what = f"container {one.get('name')} crashes again and again: {how}, restarts {again}"
    return Cause("CrashLoop", what)


def _reported(text: str) -> str:
    """The text of a kubelet or a controller, with both its ends: the root of a cause comes last."""
    line = one_line(text, 4 * _REPORTED)
    if len(line) > _REPORTED:
        line = f"{line[: _REPORTED // 3]}…{line[-2 * _REPORTED // 3 :]}"
    return quoted(line, _REPORTED + 1)
