"""Claims requests and carries each to its end, side by side as far as their objects allow."""

from __future__ import annotations

import logging
import math
import traceback

import anyio
from anyio.abc import TaskStatus

from infra_mcp.engine import report
from infra_mcp.engine.locks import ObjectLocks
from infra_mcp.engine.pipeline import Pipeline
from infra_mcp.engine.run import Run
from infra_mcp.engine.signals import Signals
from infra_mcp.engine.tools import Tools
from infra_mcp.errors import InfraError
from infra_mcp.model.request import Request, State

__all__ = ["Worker"]

_log = logging.getLogger(__name__)
_SIDE_BY_SIDE = 16
_LEDGER_RETRY = 2.0  # seconds


class Worker:
    """Works on requests from the moment they are durable. One for each server.

    Not promised: an order between requests on different objects. On one object, first come is first served.
    """

    def __init__(self, tools: Tools, signals: Signals) -> None:
        self._tools = tools
        self._pipeline = Pipeline(tools)
        self._signals = signals
        self._locks = ObjectLocks()
        self._limit = anyio.CapacityLimiter(_SIDE_BY_SIDE)
        self._runs: dict[str, Run] = {}
        self._send, self._receive = anyio.create_memory_object_stream[Request](math.inf)

    @property
    def working_on(self) -> int:
        """How many requests are not at their end yet."""
        return len(self._runs)

    def claim(self, request: Request) -> None:
        """Take up a request that is durable in the ledger."""
        if request.id not in self._runs:
            self._runs[request.id] = Run.of(request)
            self._send.send_nowait(request)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Recover what was interrupted, then work until cancelled.

        Interrupted requests hold their objects again before anything new is begun.
        """
        async with self._receive, anyio.create_task_group() as group:
            for request in await self._tools.ledger.open_requests():
                if request.id in self._runs:
                    continue  # claimed meanwhile
                self._runs[request.id] = Run.of(request)
                if self._runs[request.id].begun:
                    await group.start(self._carry, request.id)
                else:
                    self._send.send_nowait(request)
            task_status.started()
            async for request in self._receive:
                group.start_soon(self._carry, request.id)

    def cancel(self, request_id: str) -> bool:
        """Stop a request whose first write has not begun. False when it is too late."""
        run = self._runs.get(request_id)
        if run is None or run.begun:
            return False
        run.cancelled = True
        run.scope.cancel()
        return True

    async def _carry(self, request_id: str, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Bring one request to its end, whatever happens: nothing but cancellation leaves here."""
        scope = self._runs[request_id].scope
        try:
            with scope:
                await self._guarded(request_id, task_status)
            run = self._runs[request_id]  # the ledger may have been read anew meanwhile
            if run.cancelled and scope.cancelled_caught:
                await self._finish(run, State.CANCELLED, "Cancelled before anything was changed.")
        finally:
            del self._runs[request_id]
            self._signals.wake(request_id)

    async def _guarded(self, request_id: str, task_status: TaskStatus[None]) -> None:
        """Carry a request; a ledger that cannot be written stops the work until it can."""
        while True:
            run = self._runs[request_id]
            try:
                keys = [] if run.request.dry_run else self._keys(run)
                async with self._locks.hold(keys):
                    task_status.started()
                    task_status = anyio.TASK_STATUS_IGNORED
                    async with self._limit:
                        await self._pipeline.carry(run)
            except InfraError as error:
                if error.code == "ledger-unavailable":
                    _log.warning("%s waits for the ledger: %s", request_id, error.what)
                    await self._again(run)
                    continue
                await self._give_up(run, error)
            except Exception:  # noqa: BLE001 - a fault of ours must still end the request; it is logged whole, masked
                _log.error("%s ended by a fault: %s", request_id, self._masked(traceback.format_exc()))
                what = "A fault of infra-mcp ended it; the server's log has the details."
                await self._give_up(run, InfraError("internal", what))
            return

    async def _again(self, run: Run) -> None:
        """Wait for the ledger, and take the run up as it knows it: what was not recorded did not happen."""
        while True:
            await anyio.sleep(_LEDGER_RETRY)
            try:
                found = await self._tools.ledger.request(run.request.id)
            except InfraError as error:
                _log.warning("%s waits for the ledger: %s", run.request.id, error.what)
                continue
            fresh = Run.of(found or run.request)
            fresh.scope = run.scope
            fresh.cancelled = run.cancelled
            self._runs[run.request.id] = fresh
            return

    async def _give_up(self, run: Run, error: InfraError) -> None:
        """End a request that could not even fail in order. Whether a person must look depends on what had begun."""
        await self._finish(run, State.NEEDS_OPERATOR if run.begun else report.end_for(error), error.what, error)

    async def _finish(self, run: Run, state: State, message: str, error: InfraError | None = None) -> None:
        """Record an end, as soon as the ledger can; one that is recorded already stands."""
        data = error.as_dict() if error else {}
        while True:
            try:
                await self._tools.ledger.finish(run.request.id, report.receipt(run, state, message, error), data)
            except ValueError:
                return
            except InfraError as fault:
                if fault.code != "ledger-unavailable":
                    raise
                await anyio.sleep(_LEDGER_RETRY)
            else:
                return

    def _masked(self, text: str) -> str:
        return self._tools.ledger.masker.mask(text)

    def _keys(self, run: Run) -> list[str]:
        if run.begun and run.writes:
            return [one.ref.key for one in run.writes]  # whatever policy says by now
        try:
            policy = self._tools.policy()
            refs = self._tools.driver.locks(policy, self._tools.cluster, run.request.action)
        except InfraError:
            return []  # it is refused before it touches anything
        return [ref.key for ref in refs]
