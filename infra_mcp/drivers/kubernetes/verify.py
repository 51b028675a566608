"""Watching a rollout until it is out, or until it is sure that it will not be.

Out means: the same object (by uid) is Current by kstatus, still says what was written, as many pods of its newest
revision are ready as its controller counts, and none of them is being started again. A cause that cannot pass ends the
wait at once; one that may pass, after the app's grace. A pod that is merely not ready yet is no cause: it has until the
deadline. Not noticed: a container that first crashes after it was out; a Deployment's `minReadySeconds` is for that.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
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

_TICK: Final = 1.0  # seconds; causes are told by events, too, and nothing watches those
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
        cluster: where.
        ref: the workload.
        uid: of the object that was written; empty where it is not known: then the one that is there.
        as_user: the identity to read as.
        expect: whether a live object still says what was written.
        grace: seconds that a cause which may pass is borne.
        deadline: seconds in all.
        say: told how far it is, in words, at every look.

    Returns:
        The live object that is out, and its ready pods. Without the right to read pods the controller's count is taken.

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
                        say(judge.words(view))
                    with anyio.move_on_after(_TICK):
                        await changed.wait()
        group.cancel_scope.cancel()
    if found is None:
        found = judge.too_late(view, deadline)
    if isinstance(found, InfraError):
        raise found
    return found


class _View:
    """The object as last seen, and a signal for when there is something new to see."""

    def __init__(self) -> None:
        self.live: dict[str, Any] | None = None
        self.trouble: KubeError | None = None  # the cluster cannot be asked just now
        self.refused: KubeError | None = None  # it says no, and will
        self.first = anyio.Event()
        self.changed = anyio.Event()
        self.ailing = False  # a pod was seen that does not do well, and was not looked into yet

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
    """Keep the object in view, whatever happens to the connection. A refusal of rights has to last to count."""
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
    """Wake whoever looks when a pod does not do well. Those that do are not worth a look: the workload counts them."""
    namespace = live["metadata"]["namespace"]
    try:
        async with aclosing(
            cluster.watch("v1", "Pod", namespace, as_user=as_user, label_selector=selector(live))
        ) as events:
            async for event in events:
                if is_failing(event["object"]):
                    view.ailing = True
                    view.wake()
    except KubeError:
        return  # then it is looked at every tick


def _passing(error: KubeError) -> bool:
    return error.status in {0, HTTPStatus.TOO_MANY_REQUESTS} or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR


class _Judge:
    """What the sight of the object and its pods means, with the memory it takes to say "still"."""

    def __init__(
        self,
        cluster: Cluster,
        ref: ObjectRef,
        uid: str,
        as_user: str | None,
        expect: Callable[[dict[str, Any]], bool],
        grace: float,
        clock: Callable[[], float] = anyio.current_time,
    ) -> None:
        self._cluster, self._ref, self._uid, self._as_user = cluster, ref, uid, as_user
        self._expect, self._grace, self._clock = expect, grace, clock
        self._was_so = False
        self._looked = clock()  # when pods and events were last read
        self._since: dict[str, float] = {}  # by kind of cause, when it was first seen
        self._restarts = 0
        self._steady_since = 0.0
        self._health = Health("InProgress", "it was not observed")
        self._seen = Seen([], [], [], [], 0)
        self._cause: Cause | None = None

    async def look(self, view: _View) -> Out | InfraError | None:
        """The workload when it is out, an error when it will not be, None while it may be yet."""
        if view.refused is not None:
            return view.refused.translate(self._ref)
        live = view.live
        if (moved := self._moved(live)) or live is None:
            return moved
        self._health = status(live)
        if blocked := _blocked(live, self._health):
            return self._not_landed(blocked)
        out = self._health.state == "Current" and self._was_so
        if not out and not self._is_due(view, live):
            return None
        try:
            found = await self._steady(live) if out else await self._find_cause(live)
        except KubeError as error:
            view.trouble = error
            return None
        view.trouble = None
        return found

    def _is_due(self, view: _View, live: dict[str, Any]) -> bool:
        """Whether to read pods and events: when one ails, when the workload failed, and else once a tick."""
        now = self._clock()
        if live["kind"] in WORKLOADS and not _observed(live):
            return False
        if not view.ailing and self._health.state != "Failed" and now - self._looked < _TICK:
            return False
        view.ailing, self._looked = False, now
        return True

    def _moved(self, live: dict[str, Any] | None) -> InfraError | None:
        if live is None or live["metadata"].get("deletionTimestamp"):
            return InfraError("object-moved", f"{self._ref} was deleted by someone else meanwhile.")
        self._uid = self._uid or live["metadata"]["uid"]
        if live["metadata"]["uid"] != self._uid:
            return InfraError("object-moved", f"{self._ref} was deleted and created again by someone else meanwhile.")
        is_so = self._expect(live)
        if self._was_so and not is_so:
            return InfraError("object-moved", f"{self._ref} was changed by someone else meanwhile.")
        self._was_so = is_so
        return None

    async def _steady(self, live: dict[str, Any]) -> Out | None:
        """The workload when no new pod is being started again: one that was has to stay up for a while first."""
        if live["kind"] not in WORKLOADS:
            return Out(live, 0)
        self._seen = await look(self._cluster, live, as_user=self._as_user, warnings=False)
        count, now = restarts(self._seen.pods), self._clock()
        if count != self._restarts:
            self._restarts, self._steady_since = count, now
        return self._out(live) if count == 0 or now - self._steady_since >= min(self._grace, _STEADY) else None

    def _out(self, live: dict[str, Any]) -> Out | None:
        """The workload when as many pods of its newest revision are ready as its controller says it updated."""
        updated = _updated(live)
        ready = updated if self._seen.ready is None else self._seen.ready
        return Out(live, ready) if ready >= updated else None

    async def _find_cause(self, live: dict[str, Any]) -> InfraError | None:
        if live["kind"] in WORKLOADS and _observed(live):
            self._seen = await look(self._cluster, live, as_user=self._as_user)
        pods, events, replicasets, blockers, _ = self._seen
        self._cause = found = cause(pods, events, replicasets, blockers)
        if self._health.state == "Failed":
            return self._not_landed(self._because())
        # A crash loop goes on while its container happens to run; everything else that is gone is over.
        self._since = {k: t for k, t in self._since.items() if k == "CrashLoop" or (found and k == found.kind)}
        if found is None:
            return None
        now = self._clock()
        if found.terminal or now - self._since.setdefault(found.kind, now) >= self._grace:
            return self._not_landed(found.message)
        return None

    def words(self, view: _View) -> str:
        """What is being waited for: `docs-live/deployment/docs: 3 of 5 replicas are ready`, and what hinders it."""
        if view.trouble is not None:
            return f"{self._ref}: the cluster does not answer just now"
        waits = self._health.reason or "up, and looked at again"
        return f"{self._ref}: {waits}" + (f" ({self._cause.message})" if self._cause else "")

    def _because(self) -> str:
        found = self._cause or not_ready(self._seen.pods, self._seen.events, self._seen.blockers)
        return f"{self._health.reason}; {found.message}" if found else self._health.reason

    def _not_landed(self, why: str) -> InfraError:
        return InfraError("not-landed", f"{self._ref} did not land: {why.rstrip('.')}.")

    def too_late(self, view: _View, deadline: float) -> Out | InfraError:
        """What to say when the time is up."""
        if view.trouble is not None:
            return view.trouble.translate(self._ref)
        if view.live is not None and self._health.state == "Current":
            if not self._was_so:
                return self._not_landed("it is not as it was written")
            if out := self._out(view.live):
                return out  # and restarted once on the way
        return self._not_landed(f"not within {deadline:.0f} s: {self._because()}")


def _observed(live: dict[str, Any]) -> bool:
    """Whether the controller has seen the change: before, what there is of status and pods is about the former one."""
    return bool((live.get("status") or {}).get("observedGeneration") == live["metadata"].get("generation"))


def _updated(live: dict[str, Any]) -> int:
    """How many pods are of the newest revision, as the controller counts them."""
    seen = live.get("status") or {}
    return int(seen.get("updatedReplicas") or seen.get("updatedNumberScheduled") or 0)


def _blocked(live: dict[str, Any], health: Health) -> str:
    """Why a workload replaces no pod by itself, however long one waits."""
    spec, seen = live.get("spec") or {}, live.get("status") or {}
    if not _observed(live):
        return ""
    there, updated = int(seen.get("replicas") or seen.get("desiredNumberScheduled") or 0), _updated(live)
    strategy = spec.get("updateStrategy") or {}
    if live["kind"] == "Deployment" and spec.get("paused") and health.state == "InProgress":
        return "its rollout is paused"
    # kstatus calls such a StatefulSet Current; what was asked for does not run yet all the same.
    if strategy.get("type") == "OnDelete" and updated < there:
        return f"its pods are replaced only when someone deletes them (OnDelete), and {updated} of {there} were"
    partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
    if live["kind"] == "StatefulSet" and partition >= int(spec.get("replicas", 1)) and not updated and there:
        return f"its partition {partition} keeps all of its pods at the former version"
    return ""
