"""One holder at a time for each object."""

import gc

import anyio
import pytest

from infra_mcp.engine.locks import Locks

pytestmark = pytest.mark.anyio


async def test_the_first_to_wait_is_the_first_to_hold_and_holds_alone():
    locks, order, inside = Locks(), [], 0

    async def work(name):
        nonlocal inside
        async with locks.hold(["a"]):
            inside += 1
            assert inside == 1
            order.append(name)
            await anyio.lowlevel.checkpoint()
            inside -= 1

    async with anyio.create_task_group() as group:
        for name in range(5):
            group.start_soon(work, name)
            await anyio.lowlevel.checkpoint()

    assert order == [0, 1, 2, 3, 4]


async def test_holders_of_different_objects_do_not_wait_for_each_other():
    locks = Locks()

    async with locks.hold(["a"]):
        with anyio.fail_after(30):
            async with locks.hold(["b", "c"]):
                pass


async def test_two_requests_for_the_same_keys_in_another_order_both_get_them():
    locks, done = Locks(), []

    async def work(keys):
        async with locks.hold(keys):
            await anyio.lowlevel.checkpoint()
            done.append(keys)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(work, ["a", "b"])
            group.start_soon(work, ["b", "a"])

    assert len(done) == 2


async def test_a_cancelled_wait_leaves_nothing_behind():
    locks = Locks()

    async def waits():
        async with locks.hold(["a"]):
            raise AssertionError

    async with locks.hold(["a"]), anyio.create_task_group() as group:
        group.start_soon(waits)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()

    gc.collect()  # of the exception that ended the wait
    assert locks._locks == {}


@pytest.mark.fault("d04")
async def test_more_keys_are_held_at_once_or_not_at_all():
    locks = Locks()

    async with locks.hold(["a"]) as one, locks.hold(["b"]) as other:
        assert not one.extend(frozenset({"a", "b", "c"}))
        assert one.keys == {"a"}
        assert other.extend(frozenset({"b", "c"}))

    assert locks._locks == {}


@pytest.mark.fault("d04")
@pytest.mark.promise("apply.locks")
async def test_two_requests_that_find_the_same_target_while_planning_never_work_on_it_at_once():
    """Different apps, one workload: their first keys say nothing of it."""
    locks, inside, most = Locks(), 0, []

    async def work(first):
        nonlocal inside
        async with locks.hold([first]) as held:
            while not held.extend(keys := frozenset({first, "workload"})):
                await held.wait_for(keys)
            inside += 1
            most.append(inside)
            await anyio.lowlevel.checkpoint()
            inside -= 1

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            for name in "abcdefgh":
                group.start_soon(work, name)

    assert most == [1] * 8
    assert locks._locks == {}
