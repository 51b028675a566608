"""Claims requests and carries each to its end, side by side as far as their objects allow."""

from __future__ import annotations

import logging
import math

import anyio
from anyio.abc import TaskGroup, TaskStatus

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
                self._runs[request.id] = Run.of(request)
                if self._runs[request.id].begun:
                    await group.start(self._carry, request.id)
                else:
                    self._send.send_nowait(request)
            task_status.started()
            await self._claims(group)

    async def _claims(self, group: TaskGroup) -> None:
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
        run = self._runs[request_id]
        try:
            with run.scope:
                await self._guarded(run, task_status)
            if run.cancelled:
                message = "Cancelled before anything was changed."
                await self._tools.ledger.finish(request_id, report.receipt(run, State.CANCELLED, message), {})
        finally:
            del self._runs[request_id]
            self._signals.wake(request_id)

    async def _guarded(self, run: Run, task_status: TaskStatus[None]) -> None:
        """Carry a request; a ledger that cannot be written stops the work until it can."""
        while True:
            try:
                keys = [] if run.request.dry_run else self._keys(run)
                async with self._locks.hold(keys):
                    task_status.started()
                    async with self._limit:
                        await self._pipeline.carry(run)
            except InfraError as error:
                if error.code != "ledger-unavailable":
                    await self._give_up(run, error)
                    return
                _log.error("%s: %s", run.request.id, error)
                task_status = anyio.TASK_STATUS_IGNORED
                await anyio.sleep(_LEDGER_RETRY)
                run = await self._again(run)
                continue
            except Exception:  # noqa: BLE001 - a fault of ours must still end the request; it is logged whole
                _log.exception("%s ended by a fault", run.request.id)
                what = "A fault of infra-mcp ended it; the server's log has the details."
                await self._give_up(run, InfraError("internal", what))
            return

    async def _again(self, run: Run) -> Run:
        """The run as the ledger knows it: what was not recorded did not happen."""
        found = await self._tools.ledger.request(run.request.id)
        fresh = Run.of(found or run.request)
        fresh.scope = run.scope
        self._runs[run.request.id] = fresh
        return fresh

    async def _give_up(self, run: Run, error: InfraError) -> None:
        """End a request that could not even fail in order. Whether a person must look depends on what had begun."""
        state = State.NEEDS_OPERATOR if run.begun else report.end_for(error)
        await self._tools.ledger.finish(run.request.id, report.receipt(run, state, error.what, error), error.as_dict())

    def _keys(self, run: Run) -> list[str]:
        try:
            policy = self._tools.policy()
            refs = self._tools.driver.locks(policy, self._tools.cluster, run.request.action)
        except InfraError:
            return []  # it is refused before it touches anything
        return [ref.key for ref in refs]
