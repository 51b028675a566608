"""Waking whoever waits."""

import anyio
import pytest

from infra_mcp.engine.signals import Signals

pytestmark = pytest.mark.anyio


async def test_everyone_who_waits_for_a_name_is_woken_and_nobody_else():
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
