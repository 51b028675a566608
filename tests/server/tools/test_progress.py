"""Signs of life: at least every two seconds of a wait, by a clock of the test's own; and over every way there is."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import pairwise

import anyio
import pytest
from running_server import running_server

from infra_mcp.model.peer import Caller
from infra_mcp.server.tools import call as module
from infra_mcp.server.tools.call import Call, Service, watch

pytestmark = pytest.mark.anyio

PROMISED = 2.0  # seconds
WAYS = [("http", "auto"), ("http", "legacy"), ("unix", "auto"), ("unix", "legacy")]
every_way = pytest.mark.parametrize(("channel", "mode"), WAYS, ids=["-".join(way) for way in WAYS])


class Clock:
    """Time that passes only when everybody waits, and then to the next thing that somebody waits for."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self._sleeping: list[tuple[float, int, anyio.Event]] = []

    def current_time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        event = anyio.Event()
        heappush(self._sleeping, (self.now + seconds, id(event), event))
        await event.wait()

    async def tick(self) -> None:
        while True:
            await anyio.wait_all_tasks_blocked()
            self.now, _, event = heappop(self._sleeping)
            event.set()


async def watched(monkeypatch, early: float, told, asked=lambda _: None, say=str) -> Clock:
    """A minute of a wait that comes to no end, each piece woken early, by a clock of its own."""
    clock = Clock()

    class Anyio:
        current_time, sleep = clock.current_time, clock.sleep

        def __getattr__(self, name):
            return getattr(anyio, name)

    monkeypatch.setattr(module, "anyio", Anyio())

    async def progress(passed: float, words: str) -> None:
        assert passed == pytest.approx(clock.now - 1_000.0)
        told(clock.now, words)

    async def wait(seconds: float, seen: Callable[[str], None]) -> str:
        asked(seconds)
        seen("open")
        if seconds:
            await clock.sleep(seconds * early)
        return "open"

    caller = Caller(name="docs", circle="docs", strength="token")
    call = Call(Service(None), caller, "tool", progress if told else None)  # type: ignore[arg-type]
    async with anyio.create_task_group() as group:
        group.start_soon(clock.tick)
        await watch(call, wait, lambda _: False, 60.0, say)
        group.cancel_scope.cancel()
    assert clock.now >= 1_060.0
    return clock


@pytest.mark.promise("report.progress")
@pytest.mark.parametrize("early", [0.0, 0.3, 1.0], ids=["woken-at-once", "woken-early", "not-woken"])
async def test_progress_comes_as_often_as_promised(monkeypatch, early):
    told = [1_000.0]

    clock = await watched(monkeypatch, early, lambda now, _: told.append(now))

    told.append(clock.now)
    assert len(told) > 30
    assert max(later - earlier for earlier, later in pairwise(told)) <= PROMISED
    assert told == sorted(told)


async def test_progress_shows_the_current_state_and_looks_nothing_up(monkeypatch):
    words, looks = [], []
    steps = iter(range(1_000))

    await watched(monkeypatch, 1.0, lambda _, said: words.append(said), looks.append, lambda _: str(next(steps)))

    assert words == [str(number) for number in range(len(words))]
    assert looks == [30.0, 30.0]


async def test_a_wait_without_progress_only_waits(monkeypatch):
    looks = []

    await watched(monkeypatch, 1.0, None, looks.append)

    assert looks == [30.0, 30.0]


@every_way
@pytest.mark.parametrize("tool", ["deploy", "wait_on_ack", "inbox"])
@pytest.mark.promise("report.progress")
@pytest.mark.promise("mcp.both-eras")
async def test_every_tool_that_waits_reports_progress_until_the_end(tmp_path, channel, mode, tool):
    async with running_server(tmp_path, channel, held=True) as at, getattr(at, channel)("docs", mode) as client:
        slices: list[float] = []
        wait = at.engine.wait

        async def counted(request_id, seconds, seen):
            slices.append(seconds)
            return await wait(request_id, seconds, seen)

        at.engine.wait = counted
        query = "I need a namespace 'docs-x' with image-pull secret X"
        asked = await client.call_tool("ask", {"peer_name": "infra", "query": query})
        arguments = {
            "deploy": {"app": "docs", "version": "1", "wait_seconds": 600},
            "wait_on_ack": {"correlation_id": asked.content[0].text, "timeout_seconds": 600},
            "inbox": {"wait_seconds": 600},
        }
        told: list[tuple[float, str]] = []

        async def progress(passed, _total, message) -> None:
            told.append((passed, message or ""))
            if len(told) == 3:
                at.engine.gate.set()  # the ask's ack comes into the inbox, too

        with anyio.fail_after(60):
            result = await client.call_tool(tool, arguments[tool], progress_callback=progress)

        assert not result.is_error
        assert [passed for passed, _ in told] == sorted({passed for passed, _ in told}), "progress must increase"
        words = "nothing new" if tool == "inbox" else "in the test's hands"
        assert all(words in message for _, message in told), told
        assert len(told) >= 3
        if tool == "deploy":
            assert len(slices) == 1, "waited for to its end in one go"
