"""Watches a rollout until it is out, or until it certainly will not be.

Out means: the same object (by uid) is Current by kstatus, still has the written values, as many pods of its newest
revision are ready as its controller counts, and none of them restarts. A terminal cause ends the wait at once, any
other after the app's grace. A pod that is merely not ready yet is no cause: it has until the deadline. Not noticed: a
container that first crashes after it was out; a Deployment's `minReadySeconds` is for that.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import anyio

from infra_mcp.clients.kube import Cluster, KubeError
from infra_mcp.clients.kube.errors import DENIED_FOR, is_denied
from infra_mcp.drivers.kubernetes.causes import Cause, cause, is_failing, not_ready, restarts
from infra_mcp.drivers.kubernetes.health import Health, status
from infra_mcp.drivers.kubernetes.revision import WORKLOADS, Seen, look, selector
from infra_mcp.errors import InfraError
from infra_mcp.model.object_ref import ObjectRef

_TICK: Final = 1.0  # seconds; events show causes too, and nothing watches those
_STEADY: Final = 10.0  # seconds without another restart after which a pod that was restarted counts as steady


class Out(NamedTuple):
    """A rollout that is out: the live object, and how many pods of its newest revision are ready."""

    live: dict[str, Any]
    ready: int


async def rollout(
    cluster: Cluster,
    ref: ObjectRef,
    uid: str,
    *,
    as_user: str | None,
    expect: Callable[[dict[str, Any]], bool],
    grace: float,
    deadline: float,
    say: Callable[[str], None] | None = None,
) -> Out:
    """Wait until a workload's rollout is out. Reads and watches only.

    Args:
        cluster: the connection.
        ref: the workload.
        uid: of the object that was written; empty where unknown: then the one that is there.
        as_user: the identity to read as.
        expect: whether a live object still has the written values.
        grace: seconds that a temporary cause is tolerated.
        deadline: seconds in all.
        say: reports the progress, at every look.

    Returns:
        The live object that is out, and its ready pods: the controller's count where pods may not be read.

    Raises:
        InfraError: `not-landed` with the cause; `object-moved` when the object was deleted, replaced, or changed by
            someone else; `cluster-unreachable` when it could not be observed; `cluster-denied`.
    """
    view = _View()
    judge = _Judge(cluster, ref, uid, as_user, expect, grace)
    found: Out | InfraError | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(_follow, cluster, ref, as_user, view)
        with anyio.move_on_after(deadline):
            await view.first.wait()
            if view.live is not None and ref.kind in WORKLOADS:
                group.start_soon(_follow_pods, cluster, view.live, as_user, view)
            while found is None:
                changed = view.changed
                found = await judge.look(view)
                if found is None:
                    if say is not None:
                        say(judge.progress(view))
                    with anyio.move_on_after(_TICK):
                        await changed.wait()
        group.cancel_scope.cancel()
    found = found or judge.too_late(view, deadline)
    if isinstance(found, InfraError):
        raise found
    return found


@dataclass
class _View:
    """The object as last seen, and a signal for news."""

    live: dict[str, Any] | None = None
    trouble: KubeError | None = None  # the cluster does not answer just now
    refused: KubeError | None = None  # a refusal that lasts
    first: anyio.Event = field(default_factory=anyio.Event)
    changed: anyio.Event = field(default_factory=anyio.Event)
    ailing: bool = False  # a failing pod was seen, and its cause was not looked for yet

    def see(self, live: dict[str, Any] | None) -> None:
        self.live, self.trouble = live, None
        self.first.set()
        self.wake()

    def refuse(self, error: KubeError) -> None:
        self.refused = error
        self.first.set()
        self.wake()

    def wake(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()


async def _follow(cluster: Cluster, ref: ObjectRef, as_user: str | None, view: _View) -> None:
    """Keep the object in view, whatever happens to the connection. A refusal of rights counts once it lasts."""
    denied: float | None = None
    while True:
        try:
            live = await cluster.get(ref, as_user=as_user)
            denied = None
            view.see(live)
            if live is None:
                return
            version = live["metadata"]["resourceVersion"]
            watch = cluster.watch(
                ref.api_version, ref.kind, ref.namespace, as_user=as_user, name=ref.name, resource_version=version
            )
            async with aclosing(watch) as events:
                async for event in events:
                    view.see(None if event["type"] == "DELETED" else event["object"])
        except KubeError as error:
            denied = (denied or anyio.current_time()) if is_denied(error) else None
            lasts = denied is None or anyio.current_time() - denied >= DENIED_FOR
            if not _passing(error) and lasts:
                view.refuse(error)
                return
            view.trouble = error
        await anyio.sleep(_TICK)


async def _follow_pods(cluster: Cluster, live: dict[str, Any], as_user: str | None, view: _View) -> None:
    """Wake the waiter when a pod fails. The workload's own status counts the others."""
    namespace = live["metadata"]["namespace"]
    watch = cluster.watch("v1", "Pod", namespace, as_user=as_user, label_selector=selector(live))
    try:
        async with aclosing(watch) as events:
            async for event in events:
                if is_failing(event["object"]):
                    view.ailing = True
                    view.wake()
    except KubeError:
        return  # then every tick looks


