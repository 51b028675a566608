"""Why a rollout does not come along, read from pods, events and replica sets. Pure.

A *terminal* cause cannot pass by itself: an image that is not there, a pod that admission denies. All others may pass
(a registry that hiccups, a node that is on its way, a container that waits for its database by crashing) and get the
app's grace first. What is not listed here is no cause, only waiting.

Pods of other revisions count where the controller waits for them: it replaces no pod of an ordered StatefulSet while
another one is not ready, so a version that never got ready blocks every later one until someone deletes its pod
(https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback).

Texts come from pods, registries and webhooks: they are cut, and cleaned of control characters, and never parsed for
anything but the words below.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from infra_mcp.drivers.kubernetes.health import condition
from infra_mcp.text import named, one_line, quoted

_TEXT = 500
_SAID = 200  # of it what others said
_QUOTE = 180  # of a text that stands within another
_LOOPS_AFTER = 3  # restarts that are a loop even when no event says so: events may be dropped

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
_SETTING_UP: Final = {"FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "NetworkNotReady"}


class Cause(NamedTuple):
    """Why it does not come along. `kind` is stable while the same thing goes on; `message` may change."""

    kind: str
    message: str
    terminal: bool


def cause(
    pods: Sequence[dict[str, Any]],
    events: Sequence[dict[str, Any]],
    replicasets: Sequence[dict[str, Any]],
    blockers: Sequence[dict[str, Any]] = (),
) -> Cause | None:
    """The cause to tell: a terminal one if there is one, else the first that may pass.

    Args:
        pods: of the revision that is being rolled out, and of no other.
        blockers: pods of other revisions that the controller waits for.
        events: of these pods, and of what creates them; old ones left out.
        replicasets: the one of the revision that is being rolled out, where the kind has such.
    """
    found = list(_creation(replicasets, events))
    for pod in _staying(pods):
        found += _pod(pod, [event for event in events if _about(event) == pod["metadata"]["uid"]])
    for pod in _staying(blockers):
        for one in _pod(pod, [event for event in events if _about(event) == pod["metadata"]["uid"]]):
            found.append(one._replace(message=_blocked_by(pod, one.message)))
    return next((one for one in found if one.terminal), found[0] if found else None)


def not_ready(
    pods: Iterable[dict[str, Any]],
    events: Sequence[dict[str, Any]] = (),
    blockers: Sequence[dict[str, Any]] = (),
) -> Cause | None:
    """What to tell when the time is up and there was no cause: which pods are not ready, and what their probes said."""
    for pod in _staying(blockers):
        return Cause("NotReady", _blocked_by(pod, "it is not ready"), terminal=False)
    names = sorted(
        str(pod["metadata"]["name"])
        for pod in pods
        if condition(pod, "Ready").get("status") != "True" and not pod["metadata"].get("deletionTimestamp")
    )
    leaving = sorted(str(pod["metadata"]["name"]) for pod in blockers)
    if not names and leaving:
        what = f"{len(leaving)} pods of another revision are not gone yet ({', '.join(leaving[:3])})"
        return Cause("NotGone", one_line(what, _TEXT), terminal=False)
    if not names:
        return None
    said = next((str(event.get("message")) for event in reversed(events) if event.get("reason") == "Unhealthy"), "")
    probe = f": {_said(said)}" if said else ""
    return Cause(
        "NotReady", one_line(f"{len(names)} of its pods are not ready ({', '.join(names[:3])}){probe}", _TEXT), False
    )


def is_failing(pod: dict[str, Any]) -> bool:
    """Whether a pod by itself shows that something is wrong, so that it is worth asking for events."""
    return bool(restarts([pod])) or next(_pod(pod, []), None) is not None


def restarts(pods: Iterable[dict[str, Any]]) -> int:
    """How often containers of these pods were started again."""
    return sum(int(one.get("restartCount") or 0) for pod in pods for one in _containers(pod))


def _staying(pods: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that are not being deleted, by name."""
    return sorted(
        (pod for pod in pods if not pod["metadata"].get("deletionTimestamp")),
        key=lambda one: str(one["metadata"]["name"]),
    )


def _blocked_by(pod: dict[str, Any], why: str) -> str:
    """A pod of another revision that is waited for, why it is not ready, and what to do."""
    name, namespace = pod["metadata"]["name"], pod["metadata"].get("namespace")
    delete = f"kubectl -n {namespace} delete pod {name}"
    what = f"pod {name} is of another revision and blocks the rollout: {one_line(why, _QUOTE)}"
    return f"{what}; it is replaced only once it is ready, or deleted ({delete})"


def _about(event: dict[str, Any]) -> str:
    return str((event.get("involvedObject") or {}).get("uid") or "")


