"""Waiting: with signs of life, ended by a stop, and with errors as themselves."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

from infra_mcp.errors import InfraError
from infra_mcp.model.peer import Caller
from infra_mcp.server.tools.call import Call, Service, watch

pytestmark = pytest.mark.anyio

CALLER = Caller(name="docs", circle="docs", strength="token")


class Told(list[str]):
    """What the client was told, and an event for the first of it."""

    def __init__(self) -> None:
        super().__init__()
        self.once = anyio.Event()

    def append(self, message: str) -> None:
        super().append(message)
        self.once.set()


def call_of(service: Service, told: list[str]) -> Call:
    async def progress(_passed: float, message: str) -> None:
        told.append(message)

    return Call(service, CALLER, "tool", progress)


async def test_a_stop_ends_the_wait_with_the_newest_state():
    service = Service(None)  # type: ignore[arg-type]
    told = Told()
    once = told.once

    async def wait(seconds: float, seen: Callable[[str], None]) -> str:
        seen("open")
        if seconds:
            await once.wait()
            service.stopping.set()
            await anyio.sleep_forever()
        return "open"

    with anyio.fail_after(30):
        assert await watch(call_of(service, told), wait, lambda _: False, 600, str) == "open"
    assert told == ["open"]


async def test_a_wait_of_zero_only_looks():
    asked: list[float] = []

    async def wait(seconds: float, _seen: object) -> str:
        asked.append(seconds)
        return "open"

    assert await watch(call_of(Service(None), []), wait, lambda _: False, 0, str) == "open"  # type: ignore[arg-type]
    assert asked == [0.0]


async def test_an_error_while_waiting_arrives_as_itself():
    async def wait(_seconds: float, _seen: object) -> str:
        raise InfraError("ledger-unavailable", "No.")

    with pytest.raises(InfraError, match="No"):
        await watch(call_of(Service(None), []), wait, lambda _: False, 5, str)  # type: ignore[arg-type]


async def test_a_wait_that_returns_early_without_an_end_does_not_spin():
    looks = 0

    async def wait(_seconds: float, _seen: object) -> str:
        nonlocal looks
        looks += 1
        return "open"

    await watch(call_of(Service(None), []), wait, lambda _: False, 0.5, str)  # type: ignore[arg-type]
    assert looks < 20


async def test_an_ended_state_is_looked_up_once_without_progress():
    looks, told = 0, []

    async def wait(_seconds: float, seen: Callable[[str], None]) -> str:
        nonlocal looks
        looks += 1
        seen("closed")
        return "closed"

    assert await watch(call_of(Service(None), told), wait, lambda _: True, 600, str) == "closed"  # type: ignore[arg-type]
    assert (looks, told) == (1, [])


async def test_a_stop_during_the_first_look_still_gives_a_state():
    service = Service(None)  # type: ignore[arg-type]

    async def wait(seconds: float, _seen: object) -> str:
        if seconds:
            service.stopping.set()
            await anyio.sleep_forever()
        return "open"

    with anyio.fail_after(30):
        assert await watch(call_of(service, []), wait, lambda _: False, 600, str) == "open"
