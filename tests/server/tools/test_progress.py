"""Signs of life: at least every two seconds of a wait, by a clock of the test's own; and over every way there is."""

from __future__ import annotations

from itertools import pairwise

import anyio
import pytest
from house import house

from infra_mcp.model.peer import Caller
from infra_mcp.server.tools import tool as module
from infra_mcp.server.tools.tool import Call, Service, watch

pytestmark = pytest.mark.anyio

PROMISED = 2.0  # seconds
WAYS = [("http", "auto"), ("http", "legacy"), ("unix", "auto"), ("unix", "legacy")]
every_way = pytest.mark.parametrize(("door", "mode"), WAYS, ids=["-".join(way) for way in WAYS])


class Clock:
    """Time that passes only when somebody waits for something."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def current_time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.promise("report.progress")
@pytest.mark.parametrize("early", [0.0, 0.3, 1.0], ids=["woken-at-once", "woken-early", "not-woken"])
async def test_no_two_signs_of_life_are_further_apart_than_promised(monkeypatch, early):
    clock = Clock()

    class Anyio:
        current_time, sleep = clock.current_time, clock.sleep

        def __getattr__(self, name):
            return getattr(anyio, name)

    monkeypatch.setattr(module, "anyio", Anyio())
    told = [clock.now]

    async def progress(passed: float, _words: str) -> None:
        assert passed == pytest.approx(clock.now - 1_000.0)
        told.append(clock.now)

    async def wait(seconds: float) -> str:
        clock.now += seconds * early
        return "open"

    caller = Caller(name="docs", circle="docs", strength="token")
    call = Call(Service(None), caller, "tool", progress)  # type: ignore[arg-type]
    await watch(call, wait, lambda _: False, 60.0, str)

    told.append(clock.now)
    assert clock.now >= 1_060.0
    assert max(later - earlier for earlier, later in pairwise(told)) <= PROMISED
    assert told == sorted(told)


@every_way
@pytest.mark.parametrize("tool", ["deploy", "wait_on_ack", "inbox"])
@pytest.mark.promise("report.progress")
@pytest.mark.promise("mcp.both-eras")
async def test_every_tool_that_waits_tells_at_each_slice_how_far_it_is(tmp_path, door, mode, tool):
    async with house(tmp_path, door, held=True) as at, getattr(at, door)("docs", mode) as client:
        slices: list[float] = []
        wait = at.engine.wait

        async def counted(request_id, seconds, **more):
            slices.append(seconds)
            return await wait(request_id, seconds, **more)

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
        if tool == "deploy":
            assert 3 <= len(told) <= len(slices)
            assert max(slices) <= PROMISED / 2
