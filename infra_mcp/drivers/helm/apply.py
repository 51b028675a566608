"""Upgrades releases as planned, one after the other; what stands in the way of an upgrade is repaired first."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio

from infra_mcp.clients.helm.command import Command
from infra_mcp.clients.helm.failure import HelmError
from infra_mcp.clients.helm.stored import DEPLOYED, Revision, failed, secret_name
from infra_mcp.drivers.helm.access import Access
from infra_mcp.drivers.helm.failed_hooks import why_hooks_failed
from infra_mcp.drivers.helm.plan import PlannedRelease, Work
from infra_mcp.drivers.helm.state import Repair, state_of
from infra_mcp.errors import InfraError, Moved
from infra_mcp.gather import gather
from infra_mcp.model.marks import REQUEST
from infra_mcp.model.object_ref import ObjectRef

_SERVERS = frozenset({"managedFields", "resourceVersion", "generation"})  # of an object's metadata


async def apply(access: Access, work: Work) -> None:
    """Upgrade every release that differs from the plan.

    Raises:
        Moved: a release or one of its objects changed since the plan; nothing was written.
        InfraError: `not-landed`: the upgrade failed; `release-stuck`.
    """
    for one in work.to_write:
        release = one.release
        async with access.alone(release.namespace, release.name) as lock:
            if lock is None:
                raise InfraError("release-stuck", f"Another process of this machine works on {release}.")
            await _require_still(access, one)
            await _upgrade(access, one, lock, work.goal.timeout)


async def _require_still(access: Access, one: PlannedRelease) -> None:
    """Require that release and objects are as they were planned on."""
    now = state_of(await access.history(one.release.namespace, one.release.name))
    if _of(now.last) != _of(one.state.last) or now.number != one.state.number:
        raise Moved(str(one.release))
    read = await gather(partial(access.get, each.rendered.ref) for each in one.objects)
    for each, live in zip(one.objects, read, strict=True):
        if _content(live) != _content(each.live):
            raise Moved(str(each.rendered.ref))


def _of(revision: Revision | None) -> tuple[int, str] | None:
    return (revision.number, revision.status) if revision else None


def _content(live: dict[str, Any] | None) -> dict[str, Any] | None:
    """An object without what the server and its controllers write."""
    if live is None:
        return None
    metadata = {key: value for key, value in live["metadata"].items() if key not in _SERVERS}
    return {**{key: value for key, value in live.items() if key != "status"}, "metadata": metadata}


async def _upgrade(access: Access, one: PlannedRelease, lock: int, seconds: float) -> None:
    release = one.release
    async with access.command() as (plain, folder):
        flags = await anyio.to_thread.run_sync(one.inputs.write, folder.path)
        mark = access.mark(release.namespace, release.name, one.revision)
        flags += [f"--labels={REQUEST}={mark}", f"--description=infra-mcp {access.context.request}"]
        held = plain.also(seconds=seconds, keep_open=[lock])
        try:
            if one.repair is Repair.ROLLBACK:
                await _roll_back_first(access, one, held)
            elif one.repair is Repair.RELEASE:
                await mark_as_failed(access, one.state.last)
            access.context.say(f"helm upgrades {release}")
            await held.also(*flags).upgrade(
                release.name,
                folder.chart,
                namespace=release.namespace,
                force=one.forced,
                replace=one.is_replaced,
                wait=release.wait,
            )
        except HelmError as error:
            raise await _failure(access, one, error) from error


async def _roll_back_first(access: Access, one: PlannedRelease, command: Command) -> None:
    """Bring a stuck release back to its last good revision."""
    release, good = one.release, one.state.good
    if good is None:  # pragma: no cover - then there is no such repair
        raise Moved(str(release))
    access.context.say(f"{release} is stuck: helm rolls it back to revision {good.number}")
    await command.roll_back(release.name, good.number, namespace=release.namespace, force=one.forced)
    last = state_of(await access.history(release.namespace, release.name)).last
    if last is None or (last.number, last.status) != (one.revision - 1, DEPLOYED):
        raise Moved(str(release))


async def mark_as_failed(access: Access, last: Revision | None) -> None:
    """Mark an install that was interrupted as failed, in Helm's own record, so that it can be installed again."""
    if last is None:  # pragma: no cover - then nothing is stuck
        return
    name = secret_name(last.name, last.number)
    ref = ObjectRef(cluster=access.cluster.name, api_version="v1", kind="Secret", namespace=last.namespace, name=name)
    secret = await access.get(ref)
    if secret is None:
        raise Moved(f"release {last.namespace}/{last.name}")
    access.context.say(f"marking revision {last.number} of {last.name} as failed")
    body = failed(secret, f"interrupted; marked as failed by infra-mcp {access.context.request}")
    await access.cluster.write(body, as_user=access.user, force=True, manager="helm")


async def _failure(access: Access, one: PlannedRelease, error: HelmError) -> Exception:
    """Why an upgrade failed: a hook with its log, where one did; else what Helm says."""
    release, kind = one.release, error.kind
    if kind == "release-stuck":
        return Moved(str(release))  # somebody else's operation began meanwhile
    if error.code < 0 and not error.why:
        what = f"{release}: helm was ended by signal {-error.code} in the middle of its work."
        return InfraError("not-landed", what)
    if said := await why_hooks_failed(access, release):
        return InfraError("not-landed", f"{release}: {said}.")
    return error.translate(str(release), access.masker.mask)