def _passing(error: KubeError) -> bool:
    return error.status in {0, HTTPStatus.TOO_MANY_REQUESTS} or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR


@dataclass
class _Judge:
    """Decides what the view of the object and its pods means; it remembers since when."""

    cluster: Cluster
    ref: ObjectRef
    uid: str
    as_user: str | None
    expect: Callable[[dict[str, Any]], bool]
    grace: float
    clock: Callable[[], float] = anyio.current_time
    was_so: bool = False
    since: dict[str, float] = field(default_factory=dict)  # by kind of cause, when it was first seen
    restarts: int = 0
    steady_since: float = 0.0
    cause: Cause | None = None

    def __post_init__(self) -> None:
        self.looked = self.clock()  # when pods and events were last read
        self.seen, self.health = Seen([], [], [], [], 0), Health("InProgress", "it was not observed")

    async def look(self, view: _View) -> Out | InfraError | None:
        """The workload when it is out, an error when it will not be, None while it may be yet."""
        if view.refused is not None:
            return view.refused.translate(self.ref)
        live = view.live
        if (moved := self._moved(live)) or live is None:
            return moved
        self.health = status(live)
        if blocked := _blocked(live, self.health):
            return self._not_landed(blocked)
        out = self.health.state == "Current" and self.was_so
        if not out and not self._is_due(view, live):
            return None
        try:
            found = await self._steady(live) if out else await self._find_cause(live)
            view.trouble = None
        except KubeError as error:
            found, view.trouble = None, error
        return found

    def _is_due(self, view: _View, live: dict[str, Any]) -> bool:
        """Whether to read pods and events: when one fails, when the workload failed, and else once a tick."""
        now = self.clock()
        if live["kind"] in WORKLOADS and not _observed(live):
            return False
        if not view.ailing and self.health.state != "Failed" and now - self.looked < _TICK:
            return False
        view.ailing, self.looked = False, now
        return True

    def _moved(self, live: dict[str, Any] | None) -> InfraError | None:
        if live is None or live["metadata"].get("deletionTimestamp"):
            return InfraError("object-moved", f"{self.ref} was deleted by someone else meanwhile.")
        self.uid = self.uid or live["metadata"]["uid"]
        if live["metadata"]["uid"] != self.uid:
            return InfraError("object-moved", f"{self.ref} was deleted and created again by someone else meanwhile.")
        is_so = self.expect(live)
        if self.was_so and not is_so:
            return InfraError("object-moved", f"{self.ref} was changed by someone else meanwhile.")
        self.was_so = is_so
        return None

    async def _steady(self, live: dict[str, Any]) -> Out | None:
        """The workload when no new pod restarts: one that did must stay up for a while first."""
        if live["kind"] not in WORKLOADS:
            return Out(live, 0)
        self.seen = await look(self.cluster, live, as_user=self.as_user, warnings=False)
        count, now = restarts(self.seen.pods), self.clock()
        if count != self.restarts:
            self.restarts, self.steady_since = count, now
        return self._out(live) if count == 0 or now - self.steady_since >= min(self.grace, _STEADY) else None

    def _out(self, live: dict[str, Any]) -> Out | None:
        """The workload when as many pods of its newest revision are ready as its controller says it updated."""
        updated = _updated(live)
        ready = updated if self.seen.ready is None else self.seen.ready
        return Out(live, ready) if ready >= updated else None

    async def _find_cause(self, live: dict[str, Any]) -> InfraError | None:
        if live["kind"] in WORKLOADS and _observed(live):
            self.seen = await look(self.cluster, live, as_user=self.as_user)
        pods, events, replicasets, blockers, _ = self.seen
        self.cause = found = cause(pods, events, replicasets, blockers)
        if self.health.state == "Failed":
            return self._not_landed(self._because())
        # A crash loop lasts while its container happens to run; any other cause that is gone is over.
        self.since = {k: t for k, t in self.since.items() if k == "CrashLoop" or (found and k == found.kind)}
        if found is None:
            return None
        now = self.clock()
        if found.terminal or now - self.since.setdefault(found.kind, now) >= self.grace:
            return self._not_landed(found.message)
        return None

    def progress(self, view: _View) -> str:
        """What the wait is for: `docs-live/deployment/docs: 3 of 5 replicas are ready`, and the cause of a delay."""
        if view.trouble is not None:
            return f"{self.ref}: the cluster does not answer just now"
        waits = self.health.reason or "up, and looked at again"
        return f"{self.ref}: {waits}" + (f" ({self.cause.message})" if self.cause else "")

    def _because(self) -> str:
        found = self.cause or not_ready(self.seen.pods, self.seen.events, self.seen.blockers)
        return f"{self.health.reason}; {found.message}" if found else self.health.reason

    def _not_landed(self, why: str) -> InfraError:
        return InfraError("not-landed", f"{self.ref} did not land: {why.rstrip('.')}.")

    def too_late(self, view: _View, deadline: float) -> Out | InfraError:
        """The result when the time is up."""
        if view.trouble is not None:
            return view.trouble.translate(self.ref)
        if view.live is not None and self.health.state == "Current":
            if not self.was_so:
                return self._not_landed("it differs from what was written")
            if out := self._out(view.live):
                return out  # and restarted once on the way
        return self._not_landed(f"not within {deadline:.0f} s: {self._because()}")


