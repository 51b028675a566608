"""Acts when the time has come: resumes or ends parked requests, and deletes the texts of old messages.

Sleeps are short, and the clock is read after each: a clock that jumps, or a machine that slept, delays little.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import anyio

from infra_mcp.engine import report
from infra_mcp.engine.approvals import Decisions, waiting_for
from infra_mcp.engine.releases import hold, overtaken_by
from infra_mcp.engine.run import Run, record_of, stamp
from infra_mcp.engine.signals import PARKED_CHANGED, Signals, signals_of
from infra_mcp.errors import InfraError
from infra_mcp.ledger import Ledger
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import AT_THE_FORGE, PARKED, Request, State
from infra_mcp.policy.acceptance import PolicyInForce
from infra_mcp.policy.grammar import seconds
from infra_mcp.policy.policy import Policy

_log = logging.getLogger(__name__)
_MAX_SECONDS = 15.0  # between two looks while anything waits for a time
_MIN_SECONDS = 0.01
_MAX_LISTED = 50  # parked requests in a status
_FIRST_PURGE, _PURGE_EVERY = 60.0, 3600.0  # seconds: after the start, which has better things to do, and then


@dataclass(frozen=True)
class _Seen:
    """What a look found; valid until the request or its approvals change, or its time comes."""

    mark: str  # of the request as it was; empty for a release, which another may overtake at any time
    due: datetime | None
    text: str

    def holds(self, mark: str, now: datetime) -> bool:
        return bool(self.mark) and self.mark == mark and self.due is not None and now < self.due


@dataclass
class Scheduler:
    """Enqueues releases when they are due, and watches the time of approvals.

    It decides nothing: the pipeline plans and decides what it enqueues, as anything else. A failing ledger raises
    `ledger-unavailable`.
    """

    ledger: Ledger
    policy: PolicyInForce  # when it changes, every parked request is looked at again
    signals: Signals  # `PARKED_CHANGED` wakes the scheduler
    decisions: Decisions  # resumes or expires what waits for approvals
    enqueue: Callable[[Request], bool]  # hands a request to the worker; False while the places cannot be reached
    now: Callable[[], datetime]
    _policy: Policy | None = None  # in force at the last look; a freeze that is ordered makes it another one
    _seen: dict[str, _Seen] = field(default_factory=dict)

    @property
    def parked(self) -> int:
        """How many requests waited at the last look."""
        return len(self._seen)

    def reason(self, request_id: str) -> str:
        """What a request waits for, as of the last look; empty for one that is not parked."""
        known = self._seen.get(request_id)
        return known.text if known else ""

    async def run(self) -> None:
        """Look at every signal and whenever something is due, until cancelled."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._follow_policy)
            while True:
                with self.signals.waiter(PARKED_CHANGED) as woken:
                    pause = await self._look_safely()
                    with anyio.move_on_after(pause):
                        await woken.wait()

    async def _follow_policy(self) -> None:
        while True:
            changed = self.policy.changed()
            self.signals.wake(PARKED_CHANGED)
            await changed.wait()

    async def _look_safely(self) -> float:
        try:
            return await self.look()
        except InfraError as error:
            _log.warning("parked requests could not be looked at: %s", error.what)
        except Exception:  # noqa: BLE001 - the next look may succeed
            _log.exception("parked requests could not be looked at")
        return _MAX_SECONDS

    async def look(self) -> float:
        """Look at every parked request that is new, has changed or is due; at all of them under another policy.

        Returns:
            Seconds until the next look; infinity when nothing waits for a time.
        """
        policy = self._in_force()
        anew = policy is not None and policy is not self._policy
        first, self._policy = self._policy is None, policy or self._policy
        seen: dict[str, _Seen] = {}
        for identity, mark in await self.ledger.parked_marks():
            known = self._seen.get(identity)
            if known is None or anew or not known.holds(mark, self.now()):
                known = await self._look_at(identity, policy, mark, anew=anew and not first)
            if known is not None:
                seen[identity] = known
        self._seen = seen
        times = [one.due for one in seen.values() if one.due is not None]
        if not times:
            return float("inf")
        return min(max((min(times) - self.now()).total_seconds(), _MIN_SECONDS), _MAX_SECONDS)

    async def _look_at(self, identity: str, policy: Policy | None, mark: str, *, anew: bool) -> _Seen | None:
        """One parked request; None when it is no longer parked."""
        request = await self.ledger.request(identity)
        if request is None or request.state not in PARKED:
            return None
        try:
            if request.state in AT_THE_FORGE:
                return _Seen(mark, None, "waits for the forge")  # `Proposals` looks at it
            if request.state is State.SCHEDULED:
                due, text = await self._release(policy, request)
            else:
                due, text = await self._approval(policy, request, anew=anew)
        except InfraError:
            raise
        except Exception as fault:  # noqa: BLE001 - a fault with one request ends it, and delays no other
            await self._end(request, fault)
            return None
        return _Seen(mark if request.notify is None else "", due, text)

    async def _end(self, request: Request, fault: Exception) -> None:
        _log.error("%s ended by a fault while it waited", request.id, exc_info=fault)
        what = f"Internal error while it waited: {type(fault).__name__}. The server's log has the details."
        with suppress(ValueError):  # it ended meanwhile
            await report.finish(self.ledger, Run.of(request), State.FAILED, what, InfraError("internal", what))
        self.signals.wake(*signals_of(request))

    def _in_force(self) -> Policy | None:
        try:
            return self.policy.current()
        except InfraError:
            return None  # then no release is due, and approvals still expire

    async def _release(self, policy: Policy | None, request: Request) -> tuple[datetime | None, str]:
        """Enqueue a release that is due or was overtaken; the pipeline checks that again with its objects locked."""
        if policy is None:
            return None, "waits for a policy in force"
        found = hold(policy, request, self.now())
        if found is not None and await overtaken_by(self.ledger, policy, request) is None:
            return found.due, f"waits until {found.text}: due {found.shown()['due']}"
        # A signal follows once the places can be reached.
        return None, "due" if self.enqueue(request) else "due, and waits for the cluster to be reachable"

    async def _approval(self, policy: Policy | None, request: Request, *, anew: bool) -> tuple[datetime | None, str]:
        """Expire what waited too long. Under another policy than before, it is planned and decided again."""
        waiting = waiting_for(request)
        if waiting is None:
            return None, "waits for an approval"
        now = self.now()
        if await self.decisions.look(request, now):
            found = await self.ledger.request(request.id)
            self.enqueue(found or request)
            self.signals.wake(*signals_of(request))
            return None, "approved"
        if now >= waiting.over:
            self.signals.wake(*signals_of(request))
            return None, "expired"
        if anew or (request.notify and policy and await overtaken_by(self.ledger, policy, request)):
            self.enqueue(request)
        lacks = await self.decisions.lacking(request, waiting, now)
        return waiting.over, f"waits for an approval until {waiting.until}: {lacks}"

    async def waiting(self, caller: Caller) -> list[dict[str, Any]]:
        """The parked requests that the caller may see, for `status`: what, since when, until when, and why.

        Oldest first, and bounded: a last line says how many more there are.
        """
        policy = self._in_force()
        if caller.circle is None and not caller.reads_all:
            return []
        parked = await self.ledger.parked(None if caller.reads_all else caller.circle)
        lines = [await self._line(policy, request) for request in parked[:_MAX_LISTED]]
        more = len(parked) - _MAX_LISTED
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
            found = hold(policy, request, self.now()) if policy else None
            return line | (found.shown() if found else {"due": None, "held_by": None, "why": "it is due"})
        if request.state in AT_THE_FORGE:
            record = record_of(request)
            mine = record.reversal if request.state is State.REVERTING else record.proposal
            return line | ({"url": mine.url, "until": mine.until, "why": f"people merge {mine.url}"} if mine else {})
        waiting = waiting_for(request)
        if waiting is None:
            return line
        return line | {
            "since": waiting.since,
            "until": waiting.until,
            "due": None,
            "held_by": waiting.verdict.rule,
            "why": await self.decisions.lacking(request, waiting, self.now()),
            "effect_digest": waiting.digest,
        }


async def keep_purging(ledger: Ledger, policy: PolicyInForce, now: Callable[[], datetime]) -> None:
    """Purge each hour, until cancelled."""
    await anyio.sleep(_FIRST_PURGE)
    while True:
        try:
            await purge(ledger, policy, now())
        except InfraError as error:
            _log.warning("old messages could not be deleted: %s", error.what)
        await anyio.sleep(_PURGE_EVERY)


async def purge(ledger: Ledger, policy: PolicyInForce, now: datetime) -> int:
    """Delete the texts older than `[messages] keep`; returns of how many messages. Without a policy none is deleted."""
    try:
        kept = seconds(policy.current().messages.keep)
    except InfraError:
        return 0
    with anyio.CancelScope(shield=True):
        taken = await ledger.mail.purge(stamp(now - timedelta(seconds=kept)))
    return taken  # noqa: RET504 - not inside: to a type checker the scope could swallow it
