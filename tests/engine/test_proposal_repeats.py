"""A change that is asked for again while its pull request is open: it joins that, and ends with it."""

import pytest
from engine.forge_ground import BEFORE, ended, proposed, tell
from engine.two_kinds import NEW, THINGS, until

from infra_mcp.model.request import State

pytestmark = [pytest.mark.anyio, pytest.mark.promise("git.pull-request")]
IN_MEMORY = pytest.mark.parametrize("ground", ["a forge in memory"], indirect=True)


async def asked_twice(ground, engine):
    """The same change twice, both waiting at the forge."""
    first, number = await proposed(ground, engine)
    again, same = await proposed(ground, engine)
    assert same == number
    assert again.record["proposal"]["url"] == first.record["proposal"]["url"]
    return first, again, number


async def test_the_same_change_joins_the_pull_request_that_is_open_and_both_land_by_its_merge(ground):
    async with ground.engine() as engine:
        first, again, number = await asked_twice(ground, engine)
        tell(engine)
        await until(lambda: f"waits with {first.id}" in engine.progress(again.id))
        assert list(ground.pulls()) == [number]
        ground.merge(number, "squash")
        tell(engine)
        done = [await ended(engine, one) for one in (first, again)]

    assert [one.state for one in done] == [State.LANDED, State.LANDED], [one.receipt for one in done]
    assert done[1].receipt["message"] == f"With {first.id}: {done[0].receipt['message']}"
    assert list(ground.pulls()) == [number]
    assert ground.live() == ground.in_git() == dict.fromkeys(THINGS, NEW)
    assert ground.doubled() == []


@IN_MEMORY
async def test_both_end_where_people_close_it(ground):
    async with ground.engine() as engine:
        first, again, number = await asked_twice(ground, engine)
        ground.close(number)
        tell(engine)
        done = [await ended(engine, one) for one in (first, again)]

    assert [(one.state, one.receipt["error"]["code"]) for one in done] == [(State.REFUSED, "proposal-closed")] * 2
    assert ground.live() == BEFORE


@IN_MEMORY
async def test_who_joined_can_cancel_and_the_pull_request_stays_open_for_the_first(ground):
    async with ground.engine() as engine:
        first, again, number = await asked_twice(ground, engine)
        cancelled = await engine.cancel(again.caller, again.id)
        assert ground.pulls()[number]["state"] == "open"
        ground.merge(number)
        tell(engine)
        done = await ended(engine, first)

    assert (cancelled.state, done.state) == (State.CANCELLED, State.LANDED), done.receipt


@IN_MEMORY
async def test_after_a_restart_both_still_end_by_its_merge(ground):
    async with ground.engine() as engine:
        first, again, number = await asked_twice(ground, engine)
    ground.merge(number)
    async with ground.engine() as engine:
        done = [await ended(engine, one) for one in (first, again)]

    assert [one.state for one in done] == [State.LANDED, State.LANDED], [one.receipt for one in done]


@IN_MEMORY
async def test_a_third_joins_the_first_too(ground):
    async with ground.engine() as engine:
        first, again, number = await asked_twice(ground, engine)
        third, same = await proposed(ground, engine)

    assert same == number
    assert again.record["proposal"]["of"] == third.record["proposal"]["of"] == first.id


@IN_MEMORY
async def test_a_version_that_another_has_taken_the_place_of_is_proposed_anew(ground):
    async with ground.engine() as engine:
        older, _ = await proposed(ground, engine)
        newer, second = await proposed(ground, engine, "2.1.0")
        again, third = await proposed(ground, engine)
        tell(engine)
        done = [await ended(engine, one) for one in (older, newer)]
        ground.merge(third)
        tell(engine)
        landed = await ended(engine, again)

    assert third not in (1, second)
    assert [one.state for one in done] == [State.SUPERSEDED, State.SUPERSEDED]
    assert landed.state is State.LANDED, landed.receipt
