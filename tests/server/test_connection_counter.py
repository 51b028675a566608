"""Who is there, and when a server on demand leaves."""

from __future__ import annotations

import anyio
import pytest

from infra_mcp.errors import InfraError
from infra_mcp.server import process
from infra_mcp.server.connection_counter import ConnectionCounter

pytestmark = pytest.mark.anyio


async def test_nobody_is_there_only_when_the_last_one_has_left():
    counter, alone = ConnectionCounter(), anyio.Event()

    async def wait():
        await counter.absent(0)
        alone.set()

    async with anyio.create_task_group() as group:
        with counter.visit():
            with counter.visit():
                group.start_soon(wait)
                await anyio.wait_all_tasks_blocked()
            await anyio.wait_all_tasks_blocked()
            assert counter.present
            assert not alone.is_set()
        with anyio.fail_after(10):
            await alone.wait()
    assert not counter.present


async def test_a_visit_begins_the_wait_anew():
    counter, alone = ConnectionCounter(), anyio.Event()

    async def wait():
        await counter.absent(3600)
        alone.set()

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        with counter.visit():
            pass
        await anyio.wait_all_tasks_blocked()
        assert not alone.is_set()
        group.cancel_scope.cancel()


class Engine:
    """Says in turn whether nothing is left to do."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), 0

    async def idle(self):
        self.asked += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.promise("process.one-owner")
async def test_a_server_on_demand_stays_as_long_as_there_is_work_or_doubt(monkeypatch):
    monkeypatch.setattr(process, "_LOOK", 0.0)
    engine, stopping = Engine(False, InfraError("ledger-unavailable", "It is full."), False, True), anyio.Event()
    with anyio.fail_after(10):
        await process._leave(engine, ConnectionCounter(), 0.0, stopping)

    assert stopping.is_set()
    assert engine.asked == 4


async def test_somebody_who_comes_while_it_looks_keeps_it(monkeypatch):
    monkeypatch.setattr(process, "_LOOK", 0.0)
    counter, stopping = ConnectionCounter(), anyio.Event()
    visit, came = counter.visit(), anyio.Event()

    class Slow(Engine):
        async def idle(self):
            if self.asked == 0:
                visit.__enter__()
                came.set()
            return await super().idle()

    engine = Slow(True, True)
    async with anyio.create_task_group() as group:
        group.start_soon(process._leave, engine, counter, 0.0, stopping)
        with anyio.fail_after(10):
            await came.wait()
        await anyio.wait_all_tasks_blocked()
        assert not stopping.is_set()
        visit.__exit__(None, None, None)
        with anyio.fail_after(10):
            await stopping.wait()
    assert engine.asked == 2
