"""Until when a release waits, and whether another has overtaken it."""

from datetime import UTC, datetime

import pytest

from infra_mcp.engine.releases import hold, overtaken_by
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import State

pytestmark = pytest.mark.anyio

FREEZE = """
[[freeze]]
id = "launch"
from = {begins}
until = {until}
reason = "the launch"
match = {{ apps = ["docs"] }}
"""


def _freeze(begins="2026-11-23T09:00:00Z", until="2026-11-23T12:00:00Z"):
    return FREEZE.format(begins=f'"{begins}"', until=f'"{until}"')


async def _hold(shelf, request):
    return hold(shelf.policy.current(), await shelf.now(request), shelf.clock())


@pytest.mark.promise("notify.catalogue")
async def test_a_release_begins_at_once_when_its_schedule_says_so(shelf):
    assert await _hold(shelf, await shelf.release()) is None


@pytest.mark.promise("notify.catalogue")
async def test_a_release_waits_for_the_window_and_is_due_when_it_opens(shelf):
    await shelf.rule(schedule="Tue 08:00-09:00 Europe/Berlin")
    request = await shelf.release()

    held = await _hold(shelf, request)
    shelf.clock.time = held.due

    assert (held.due, held.by) == (datetime(2026, 11, 24, 7, 0, tzinfo=UTC), "schedule")
    assert "Tue 08:00-09:00 Europe/Berlin" in held.words
    assert await _hold(shelf, request) is None


async def test_a_release_that_missed_its_window_waits_for_the_next(shelf):
    await shelf.rule(schedule="Tue 08:00-09:00 UTC")
    request = await shelf.release()
    shelf.clock.time = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)

    assert (await _hold(shelf, request)).due == datetime(2026, 12, 1, 8, 0, tzinfo=UTC)


async def test_a_freeze_holds_a_release_until_it_ends_and_is_named(shelf):
    await shelf.rule(_freeze())
    request = await shelf.release()

    held = await _hold(shelf, request)
    shelf.clock.time = held.due

    assert (held.due, held.by) == (datetime(2026, 11, 23, 12, 0, tzinfo=UTC), "freeze.launch")
    assert held.words == "freeze launch ends (the launch)"
    assert await _hold(shelf, request) is None


async def test_after_a_freeze_the_schedule_counts_again(shelf):
    await shelf.rule(_freeze(), schedule="Mon-Fri 10:00-11:00 UTC")

    held = await _hold(shelf, await shelf.release())

    assert held.due == datetime(2026, 11, 24, 10, 0, tzinfo=UTC)


async def test_a_freeze_at_the_time_the_window_opens_moves_what_is_due(shelf):
    await shelf.rule(_freeze("2026-11-24T07:00:00Z", "2026-11-24T08:30:00Z"), schedule="Tue 08:00-09:00 UTC")

    held = await _hold(shelf, await shelf.release())

    assert (held.due, held.by) == (datetime(2026, 11, 24, 8, 30, tzinfo=UTC), "schedule")


async def test_a_deploy_that_is_no_release_is_held_by_nothing(shelf):
    await shelf.rule(_freeze(), schedule="Tue 08:00-09:00 UTC")

    assert await _hold(shelf, await shelf.deploy()) is None


async def _overtaken(shelf, request):
    return await overtaken_by(shelf.ledger, shelf.policy.current(), await shelf.now(request))


@pytest.mark.promise("notify.order")
@pytest.mark.parametrize(("landed", "by"), [("0.13.5", "0.13.5"), ("0.13.4", None), ("0.9.0", None)])
async def test_a_release_is_overtaken_by_a_newer_version_that_landed(shelf, landed, by):
    request = await shelf.release("0.13.4")
    await shelf.ends(await shelf.deploy(landed))

    assert await _overtaken(shelf, request) == by


@pytest.mark.promise("notify.order")
async def test_a_version_that_did_not_land_overtakes_nothing(shelf):
    request = await shelf.release("0.13.4")
    await shelf.ends(await shelf.deploy("0.13.5"), State.ROLLED_BACK)

    assert await _overtaken(shelf, request) is None


@pytest.mark.promise("notify.order")
async def test_of_two_releases_that_wait_the_newer_overtakes_whichever_came_first(shelf):
    early, late = await shelf.release("0.13.5"), await shelf.release("0.13.4")

    assert await _overtaken(shelf, early) is None
    assert await _overtaken(shelf, late) == "0.13.5"


async def test_where_the_order_cannot_read_the_one_that_came_later_overtakes(shelf):
    await shelf.rule(order="arrival")
    early = await shelf.release("blue")
    late = await shelf.release("amber")

    assert await _overtaken(shelf, early) == "amber"
    assert await _overtaken(shelf, late) is None


async def test_by_arrival_what_was_asked_for_before_and_landed_since_overtakes_nothing(shelf):
    await shelf.rule(order="arrival")
    before = await shelf.deploy("blue")
    request = await shelf.release("amber")
    await shelf.ends(before)
    assert await _overtaken(shelf, request) is None

    await shelf.ends(await shelf.deploy("green"))
    assert await _overtaken(shelf, request) == "green"


@pytest.mark.promise("notify.order")
async def test_what_someone_merely_asks_for_overtakes_nothing_before_policy_let_it_through(shelf):
    request = await shelf.release("0.13.4")
    stranger = Caller(name="shop", circle="shop", strength="token")
    asked = await shelf.deploy("99.0.0", caller=stranger)
    assert await _overtaken(shelf, request) is None

    await shelf.ledger.record(asked.id, State.PLANNED, "planned", {})
    assert await _overtaken(shelf, request) == "99.0.0"


@pytest.mark.fault("d06")
@pytest.mark.parametrize("between", [205, 500])
async def test_a_release_is_overtaken_by_a_later_one_however_many_requests_came_after(shelf, between):
    await shelf.rule(order="arrival")
    old = await shelf.release("build-a")
    await shelf.ends(await shelf.deploy("build-b"))
    await shelf.dry_runs(between)

    assert await overtaken_by(shelf.ledger, shelf.policy.current(), old) == "build-b"


@pytest.mark.fault("d06")
@pytest.mark.parametrize("between", [0, 205])
async def test_a_release_is_not_overtaken_by_one_that_was_asked_for_before_it(shelf, between):
    await shelf.rule(order="arrival")
    before = await shelf.deploy("build-b")
    new = await shelf.release("build-a")
    await shelf.ends(before)
    await shelf.dry_runs(between)

    assert await overtaken_by(shelf.ledger, shelf.policy.current(), new) is None
