"""Restores the record sets from before our write, only where they are still as we left them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from infra_mcp.clients.dns.update import Swap
from infra_mcp.drivers.base import Context, Undone
from infra_mcp.drivers.dns.backend import Backend
from infra_mcp.drivers.dns.plan import mark_swap
from infra_mcp.drivers.dns.records import Left, target_of
from infra_mcp.errors import Moved
from infra_mcp.model.outcome import Written
from infra_mcp.model.rrset import same
from infra_mcp.policy.kinds import ZoneRules

_TRIES: Final = 5


async def undo(backend: Backend, rules: ZoneRules, zone: str, context: Context, written: Sequence[Written]) -> Undone:
    """Restore each record set, all in one change. One that is as it was already counts as restored.

    Raises:
        Unavailable: the primary does not answer.
        InfraError: it refuses.
    """
    lefts = [Left.of(one) for one in written]
    restored: list[str] = []
    skipped: list[str] = []
    for _ in range(_TRIES):
        seen = (await backend.look(context, [one.key for one in lefts])).seen
        restored, skipped, swaps = [], [], list[Swap]()
        for one in lefts:
            target, live = str(target_of(zone, one.key)), seen[one.key].live
            if same(live, one.before):
                restored.append(target)
            elif not same(live, one.after):
                skipped.append(f"{target} (someone else changed it since)")
                continue
            else:
                restored.append(target)
                swaps.append(Swap(*one.key, live, one.before))
            if one.marked:
                swaps += mark_swap(rules, one.key, seen[one.key].mark, wanted=one.after is None)
        try:
            if swaps:
                await backend.restore(context, swaps)
        except Moved:
            continue
        return Undone(tuple(restored), tuple(skipped))
    return Undone((), tuple(f"{target_of(zone, one.key)} (it kept changing)" for one in lefts))