def _observed(live: dict[str, Any]) -> bool:
    """Whether the controller has seen the change: until then status and pods are about the former state."""
    return bool((live.get("status") or {}).get("observedGeneration") == live["metadata"].get("generation"))


def _updated(live: dict[str, Any]) -> int:
    """How many pods are of the newest revision, as the controller counts them."""
    seen = live.get("status") or {}
    return int(seen.get("updatedReplicas") or seen.get("updatedNumberScheduled") or 0)


def _blocked(live: dict[str, Any], health: Health) -> str:
    """Why a workload will replace no pod, however long the wait."""
    spec, seen = live.get("spec") or {}, live.get("status") or {}
    if not _observed(live):
        return ""
    there, updated = int(seen.get("replicas") or seen.get("desiredNumberScheduled") or 0), _updated(live)
    strategy = spec.get("updateStrategy") or {}
    if live["kind"] == "Deployment" and spec.get("paused") and health.state == "InProgress":
        return "its rollout is paused"
    # kstatus calls such a StatefulSet Current, and yet the new version does not run.
    if strategy.get("type") == "OnDelete" and updated < there:
        return f"its pods are replaced only when someone deletes them (OnDelete), and {updated} of {there} were"
    partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
    if live["kind"] == "StatefulSet" and partition >= int(spec.get("replicas", 1)) and not updated and there:
        return f"its partition {partition} keeps all of its pods at the former version"
    return ""
