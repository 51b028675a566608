"""Confirms that a release landed: stored as judged, deployed, its hooks succeeded, and every object as rendered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Final

import anyio

from infra_mcp.clients.helm.stored import DEPLOYED, PENDING, Revision
from infra_mcp.drivers.helm.access import Access
from infra_mcp.drivers.helm.failed_hooks import why_hooks_failed
from infra_mcp.drivers.helm.objects import planned
from infra_mcp.drivers.helm.plan import PlannedRelease, Work
from infra_mcp.drivers.helm.rendered import Rendered, Rendering, deviations, rendering_of
from infra_mcp.drivers.helm.state import state_of
from infra_mcp.drivers.kubernetes.health import condition, time_of
from infra_mcp.drivers.kubernetes.health import status as health_of
from infra_mcp.drivers.kubernetes.revision import WORKLOADS
from infra_mcp.drivers.kubernetes.verify import Out, rollout
from infra_mcp.errors import InfraError, Moved
from infra_mcp.gather import gather, gather_pair
from infra_mcp.policy.images import images_in
from infra_mcp.repository.edits import Goal
from infra_mcp.repository.helm.declared import Release

_STEP, _MAX_STEP = 0.02, 0.5  # seconds between looks, at first and in the end
_SUCCEEDED: Final = "Succeeded"
_JOB_DONE: Final = frozenset({"Completed", "SuccessCriteriaMet"})
_JOB_FAILED: Final = frozenset({"BackoffLimitExceeded", "DeadlineExceeded", "FailedIndexes", "PodFailurePolicy"})


async def landed(access: Access, work: Work, seconds: float) -> str:
    """Wait until every release has landed, and say what is now true.

    Args:
        access: the cluster, as the request may use it.
        work: the plan that was applied.
        seconds: how long objects may still take.

    Raises:
        InfraError: `not-landed`, with release and cause; `object-moved`: somebody else changed it meanwhile;
            `cannot-observe`: Helm installed other objects than were judged, and a person must look.
    """
    facts = await gather(partial(_landed, access, one, work.goal, seconds) for one in work.releases)
    return "; ".join(facts)


async def _landed(access: Access, one: PlannedRelease, goal: Goal, seconds: float) -> str:
    access.context.say(f"waiting for {one.release}")
    revision = await _deployed(access, one, seconds)
    stored = await rendering_of(access.cluster, revision)
    if one.change.operation != "unchanged":
        _require_judged(one, stored)
        await _require_hooks(access, one, stored)
    outs, _ = await gather_pair(
        partial(objects_landed, access, one.release, stored, goal.grace, seconds),
        partial(_gone, access, one, seconds),
    )
    return _fact(one, revision, goal, outs)


async def _deployed(access: Access, one: PlannedRelease, seconds: float) -> Revision:
    """The revision that the plan made, once it is deployed."""
    release, wanted = one.release, _wanted(one)
    with anyio.move_on_after(seconds):
        step = _STEP
        while True:
            last = state_of(await access.history(release.namespace, release.name)).last
            ours = last is not None and (one.change.operation == "unchanged" or access.is_ours(last))
            if last is None or last.number != wanted or not ours:
                now = f"is at revision {last.number}" if last else "is gone"
                raise InfraError("object-moved", f"{release} {now}, and not at {wanted}: others changed it meanwhile.")
            if last.status == DEPLOYED:
                return last
            if last.status not in PENDING:
                said = access.masker.mask(last.description)
                raise InfraError("not-landed", f"{release}: revision {wanted} is {last.status}: {said}.")
            access.context.say(f"{release} is {last.status}")
            await anyio.sleep(step)
            step = min(step * 2, _MAX_STEP)
    raise InfraError("not-landed", f"{release} is not deployed after {seconds:.0f} s.")


def _wanted(one: PlannedRelease) -> int:
    return one.state.number if one.change.operation == "unchanged" else one.revision


def _require_judged(one: PlannedRelease, stored: Rendering) -> None:
    """Require that what Helm stored is what policy judged: a `lookup` may have found something else meanwhile."""
    if strange := deviations(one.judged, stored):
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""  # noqa: PLR2004 - named in a message
        what = f"Helm installed {one.release} otherwise than it was planned and judged: {'; '.join(strange[:3])}{more}."
        raise InfraError("cannot-observe", what)


async def _require_hooks(access: Access, one: PlannedRelease, stored: Rendering) -> None:
    """Require that each hook of the operation ran and succeeded."""
    for each in stored.hooks_of(*one.events):
        if each.hook is not None and each.hook.phase != _SUCCEEDED:
            said = await why_hooks_failed(access, one.release)
            what = said or f"its hook {each.ref} is {each.hook.phase or 'not run'}"
            raise InfraError("not-landed", f"{one.release}: {what}.")


async def objects_landed(
    access: Access, release: Release, stored: Rendering, grace: float, seconds: float
) -> list[tuple[Rendered, Out]]:
    """Wait until every object is as rendered, and ready; returns each with what came out.

    Raises:
        InfraError: `not-landed`, with the object and the cause; `object-moved`.
    """
    outs = await gather(partial(_object, access, release, one, grace, seconds) for one in stored.objects)
    return list(zip(stored.objects, outs, strict=True))


async def _object(access: Access, release: Release, one: Rendered, grace: float, seconds: float) -> Out:
    access.context.seen.pop(one.ref.key, None)
    if one.ref.kind == "Job" and one.ref.group == "batch":
        return await _job(access, one, seconds)
    try:
        found = await planned(access, release, one, one, late=False)
    except Moved as moved:
        raise InfraError("object-moved", f"{one.ref} of {release} is changed by others all the time.") from moved
    if found.live is None:
        raise InfraError("not-landed", f"{one.ref} of {release} is not there.")
    if found.change.operation != "unchanged":
        fields = ", ".join(str(field.path[-1]) for field in found.change.fields[:3])
        raise InfraError("object-moved", f"{one.ref} of {release} was changed by others: {fields}.")
    if one.ref.kind in WORKLOADS and one.ref.group == "apps":
        template = (found.live.get("spec") or {}).get("template")

        def same(live: dict[str, Any]) -> bool:
            return bool((live.get("spec") or {}).get("template") == template)

        uid = str(found.live["metadata"]["uid"])
        return await rollout(
            access.cluster,
            one.ref,
            uid,
            as_user=access.user,
            expect=same,
            grace=grace,
            deadline=seconds,
            say=access.context.say,
        )
    return await _ready(access, one, seconds)


async def _ready(access: Access, one: Rendered, seconds: float) -> Out:
    """Wait until an object without pods of its own is in the state that its spec asks for."""
    reason, step = "it is not there", _STEP
    with anyio.move_on_after(seconds):
        while True:
            live = await access.get(one.ref)
            if live is not None:
                health = health_of(live)
                if health.state == "Current":
                    return Out(live, 0)
                reason = health.reason
                if health.state == "Failed":
                    break
            access.context.say(f"{one.ref}: {reason}")
            await anyio.sleep(step)
            step = min(step * 1.5, _MAX_STEP)
    raise InfraError("not-landed", f"{one.ref} is not ready: {reason}.")


async def _job(access: Access, one: Rendered, seconds: float) -> Out:
    """Wait until a Job has completed: one that merely runs has not, and one that is gone may have failed.

    A Job with a short time to live is deleted as soon as it has ended; then its events say how (helm/helm#30533).
    """
    reason, step = "it has not completed", _STEP
    with anyio.move_on_after(seconds):
        while True:
            live = await access.get(one.ref)
            if live is None:
                ended = await _ended(access, one)
                if ended in _JOB_DONE:
                    return Out(one.body, 0)
                reason = f"it is gone, and {f'ended with {ended}' if ended else 'nothing shows how it ended'}"
                break
            if condition(live, "Complete").get("status") == "True":
                return Out(live, 0)
            failed = condition(live, "Failed")
            if failed.get("status") == "True":
                reason = f"it failed: {failed.get('reason')}"
                break
            access.context.say(f"{one.ref}: {reason}")
            await anyio.sleep(step)
            step = min(step * 1.5, _MAX_STEP)
    raise InfraError("not-landed", f"{one.ref} has not succeeded: {reason}.")


async def _ended(access: Access, one: Rendered) -> str:
    """How a Job that is gone ended, by its newest event that says so; empty where none does."""
    about = f"involvedObject.kind=Job,involvedObject.name={one.ref.name}"
    listed = await access.cluster.list("v1", "Event", one.ref.namespace, as_user=access.user, field_selector=about)
    ends = [event for event in listed["items"] if event.get("reason") in _JOB_DONE | _JOB_FAILED]
    newest = max(ends, key=lambda event: time_of(event.get("lastTimestamp") or event.get("eventTime")), default=None)
    return str(newest["reason"]) if newest else ""


async def _gone(access: Access, one: PlannedRelease, seconds: float) -> None:
    """Wait until the objects that are rendered no longer are deleted: Helm does not."""
    for each in one.gone:
        step = _STEP
        with anyio.move_on_after(seconds) as scope:
            while await access.get(each.ref) is not None:
                access.context.say(f"{each.ref} is being deleted")
                await anyio.sleep(step)
                step = min(step * 1.5, _MAX_STEP)
        if scope.cancelled_caught:
            raise InfraError("not-landed", f"{each.ref}, which {one.release} no longer has, is still there.")


def _fact(one: PlannedRelease, revision: Revision, goal: Goal, outs: Iterable[tuple[Rendered, Out]]) -> str:
    """What is now true of a release, for the ack."""
    runs = list(_runs(outs))
    named = runs and goal.subject not in {"", str(one.release)}
    subject = f"{goal.subject} {goal.done or 'runs'}: " if named else ""
    chart = f"chart {revision.chart} {revision.version}"
    lead = f"{subject}{one.release} is at revision {revision.number} ({chart}), deployed"
    hooks = [each for each in one.hooks if each.operation == "run"]
    ran = [f"{len(hooks)} hooks succeeded"] if hooks else []
    return ", ".join([lead, *ran, *runs])


def _runs(outs: Iterable[tuple[Rendered, Out]]) -> Iterator[str]:
    for one, out in outs:
        ref, live = one.ref, out.live
        if ref.kind not in WORKLOADS:
            continue
        spec, remark = live.get("spec") or {}, health_of(live).reason
        wanted = spec.get("replicas")
        count = f"{out.ready} of {wanted} replicas ready" if wanted is not None else f"{out.ready} ready"
        images = ", ".join(dict.fromkeys(images_in((spec.get("template") or {}).get("spec") or {})))
        yield f"{ref} {count}{f' ({remark})' if remark else ''}, image {images}"
