"""Several calls side by side."""

from functools import partial

import anyio
import pytest

from infra_mcp.errors import InfraError
from infra_mcp.gather import gather, gather_pair

pytestmark = pytest.mark.anyio


async def _after(turns, value):
    for _ in range(turns):
        await anyio.lowlevel.checkpoint()
    return value


async def test_results_come_in_the_order_of_the_calls():
    calls = [partial(_after, turns, turns) for turns in (9, 1, 5)]

    assert await gather(calls) == [9, 1, 5]


async def test_the_first_error_comes_as_itself_and_ends_the_others():
    ended = anyio.Event()

    async def fails():
        raise InfraError("not-found", "no")

    async def waits():
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    with pytest.raises(InfraError, match="not-found"):
        await gather([waits, fails])

    assert ended.is_set()


async def test_being_cancelled_ends_all_of_them_and_passes_on():
    with anyio.CancelScope() as scope:
        scope.cancel()
        await gather([anyio.sleep_forever, anyio.sleep_forever])

    assert scope.cancelled_caught


async def test_two_calls_of_different_types():
    assert await gather_pair(partial(_after, 1, "a"), partial(_after, 2, 2)) == ("a", 2)


async def test_nothing_to_do_is_done():
    assert await gather([]) == []
