"""Looks after the requests that wait: lets go on what may, and ends what waited too long. One task for each server.

Sleeps are short, and the clock is read anew after each: a clock that jumps, or a machine that slept, delays nothing by
more than that.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import anyio

from infra_mcp.engine import report
from infra_mcp.engine.approvals import Decisions, waiting_for
from infra_mcp.engine.releases import hold, overtaken_by
from infra_mcp.engine.run import Run
from infra_mcp.engine.signals import Signals
from infra_mcp.engine.worker import PARKED_CHANGED, signals_of
from infra_mcp.errors import InfraError
from infra_mcp.ledger import Ledger
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import PARKED, Request, State
from infra_mcp.policy.acceptance import PolicyInForce
from infra_mcp.policy.policy import Policy

_log = logging.getLogger(__name__)
_LONGEST = 15.0  # seconds between two looks while anything waits for a time
_LEAST = 0.01
_LISTED = 50  # that wait, in a status


@dataclass(frozen=True)
class _Seen:
    """What a look found, which holds until the request or its approvals change, or its time comes."""

    mark: str  # of the request as it was; empty for a release, which others may overtake at any time
    due: datetime | None
    words: str

    def holds(self, mark: str, now: datetime) -> bool:
        return bool(self.mark) and self.mark == mark and self.due is not None and now < self.due


class Scheduler:
    """Fires releases when they are due, and looks after the time of approvals.

    Decides nothing by itself: what it hands in is held, planned and decided by the pipeline as anything else.

    Args:
        ledger: where the requests are.
        policy: the policy in force; when it changes, everything is looked at again.
        signals: what wakes it, under the name `PARKED_CHANGED`, and what it wakes.
        decisions: for approvals that are due to expire.
        resume: hands a request to the worker; False while the places cannot be worked with.
        now: tells the time.
    """

    def __init__(
        self,
        ledger: Ledger,
        policy: PolicyInForce,
        signals: Signals,
        decisions: Decisions,
        resume: Callable[[Request], bool],
        now: Callable[[], datetime],
    ) -> None:
        self._ledger = ledger
        self._policy = policy
        self._signals = signals
        self._decisions = decisions
        self._resume = resume
        self._now = now
        self._digest: str | None = None  # of the policy that was in force at the last look
        self._seen: dict[str, _Seen] = {}

    @property
    def parked(self) -> int:
        """How many requests waited at the last look."""
        return len(self._seen)

    def words(self, request_id: str) -> str:
        """What a request waits for, as of the last look; empty for one that does not wait."""
        known = self._seen.get(request_id)
        return known.words if known else ""

    async def run(self) -> None:
        """Look at every signal and whenever something is due, until cancelled."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._follow_policy)
            while True:
                with self._signals.waiter(PARKED_CHANGED) as woken:
                    seconds = await self._safely()
                    with anyio.move_on_after(seconds):
                        await woken.wait()

    async def _follow_policy(self) -> None:
        while True:
            changed = self._policy.changed()
            self._signals.wake(PARKED_CHANGED)
            await changed.wait()

    async def _safely(self) -> float:
        """One look; seconds until the next. Nothing that goes wrong with one ends the others, or the server."""
        try:
            return await self.look()
        except InfraError as error:
            _log.warning("parked requests could not be looked at: %s", error.what)
        except Exception:  # noqa: BLE001 - the next look may be better
            _log.exception("parked requests could not be looked at")
        return _LONGEST

    async def look(self) -> float:
        """Look at every parked request that is new, has changed or is due, and at all under another policy.

        Returns:
            Seconds until the next look is worth while; infinity when nothing waits for a time.

        Raises:
            InfraError: `ledger-unavailable`.
        """
        policy = self._in_force()
        anew = policy is not None and policy.digest != self._digest
        first, self._digest = self._digest is None, policy.digest if policy else self._digest
        seen: dict[str, _Seen] = {}
        for identity, mark in await self._ledger.parked_marks():
            known = self._seen.get(identity)
            if known is None or anew or not known.holds(mark, self._now()):
                known = await self._look_at(identity, policy, mark, anew=anew and not first)
            if known is not None:
                seen[identity] = known
        self._seen = seen
        times = [one.due for one in seen.values() if one.due is not None]
        if not times:
            return float("inf")
        return min(max((min(times) - self._now()).total_seconds(), _LEAST), _LONGEST)

    async def _look_at(self, identity: str, policy: Policy | None, mark: str, *, anew: bool) -> _Seen | None:
        """One parked request; None for one that does not wait any more."""
        request = await self._ledger.request(identity)
        if request is None or request.state not in PARKED:
            return None
        try:
            if request.state is State.SCHEDULED:
                due, words = await self._release(policy, request)
            else:
                due, words = await self._approval(request, anew=anew)
        except InfraError:
            raise
        except Exception as fault:  # noqa: BLE001 - a fault with one request ends it, and keeps no other waiting
            await self._end(request, fault)
            return None
        return _Seen(mark if request.notify is None else "", due, words)

    async def _end(self, request: Request, fault: Exception) -> None:
        _log.error("%s ended by a fault while it waited", request.id, exc_info=fault)
        what = f"Internal error while it waited: {type(fault).__name__}. The server's log has the details."
        error = InfraError("internal", what)
        made = report.receipt(Run.of(request), State.FAILED, error.what, error)
        with suppress(ValueError):  # it has ended by itself meanwhile
            await self._ledger.finish(request.id, made, error.as_dict())
        self._signals.wake(*signals_of(request))

    def _in_force(self) -> Policy | None:
        try:
            return self._policy.current()
        except InfraError:
            return None  # then nothing is due, and approvals expire all the same

    async def _release(self, policy: Policy | None, request: Request) -> tuple[datetime | None, str]:
        """Hand in a release that is due or was overtaken: with its objects locked that is looked at once more."""
        if policy is None:
            return None, "waits for a policy in force"
        found = hold(policy, request, self._now())
        if found is not None and await overtaken_by(self._ledger, policy, request) is None:
            return found.due, f"waits until {found.words}: due {found.shown()['due']}"
        # Where it cannot be worked with it is signalled when it can; busy, when it is done.
        return None, "due" if self._resume(request) else "due, and waits for the cluster to be reachable"

    async def _approval(self, request: Request, *, anew: bool) -> tuple[datetime | None, str]:
        """Expire what waited too long. Under another policy than before, what waits is planned and decided anew."""
        policy = self._in_force()
        waiting = waiting_for(request)
        if waiting is None:
            return None, "waits for an approval"
        now = self._now()
        if await self._decisions.look(request, now):
            found = await self._ledger.request(request.id)
            self._resume(found or request)
            self._signals.wake(*signals_of(request))
            return None, "approved"
        if now >= waiting.over:
            self._signals.wake(*signals_of(request))
            return None, "expired"
        overtaken = request.notify and policy and await overtaken_by(self._ledger, policy, request)
        if anew or overtaken:
            self._resume(request)
        lacks = await self._decisions.lacking(request, waiting, now)
        return waiting.over, f"waits for an approval until {waiting.until}: {lacks}"

    async def waiting(self, caller: Caller) -> list[dict[str, Any]]:
        """What waits, as `status` shows it: of the caller's circle, or all for those who may look at all.

        Oldest first, and bounded: a last line says how many more there are.

        Raises:
            InfraError: `ledger-unavailable`.
        """
        policy = self._in_force()
        if caller.circle is None and not caller.reads_all:
            return []
        parked = await self._ledger.parked(None if caller.reads_all else caller.circle)
        lines = [await self._line(policy, request) for request in parked[:_LISTED]]
        more = len(parked) - _LISTED
        return lines + ([{"request": None, "why": f"{more} more wait; they are not shown"}] if more > 0 else [])

    async def _line(self, policy: Policy | None, request: Request) -> dict[str, Any]:
        action = request.action
        line: dict[str, Any] = {
            "request": request.id,
            "by": request.caller.name,
            "action": action.action,
            "app": getattr(action, "app", None),
            "version": getattr(action, "version", None),
            "state": request.state.value,
            "since": request.created,
        }
        if request.state is State.SCHEDULED:
            found = hold(policy, request, self._now()) if policy else None
            return line | (found.shown() if found else {"due": None, "held_by": None, "why": "it is due"})
        waiting = waiting_for(request)
        if waiting is None:
            return line
        lacks = await self._decisions.lacking(request, waiting, self._now())
        return line | {
            "since": waiting.since,
            "until": waiting.until,
            "due": None,
            "held_by": waiting.verdict.rule,
            "why": lacks,
            "effect_digest": waiting.digest,
        }
