"""Waking whoever waits."""

import anyio
import pytest

from infra_mcp.engine import signals as module
from infra_mcp.engine.signals import Signals

pytestmark = pytest.mark.anyio


async def test_all_waiters_of_a_name_wake_and_no_others():
    signals = Signals()

    with signals.waiter("a") as one, signals.waiter("a") as two, signals.waiter("b") as other:
        signals.wake("a")

        assert (one.is_set(), two.is_set(), other.is_set()) == (True, True, False)


async def test_a_wait_that_is_over_leaves_nothing_behind():
    signals = Signals()

    with anyio.move_on_after(0), signals.waiter("a") as event:
        await event.wait()

    assert signals._waiting == {}
    signals.wake("a")


async def test_one_waiter_waits_for_several_names():
    signals = Signals()

    with signals.waiter("a", "b", "b") as event:
        signals.wake("c", "b")
        assert event.is_set()

    assert signals._waiting == {}


async def test_a_wait_looks_again_at_every_signal_until_it_is_done():
    signals, found = Signals(), iter([1, 2, 3])

    async def look():
        return next(found)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:

            async def wake():
                for _ in range(2):
                    await anyio.wait_all_tasks_blocked()
                    signals.wake("a")

            group.start_soon(wake)
            assert await signals.until(("a",), look, lambda value: value == 3, 5) == 3


async def test_a_wait_of_no_seconds_looks_once():
    looks = []

    async def look():
        looks.append(1)

    await Signals().until(("a",), look, lambda _: False, 0)

    assert looks == [1]


async def test_a_waiter_of_another_name_wakes_with_it():
    signals = Signals()
    signals.also("a", "inbox")

    with signals.waiter("inbox") as inbox, signals.waiter("other") as other:
        signals.wake("a")

        assert (inbox.is_set(), other.is_set()) == (True, False)


async def test_the_names_woken_with_another_are_bounded(monkeypatch):
    monkeypatch.setattr(module, "_MAX_NAMES", 2)
    signals = Signals()
    for name in "abc":
        signals.also(name, "inbox")

    assert list(signals._also) == ["b", "c"]
