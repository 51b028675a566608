"""Writing what the plan says, in order, each write bound to the very read it was planned on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import anyio

from infra_mcp.clients.kube import Cluster, KubeError
from infra_mcp.clients.kube.errors import is_denied
from infra_mcp.drivers.kubernetes import ssa
from infra_mcp.drivers.kubernetes.order import order
from infra_mcp.drivers.manifests.planned import PlannedObject, Rights, Work
from infra_mcp.errors import InfraError, Moved
from infra_mcp.gather import gather
from infra_mcp.model.object_ref import ObjectRef

T = TypeVar("T")

_DEFAULT_ACCOUNT = 10.0  # seconds; the controller needs milliseconds
_NEW_BINDING = 5.0  # seconds that a 403 may last after our own binding
_STEP, _LONGEST_STEP = 0.004, 0.1  # seconds between looks, at first and in the end


async def apply(cluster: Cluster, rights: Rights, work: Work) -> None:
    """Bring every object that is not so to what the plan says.

    A namespace of ours is made first, then what lies inside is dry-run, all of it, before the first of it is written.

    Raises:
        Moved: an object changed since the plan; nothing was taken over, plan again.
        InfraError: a create met an object that is not ours (`exists`), or the server refuses a write.
        KubeError: with status 0, when the outcome of a write is not known.
    """
    for one in order((o for o in work.to_write if o.desired.identity == "server"), key=lambda one: one.desired.ref):
        await _create(cluster, rights, one)
    inside = [one for one in work.to_write if one.desired.identity == "circle"]
    if work.late:
        inside = await _dry_run_inside(cluster, rights, inside)
    await gather(partial(_write, cluster, rights, one) for one in inside)


async def _create(cluster: Cluster, rights: Rights, one: PlannedObject) -> None:
    """One of the two bootstrap writes: a POST, which never changes an object that is there."""
    ref, sets = one.desired.ref, one.desired.sets
    try:
        with anyio.CancelScope(shield=True):
            await cluster.create(rights.own.marked(ref, sets), as_user=None)
    except KubeError as error:
        live = await cluster.get(ref, as_user=None)
        if rights.own.made(ref, sets, live):
            return  # the answer was lost, the write was not
        if live is not None and error.status == 409:  # noqa: PLR2004 - HTTP conflict
            raise InfraError("exists", f"{ref} was created by someone else meanwhile.") from error
        raise


async def _dry_run_inside(cluster: Cluster, rights: Rights, objects: list[PlannedObject]) -> list[PlannedObject]:
    """Dry-run all that lies inside the namespace just made, before the first write inside it."""

    async def check(one: PlannedObject) -> PlannedObject:
        live = await _present(cluster, rights, one.desired.ref)
        proposal = await _patiently(
            lambda: ssa.propose(
                cluster, one.desired.ref, live, one.desired.sets, as_user=rights.user, adopt=rights.adopt
            )
        )
        return replace(one, live=live, proposal=proposal)

    return await gather(partial(check, one) for one in objects)


async def _present(cluster: Cluster, rights: Rights, ref: ObjectRef) -> dict[str, Any] | None:
    """The live object; the `default` service account is waited for, since a controller makes it."""
    is_default = ref.kind == "ServiceAccount" and ref.name == "default"
    step = _STEP
    with anyio.move_on_after(_DEFAULT_ACCOUNT):
        while True:
            live = await _patiently(lambda: cluster.get(ref, as_user=rights.user))
            if live is not None or not is_default:
                return live
            await anyio.sleep(step)
            step = min(step * 1.3, _LONGEST_STEP)
    raise InfraError("not-landed", f"{ref} was not made by the cluster within {_DEFAULT_ACCOUNT:.0f} s.")


async def _patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Call again while a binding made a moment ago is not yet in force; after that a 403 is real."""
    step = _STEP
    with anyio.move_on_after(_NEW_BINDING):
        while True:
            try:
                return await call()
            except (KubeError, InfraError) as error:
                if not is_denied(error):
                    raise
            await anyio.sleep(step)
            step = min(step * 1.3, _LONGEST_STEP)
    return await call()


async def _write(cluster: Cluster, rights: Rights, one: PlannedObject) -> None:
    ref = one.desired.ref
    if one.proposal is None:
        raise Moved(str(ref))
    with anyio.CancelScope(shield=True):
        await ssa.write(
            cluster, one.proposal, as_user=rights.user, request=rights.own.request, nonce=rights.own.nonce(ref)
        )
