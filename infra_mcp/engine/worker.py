"""Takes requests from the queue and carries each to its end, side by side as far as their objects allow."""

import logging
import math
import traceback

import anyio
from anyio.abc import TaskGroup, TaskStatus
from anyio.streams.memory import MemoryObjectSendStream

from infra_mcp.engine import report
from infra_mcp.engine.locks import Locks
from infra_mcp.engine.past import past_of
from infra_mcp.engine.pipeline import Pipeline
from infra_mcp.engine.run import Dependencies, Run
from infra_mcp.engine.signals import Signals, signals_of
from infra_mcp.errors import InfraError
from infra_mcp.model.outcome import Receipt
from infra_mcp.model.request import END, PARKED, Request, State
from infra_mcp.policy.actions import RULES
from infra_mcp.telemetry import OfRequest

_log = logging.getLogger(__name__)
_MAX_CONCURRENT = 16
_LEDGER_RETRY = 2.0  # seconds
_RETRY_AFTER = 1.0  # seconds between two tries to connect to the places of an interrupted request


class Worker:
    """Works on requests from the moment they are durable. One for each server.

    A parked request is released: it holds no lock and costs nothing until it is enqueued again. Requests on one object
    are served in their order; between different objects no order is promised.
    """

    def __init__(self, deps: Dependencies, signals: Signals) -> None:
        self._deps = deps
        self._pipeline = Pipeline(deps)
        self._signals = signals
        self._locks = Locks()
        self._limit = anyio.CapacityLimiter(_MAX_CONCURRENT)
        self._runs: dict[str, Run] = {}
        self._recalled: set[str] = set()  # enqueued while they were being worked on
        self._send: MemoryObjectSendStream[Request] | None = None  # while it runs

    @property
    def working_on(self) -> int:
        """How many requests are being worked on."""
        return len(self._runs)

    def busy(self, request_id: str) -> bool:
        """Whether a request is being worked on, or is in the queue."""
        return request_id in self._runs

    def progress(self, request_id: str) -> str:
        """How far a request is; empty when it is not being worked on."""
        run = self._runs.get(request_id)
        return run.progress if run else ""

    def enqueue(self, request: Request) -> None:
        """Put a durable request into the queue; one that is being worked on is looked at again afterwards."""
        if request.id in self._runs:
            self._recalled.add(request.id)
        elif self._send is not None:  # else the next worker finds it in the ledger
            self._runs[request.id] = Run.of(request)
            self._send.send_nowait(request)

    def cancel(self, request_id: str) -> bool:
        """Stop a request whose first write has not begun. False when it is too late."""
        run = self._runs.get(request_id)
        if run is None or run.begun:
            return False
        run.cancelled = True
        run.scope.cancel()
        return True

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Recover what was interrupted, then work until cancelled. Parked requests stay parked."""
        send, receive = anyio.create_memory_object_stream[Request](math.inf)
        self._send = send
        try:
            async with send, receive, anyio.create_task_group() as group:
                await self._recover(group)
                task_status.started()
                async for request in receive:
                    group.start_soon(self._carry, request.id, anyio.Event())
        finally:
            self._send = None

    async def _recover(self, group: TaskGroup) -> None:
        """Enqueue open requests; those that were interrupted hold their objects again before anything new begins."""
        for request in await self._deps.ledger.open_requests():
            if self.busy(request.id) or request.state in PARKED:
                continue
            run = Run.of(request)
            if run.begun:
                self._runs[request.id] = run
                holding = anyio.Event()
                group.start_soon(self._carry, request.id, holding)
                await holding.wait()
            else:
                self.enqueue(request)

    async def _carry(self, request_id: str, holding: anyio.Event) -> None:
        """Bring one request to its end; only the end of the server raises from here.

        `holding` is set once it holds its objects, or never will.
        """
        scope, request = self._runs[request_id].scope, self._runs[request_id].request
        try:
            with _phase_of(self._runs[request_id]) as phase:
                with scope:
                    await self._guarded(request_id, holding)
                run = self._runs[request_id]  # it may have been reloaded from the ledger meanwhile
                if run.cancelled and scope.cancelled_caught:
                    await self._finish(run, State.CANCELLED, "Cancelled before anything was changed.")
                phase.set(outcome=str(run.outcome or "parked"))
            fresh = await self._recalled_request(request_id)
        finally:
            holding.set()
            del self._runs[request_id]
            self._recalled.discard(request_id)
            self._signals.wake(*signals_of(request))
        if fresh is not None:
            self.enqueue(fresh)

    async def _recalled_request(self, request_id: str) -> Request | None:
        """A request that was parked, approved at once, and enqueued again before it was released."""
        while request_id in self._recalled:
            self._recalled.discard(request_id)
            found = await self._look_up(request_id)
            if found is not None and found.state not in END | PARKED:
                return found
        return None

    async def _look_up(self, request_id: str) -> Request | None:
        try:
            return await self._deps.ledger.request(request_id)
        except InfraError as error:
            _log.warning("%s could not be looked up: %s", request_id, error.what)
            return None

    async def _guarded(self, request_id: str, holding: anyio.Event) -> None:
        """Carry a request; a ledger that cannot be written stops the work until it can."""
        while True:
            run = self._runs[request_id]
            if run.fault is not None:
                await self._give_up(run, run.fault)
                return
            try:
                run.past = await past_of(self._deps.ledger, run.request.caller, run.request.action)
                run.say("waiting for its turn")
                async with self._locks.hold(self._keys(run)) as held:
                    holding.set()
                    await self._until_connected(run)
                    async with self._limit:
                        done = await self._pipeline.carry(run, held)
                        run.outcome = done.state if done else None
            except InfraError as error:
                if error.code == "ledger-unavailable":
                    _log.warning("%s waits for the ledger: %s", request_id, error.what)
                    await self._reload(run)
                    continue
                await self._give_up(run, error)
            except BaseException as fault:  # a fault of ours must still end the request; it is logged in full, masked
                cancelled = anyio.current_effective_deadline() == -math.inf  # else a library raised its own
                if cancelled or isinstance(fault, KeyboardInterrupt | SystemExit):
                    raise
                found = await self._look_up(request_id)
                if found is not None and found.state in END:
                    return  # it was cancelled, or expired, while it was parked
                _log.error("%s ended by a fault: %s", request_id, self._masked(traceback.format_exc()))
                what = f"Internal error: {type(fault).__name__}. The server's log has the details."
                await self._give_up(run, InfraError("internal", what))
            return

    async def _until_connected(self, run: Run) -> None:
        """Wait for the places of an interrupted request: it must look at what it did there."""
        while run.begun:
            try:
                for part in run.record.parts:
                    await self._deps.places.driver(self._deps.policy(), part.driver, part.place)
            except InfraError as error:
                run.say(f"waiting: {error.what}")
                await anyio.sleep(_RETRY_AFTER)
            else:
                return

    async def _reload(self, run: Run) -> None:
        """Wait for the ledger, and continue from what it knows: what was not recorded did not happen."""
        found = None
        while found is None:
            await anyio.sleep(_LEDGER_RETRY)
            found = await self._look_up(run.request.id)
        fresh = Run.of(found)
        fresh.scope, fresh.cancelled = run.scope, run.cancelled
        self._runs[run.request.id] = fresh

    async def _give_up(self, run: Run, error: InfraError) -> None:
        """End a request that could not even fail in order; an operator must look at one that has begun."""
        await self._finish(run, State.NEEDS_OPERATOR if run.begun else report.end_for(error), error.what, error)

    async def _finish(self, run: Run, state: State, message: str, error: InfraError | None = None) -> None:
        """Record an end as soon as the ledger can, without details where they cannot be recorded."""
        data = error.as_dict() if error else {}
        action, full = run.request.action.action, True
        bare = Receipt(request=run.request.id, state=state, message=message, action=action, error=data or None)
        while True:
            try:
                made = report.receipt(run, state, message, error) if full else bare
                run.outcome = (await self._deps.ledger.finish(run.request.id, made, data)).state
            except Exception as fault:  # noqa: BLE001 - whatever fails here, the request must not stay open
                found = await self._look_up(run.request.id)
                if found is not None and found.state in END:
                    return
                _log.error("%s cannot be ended: %s", run.request.id, self._masked(traceback.format_exc()))
                if full and not isinstance(fault, InfraError):
                    full = False
                else:
                    await anyio.sleep(_LEDGER_RETRY)
            else:
                return

    def _masked(self, text: str) -> str:
        return self._deps.ledger.masker.mask(text.encode("utf-8", "backslashreplace").decode())

    def _keys(self, run: Run) -> frozenset[str]:
        """What a request holds before it is planned: what it is about, or what it held before an interruption."""
        if run.request.dry_run:
            return frozenset()
        if run.begun and run.record.keys:
            return frozenset(run.record.keys)  # whatever policy says by now
        try:
            policy = self._deps.policy()
        except InfraError:
            return frozenset()  # it is refused before it touches anything
        return RULES[run.action.action].about(policy, run.action).keys


def _phase_of(run: Run) -> OfRequest:
    """The span of a request's work: below that of the call that asked, or linked with it where that ended before."""
    request, trace = run.request, run.record.trace
    later = bool(run.record.keys) or request.state is State.SCHEDULED  # it was planned before, or has waited
    known = {"action": request.action.action, "circle": request.caller.circle}
    return OfRequest(request.id, asked="" if later else trace, after=trace if later else "", **known)
