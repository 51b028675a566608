"""Writes the plan in order, each write bound to the read it was planned on, and reads back until all of it landed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar

import anyio

from infra_mcp.clients.kube import KubeError
from infra_mcp.clients.kube.errors import is_denied
from infra_mcp.drivers.kubernetes import ssa
from infra_mcp.drivers.kubernetes.health import status as health_of
from infra_mcp.drivers.kubernetes.revision import WORKLOADS
from infra_mcp.drivers.kubernetes.verify import Out, rollout
from infra_mcp.drivers.manifests.objects import Access, PlannedObject, Work
from infra_mcp.drivers.manifests.plan import dry_run
from infra_mcp.errors import InfraError, Moved
from infra_mcp.gather import gather
from infra_mcp.model.marks import BINDING
from infra_mcp.policy.guard.facts import traits, unjudged
from infra_mcp.policy.images import images_in
from infra_mcp.repository.edits import Goal
from infra_mcp.repository.partial import get_path, is_within

T = TypeVar("T")

_DEFAULT_ACCOUNT = 10.0  # seconds; the controller needs milliseconds
_NEW_BINDING = 5.0  # seconds that a 403 may last after our own binding
_PLAIN = 15.0  # seconds; objects without a controller need only to be there
_STEP, _MAX_STEP = 0.004, 0.1  # seconds between looks, at first and in the end
_BOUNDS = ("ResourceQuota", "LimitRange", "NetworkPolicy")


async def apply(access: Access, work: Work) -> None:
    """Write every object that differs from the plan.

    Namespaces are created first, then all objects inside them are dry-run before the first of those is written.

    Raises:
        Moved: an object changed since the plan; nothing was taken over, plan again.
        InfraError: a create met an object that is not ours (`exists`), or the server refuses a write.
        KubeError: with status 0, when the outcome of a write is not known.
    """
    as_server = [one for one in work.to_write if one.desired.identity == "server"]
    # A namespace before its bindings, and the one that shows that it is bound as the last: a server that dies before
    # it finds its namespace not bound yet, and goes on.
    for one in sorted(as_server, key=lambda one: (one.desired.ref.kind, one.desired.ref.name == BINDING)):
        await _create(access, one)
    inside = [one for one in work.to_write if one.desired.identity == "circle"]
    if work.late:
        inside = await gather(partial(_dry_run_late, access, one) for one in inside)
    await gather(partial(_write, access, one) for one in inside)


async def _create(access: Access, one: PlannedObject) -> None:
    """One of the two bootstrap writes: a POST, which never changes an existing object."""
    ref, sets = one.desired.ref, one.desired.sets
    try:
        with anyio.CancelScope(shield=True):
            await access.cluster.create(access.own.marked(ref, sets), as_user=None)
    except KubeError as error:
        live = await access.get(ref)
        if access.own.made(ref, sets, live):
            return  # the answer was lost, the write was not
        if live is not None and error.status == HTTPStatus.CONFLICT:
            raise InfraError("exists", f"{ref} was created by someone else meanwhile.") from error
        raise


async def _dry_run_late(access: Access, one: PlannedObject) -> PlannedObject:
    """Propose an object whose namespace has just been created; a controller creates its `default` service account."""
    ref = one.desired.ref

    async def look() -> tuple[dict[str, Any] | None] | None:
        live = await _bound(partial(access.get, ref))
        return (live,) if live is not None or (ref.kind, ref.name) != ("ServiceAccount", "default") else None

    found = await _poll(look, _DEFAULT_ACCOUNT)
    if found is None:
        raise InfraError("not-landed", f"The cluster did not create {ref} within {_DEFAULT_ACCOUNT:.0f} s.")
    proposal = await _bound(partial(dry_run, access, one.desired, found[0]))
    if new := unjudged(traits(proposal.dry, found[0]), one.change.traits or ()):
        first = new[0]
        what = f"{ref}: the API server would add {first.where.removeprefix('.')}, which was not judged ({first.rule})."
        raise InfraError("object-invalid", what, next_step="A cluster admin looks at its mutating webhooks.")
    return replace(one, live=found[0], proposal=proposal)


async def _bound(call: Callable[[], Awaitable[T]]) -> T:
    """Call again while our new binding is not in force yet; after that a 403 is real."""

    async def attempt() -> tuple[T] | None:
        try:
            return (await call(),)
        except (KubeError, InfraError) as error:
            if not is_denied(error):
                raise
            return None

    found = await _poll(attempt, _NEW_BINDING)
    return found[0] if found else await call()


async def _poll(look: Callable[[], Awaitable[T | None]], seconds: float, step: float = _STEP) -> T | None:
    """Look until there is a result; None when the time is up."""
    with anyio.move_on_after(seconds):
        while (found := await look()) is None:
            await anyio.sleep(step)
            step = min(step * 1.3, _MAX_STEP)
        return found
    return None


async def _write(access: Access, one: PlannedObject) -> None:
    ref = one.desired.ref
    if one.proposal is None:
        raise Moved(str(ref))
    own = access.own
    with anyio.CancelScope(shield=True):
        await ssa.write(access.cluster, one.proposal, as_user=access.user, request=own.request, nonce=own.nonce(ref))


async def landed(access: Access, work: Work, seconds: float, say: Callable[[str], None]) -> str:
    """Read every object back until it is as planned, workloads until their rollout is out, and say what is now true.

    Args:
        access: the cluster, as the request may use it.
        work: the plan that was applied.
        seconds: how long workloads may still take.
        say: reports which object is waited for, and why.

    Raises:
        InfraError: `not-landed`, naming the object and the cause; `object-moved`, when a workload was replaced.
    """
    seen = await gather(partial(_observed, access, work, one, seconds, say) for one in work.objects)
    return ", ".join(_facts(work, list(zip(work.objects, seen, strict=True))))


async def _observed(access: Access, work: Work, one: PlannedObject, seconds: float, say: Callable[[str], None]) -> Out:
    ref, sets = one.desired.ref, one.desired.sets

    def so(live: dict[str, Any]) -> bool:
        return is_within(sets, live) and not any(get_path(live, path)[0] for path in one.desired.removes)

    if ref.kind in WORKLOADS:
        uid = str((one.live or {}).get("metadata", {}).get("uid", ""))
        grace = work.goal.grace
        return await rollout(
            access.cluster, ref, uid, as_user=access.user, expect=so, grace=grace, deadline=seconds, say=say
        )
    reason = "it is not there"

    async def look() -> Out | None:
        nonlocal reason
        live = await access.get(ref)
        if live is not None:
            health = health_of(live)
            if so(live) and health.state == "Current":
                return Out(live, 0)
            reason = health.reason if health.state != "Current" else "it differs from what was written"
        say(f"{ref}: {reason}")
        return None

    if (out := await _poll(look, _PLAIN, step=0.05)) is None:
        raise InfraError("not-landed", f"{ref} did not reach the requested state: {reason}.")
    return out


def _facts(work: Work, seen: list[tuple[PlannedObject, Out]]) -> list[str]:
    """What is now true, one fact for each object that was asked for: namespaces, secrets, workloads, then the rest."""
    objects = [one.desired for one, _ in seen]
    facts = [f"namespace {one.ref.name} up" for one in objects if one.ref.kind == "Namespace"]
    copies = [one for one in objects if one.secret]
    facts += [f"secret {copy.secret} present (as {copy.ref.name})" for copy in copies]
    if copies:
        facts.append("service account default uses " + ("it" if len(copies) == 1 else "them"))
    facts += [_runs(work.goal, one, out) for one, out in seen if one.desired.ref.kind in WORKLOADS]
    facts += [f"{one.ref.kind} {one.ref.name} set" for one in objects if one.ref.kind in _BOUNDS]
    return facts or [f"{one.ref} is as asked" for one in objects]


def _runs(goal: Goal, one: PlannedObject, out: Out) -> str:
    """What a workload that is out runs. One without pods is only set: nothing shows that the version would run."""
    ref, remark = one.desired.ref, health_of(out.live).reason
    spec = out.live.get("spec") or {}
    template = (spec.get("template") or {}).get("spec") or {}
    images = ", ".join(list(dict.fromkeys(images_in(one.desired.sets))) or dict.fromkeys(images_in(template)))
    if not out.ready:
        is_number = "replicas" in (one.desired.sets.get("spec") or {})
        lead = f"{goal.subject} {goal.done}:" if is_number else f"{goal.subject} is set in"
        return f"{lead} {ref}, image {images}; {remark}"
    wanted = spec.get("replicas")
    count = f"{out.ready} of {wanted} replicas ready" if wanted is not None else f"{out.ready} ready"
    lead = f"{goal.subject} {goal.done}:" if goal.done else f"{goal.subject} runs as"
    return f"{lead} {ref}, {count}{f' ({remark})' if remark else ''}, image {images}"
