"""Brings releases back to the revision that they had before, only where they are still as this request left them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from infra_mcp.clients.helm.failure import HelmError
from infra_mcp.clients.helm.stored import DEPLOYED, PENDING
from infra_mcp.drivers.base import Undone
from infra_mcp.drivers.helm.access import Access
from infra_mcp.drivers.helm.rendered import rendering_of
from infra_mcp.drivers.helm.state import state_of
from infra_mcp.drivers.helm.verify import objects_landed
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather
from infra_mcp.model.outcome import Written
from infra_mcp.repository.helm.declared import Release

_SECONDS: Final = 600.0  # for a rollback with its hooks
_GRACE: Final = 30.0


async def observe(access: Access, written: Sequence[Written]) -> bool:
    """Whether any of these releases shows a revision of this request."""
    for one in written:
        revisions = await access.history(one.target.scope or "", one.target.name)
        if any(access.is_ours(revision) for revision in revisions):
            return True
    return False


async def undo(access: Access, written: Sequence[Written]) -> Undone:
    """Roll each release back to the revision that was recorded, the last one first. Doing it twice writes once."""
    restored, skipped = [], []
    for one in reversed(written):
        why = await _undo(access, one)
        if why:
            skipped.append(f"{one.target} {why}")
        elif why is not None:
            restored.append(str(one.target))
    return Undone(tuple(restored), tuple(skipped))


async def _undo(access: Access, one: Written) -> str | None:
    """Undo one; returns why not, the empty text where it is restored, None where it never was changed."""
    namespace, name = one.target.scope or "", one.target.name
    async with access.alone(namespace, name) as lock:
        if lock is None:
            return "is worked on by another process of this machine"
        last = state_of(await access.history(namespace, name)).last
        record: Any = one.undo
        former, made = record["former"], record["revision"]
        if last is None or last.number < made:
            return None
        undone = last.number == made + 1 and former is not None and last.rolled_back_to == former
        if undone and last.status == DEPLOYED:
            return ""
        if not (access.is_ours(last) or (undone and last.status in PENDING)):
            return f"is at revision {last.number}, which others made since"
        if former is None:
            return "was installed by this request, and nothing is uninstalled"
        return await _roll_back(access, one, int(former), lock)


async def _roll_back(access: Access, one: Written, former: int, lock: int) -> str:
    """Bring a release back; returns why that failed, or the empty text."""
    access.context.say(f"rolling {one.target} back to revision {former}")
    try:
        async with access.command() as (command, _):
            held = command.also(seconds=_SECONDS, keep_open=[lock])
            await held.roll_back(one.target.name, former, namespace=one.target.scope or "")
    except HelmError as error:
        said = error.why or error.says(access.masker.mask)
        return f"could not be rolled back to revision {former}: {said.rstrip('.')}"
    return ""


async def settled(access: Access, written: Sequence[Written], seconds: float) -> str:
    """Wait until what the releases had before is live again, and say so.

    Raises:
        InfraError: `not-landed`, with the object and the cause.
    """
    return "; ".join(await gather(partial(_settled, access, one, seconds) for one in written))


async def _settled(access: Access, one: Written, seconds: float) -> str:
    namespace, name = one.target.scope or "", one.target.name
    last = state_of(await access.history(namespace, name)).last
    if last is None or last.status != DEPLOYED:
        raise InfraError("not-landed", f"{one.target} is {last.status if last else 'gone'}.")
    release = Release(namespace, name, "", "", ())
    stored = await rendering_of(access.cluster, last)
    await objects_landed(access, release, stored, _GRACE, seconds)
    return f"{release} is at revision {last.number} again as at revision {last.rolled_back_to or last.number}"
