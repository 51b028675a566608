"""One holder at a time for each object."""

import anyio
import pytest

from infra_mcp.engine.locks import ObjectLocks

pytestmark = pytest.mark.anyio


async def test_who_comes_first_is_served_first_and_nobody_beside():
    locks, order, inside = ObjectLocks(), [], 0

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
    locks = ObjectLocks()

    async with locks.hold(["a"]):
        with anyio.fail_after(5):
            async with locks.hold(["b", "c"]):
                pass


async def test_two_that_want_the_same_two_in_another_order_both_get_them():
    locks, done = ObjectLocks(), []

    async def work(keys):
        async with locks.hold(keys):
            await anyio.lowlevel.checkpoint()
            done.append(keys)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(work, ["a", "b"])
            group.start_soon(work, ["b", "a"])

    assert len(done) == 2


async def test_a_cancelled_wait_leaves_nothing_behind():
    locks = ObjectLocks()

    async def waits():
        async with locks.hold(["a"]):
            raise AssertionError

    async with locks.hold(["a"]), anyio.create_task_group() as group:
        group.start_soon(waits)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()

    assert locks._locks == {}
    assert locks._users == {}
