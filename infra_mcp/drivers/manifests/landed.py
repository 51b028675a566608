"""Landed: every object observed in the asked state, from the API server, after the write; and what is now true."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import anyio

from infra_mcp.clients.kube import Cluster
from infra_mcp.drivers.kubernetes.health import status as health_of
from infra_mcp.drivers.kubernetes.revision import WORKLOADS
from infra_mcp.drivers.kubernetes.verify import Out, rollout
from infra_mcp.drivers.manifests.planned import PlannedObject, Rights, Work
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather
from infra_mcp.policy.images import images_in
from infra_mcp.repository.edits import Goal
from infra_mcp.repository.partial import is_within

_WAIT = 15.0  # seconds; objects that no controller works on need only to be there
_STEP = 0.05
_BOUNDS = ("ResourceQuota", "LimitRange", "NetworkPolicy")


async def landed(cluster: Cluster, rights: Rights, work: Work, seconds: float, say: Callable[[str], None]) -> str:
    """Read every object back until it is as asked, and say what is now true. Workloads are watched until they are out.

    Args:
        cluster: where.
        rights: as whom.
        work: the plan that was applied.
        seconds: how long workloads may still take.
        say: told which object is waited for, and why.

    Raises:
        InfraError: `not-landed`, naming what is not so and its cause; `object-moved`, when a workload was replaced.
    """
    seen = await gather(partial(_observed, cluster, rights, work, one, seconds, say) for one in work.objects)
    return ", ".join(_facts(work, list(zip(work.objects, seen, strict=True))))


def _facts(work: Work, seen: list[tuple[PlannedObject, Out]]) -> list[str]:
    """What is now true, one fact an object that somebody asked for: namespaces, secrets, workloads, then the rest."""
    facts = [f"namespace {one.desired.ref.name} up" for one, _ in seen if one.desired.ref.kind == "Namespace"]
    copies = [one.desired for one, _ in seen if one.desired.secret]
    facts += [f"secret {copy.secret} present (as {copy.ref.name})" for copy in copies]
    if copies:
        facts.append("service account default uses " + ("it" if len(copies) == 1 else "them"))
    facts += [_runs(work.goal, one, out) for one, out in seen if one.desired.ref.kind in WORKLOADS]
    facts += [
        f"{one.desired.ref.kind} {one.desired.ref.name} set" for one, _ in seen if one.desired.ref.kind in _BOUNDS
    ]
    return facts or [f"{one.change.target} is as asked" for one, _ in seen]


def _runs(goal: Goal, one: PlannedObject, out: Out) -> str:
    """What a workload that is out runs. One that runs no pod only says so: nothing shows that the version would."""
    ref, remark = one.desired.ref, health_of(out.live).reason
    template = ((out.live.get("spec") or {}).get("template") or {}).get("spec") or {}
    images = ", ".join(list(dict.fromkeys(images_in(one.desired.sets))) or dict.fromkeys(images_in(template)))
    if not out.ready:
        is_number = "replicas" in (one.desired.sets.get("spec") or {})
        lead = f"{goal.subject} {goal.done}:" if is_number else f"{goal.subject} is set in"
        return f"{lead} {ref}, image {images}; {remark}"
    wanted = (out.live.get("spec") or {}).get("replicas")
    count = f"{out.ready} of {wanted} replicas ready" if wanted is not None else f"{out.ready} ready"
    lead = f"{goal.subject} {goal.done}:" if goal.done else f"{goal.subject} runs as"
    return f"{lead} {ref}, {count}{f' ({remark})' if remark else ''}, image {images}"


async def _observed(
    cluster: Cluster, rights: Rights, work: Work, one: PlannedObject, seconds: float, say: Callable[[str], None]
) -> Out:
    ref, sets = one.desired.ref, one.desired.sets
    if ref.kind in WORKLOADS:
        uid = str((one.live or {}).get("metadata", {}).get("uid", ""))
        grace = work.goal.grace
        so = partial(is_within, sets)
        return await rollout(cluster, ref, uid, as_user=rights.user, expect=so, grace=grace, deadline=seconds, say=say)
    user = None if one.desired.identity == "server" else rights.user
    reason = "it is not there"
    with anyio.move_on_after(_WAIT):
        while True:
            live = await cluster.get(ref, as_user=user)
            if live is not None:
                state = health_of(live)
                if is_within(sets, live) and state.state == "Current":
                    return Out(live, 0)
                reason = state.reason if state.state != "Current" else "it is not as it was written"
            say(f"{ref}: {reason}")
            await anyio.sleep(_STEP)
    raise InfraError("not-landed", f"{ref} did not come to be as asked: {reason}.")