def _containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    seen = pod.get("status") or {}
    return [*(seen.get("initContainerStatuses") or []), *(seen.get("containerStatuses") or [])]


def _creation(replicasets: Sequence[dict[str, Any]], events: Sequence[dict[str, Any]]) -> Iterator[Cause]:
    """Pods that cannot even be created: said by a replica set's condition, and for the other kinds by an event."""
    said = [
        str(failure.get("message") or failure.get("reason") or "")
        for failure in (condition(one, "ReplicaFailure") for one in replicasets)
        if failure.get("status") == "True"
    ]
    said += [str(event.get("message")) for event in events if event.get("reason") == "FailedCreate"]
    for message in said[:1]:
        terminal = bool(_REFUSED_POD.search(message)) and not _MAY_PASS.search(message)
        yield Cause("PodsNotCreated", f"its pods cannot be created: {_said(message)}", terminal)


def _pod(pod: dict[str, Any], events: Sequence[dict[str, Any]]) -> Iterator[Cause]:
    name = pod["metadata"]["name"]
    for one in _containers(pod):
        found = _container(one, events)
        if found is not None:
            yield found._replace(message=one_line(f"{found.message} (pod {name})", _TEXT))
    if (pod.get("status") or {}).get("phase") == "Failed":
        why = pod["status"].get("message") or pod["status"].get("reason") or "no reason given"
        yield Cause("PodFailed", one_line(f"pod {name} failed: {_said(str(why))}", _TEXT), terminal=False)
    placed = condition(pod, "PodScheduled")
    if placed.get("status") == "False" and placed.get("reason") == "Unschedulable":
        why = _said(str(placed.get("message")))
        yield Cause(
            "Unschedulable",
            one_line(f"no node takes pod {name}: {why}", _TEXT),
            terminal=False,
        )
    elif (pod.get("status") or {}).get("phase") == "Pending":
        for event in events:
            if event.get("reason") in _SETTING_UP:
                why = _said(str(event.get("message")))
                yield Cause(
                    "SettingUp",
                    one_line(f"pod {name} cannot start: {why}", _TEXT),
                    terminal=False,
                )
                break


def _container(one: dict[str, Any], events: Sequence[dict[str, Any]]) -> Cause | None:
    waiting = (one.get("state") or {}).get("waiting") or {}
    reason, said = str(waiting.get("reason") or ""), str(waiting.get("message") or "")
    name, image = one.get("name"), one.get("image")
    if reason in {"InvalidImageName", "ErrImageNeverPull"}:
        return Cause("Image", f"image {image} cannot be used ({reason}): {_said(said)}", terminal=True)
    if reason in _PULLING:
        return _pull(str(image), said, events)
    if reason == "CreateContainerConfigError":
        return Cause("Configuration", f"container {name} cannot be configured: {_said(said)}", terminal=False)
    if reason in _STARTING:
        return Cause(
            "Start",
            f"container {name} cannot be started: {_said(said)}",
            terminal=bool(_CANNOT_RUN.search(said)),
        )
    return _crash(one, reason, events)


def _pull(image: str, said: str, events: Sequence[dict[str, Any]]) -> Cause:
    """An image that does not come. While the kubelet waits before the next try, only an event says what went wrong."""
    told = [
        str(e.get("message") or "") for e in events if e.get("reason") == "Failed" and image in str(e.get("message"))
    ]
    for text in (said, *told):
        # The image's own name may hold any of the words: they count only in what is said about it.
        about = text.replace(image, "")
        if _NO_SUCH_IMAGE.search(about):
            return Cause("Image", f"image {image} is not there: {_said(text)}", terminal=True)
        if _NO_ENTRY.search(about):
            why = _said(text)
            return Cause("Image", f"the registry does not let image {image} be pulled: {why}", terminal=True)
    return Cause(
        "ImagePull",
        f"image {image} cannot be pulled: {_said(said) if said else 'no reason given'}",
        terminal=False,
    )


def _crash(one: dict[str, Any], reason: str, events: Sequence[dict[str, Any]]) -> Cause | None:
    """A crash loop is restarts together with a bad end and back-off; `waiting` alone often never shows it.

    A kubelet does not write a status while the back-off is shorter than a minute, so the container shows as terminated.
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
    return Cause("CrashLoop", what, terminal=False)


def _said(text: str) -> str:
    """What a kubelet or a controller said, with both its ends: the root of a cause stands last."""
    line = one_line(text, 4 * _SAID)
    if len(line) > _SAID:
        line = f"{line[: _SAID // 3]}…{line[-2 * _SAID // 3 :]}"
    return quoted(line, _SAID + 1)
