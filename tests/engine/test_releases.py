"""Until when a release waits, and whether another has overtaken it."""

from datetime import UTC, datetime

import pytest
from engine.ledger_fixture import DOCS

from infra_mcp.engine.releases import hold, overtaken_by, park_if_not_due
from infra_mcp.engine.run import Dependencies, Run
from infra_mcp.errors import InfraError
from infra_mcp.ledger.ids import request_id
from infra_mcp.model.actions import Rollback
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import State, Submission

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


async def _hold(ledger_fixture, request):
    return hold(ledger_fixture.policy.current(), await ledger_fixture.now(request), ledger_fixture.clock())


@pytest.mark.promise("notify.catalogue")
async def test_a_release_begins_at_once_when_its_schedule_says_so(ledger_fixture):
    assert await _hold(ledger_fixture, await ledger_fixture.release()) is None


@pytest.mark.promise("notify.catalogue")
async def test_a_release_waits_for_the_window_and_is_due_when_it_opens(ledger_fixture):
    await ledger_fixture.rule(schedule="Tue 08:00-09:00 Europe/Berlin")
    request = await ledger_fixture.release()

    held = await _hold(ledger_fixture, request)
    ledger_fixture.clock.time = held.due

    assert (held.due, held.by) == (datetime(2026, 11, 24, 7, 0, tzinfo=UTC), "schedule")
    assert "Tue 08:00-09:00 Europe/Berlin" in held.text
    assert await _hold(ledger_fixture, request) is None


async def test_a_release_that_missed_its_window_waits_for_the_next(ledger_fixture):
    await ledger_fixture.rule(schedule="Tue 08:00-09:00 UTC")
    request = await ledger_fixture.release()
    ledger_fixture.clock.time = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)

    assert (await _hold(ledger_fixture, request)).due == datetime(2026, 12, 1, 8, 0, tzinfo=UTC)


async def test_a_freeze_delays_a_release_until_it_ends_and_is_named(ledger_fixture):
    await ledger_fixture.rule(_freeze())
    request = await ledger_fixture.release()

    held = await _hold(ledger_fixture, request)
    ledger_fixture.clock.time = held.due

    assert (held.due, held.by) == (datetime(2026, 11, 23, 12, 0, tzinfo=UTC), "freeze.launch")
    assert held.text == "freeze launch ends (the launch)"
    assert await _hold(ledger_fixture, request) is None


async def test_after_a_freeze_the_schedule_counts_again(ledger_fixture):
    await ledger_fixture.rule(_freeze(), schedule="Mon-Fri 10:00-11:00 UTC")

    held = await _hold(ledger_fixture, await ledger_fixture.release())

    assert held.due == datetime(2026, 11, 24, 10, 0, tzinfo=UTC)


async def test_a_freeze_at_the_time_the_window_opens_moves_what_is_due(ledger_fixture):
    await ledger_fixture.rule(_freeze("2026-11-24T07:00:00Z", "2026-11-24T08:30:00Z"), schedule="Tue 08:00-09:00 UTC")

    held = await _hold(ledger_fixture, await ledger_fixture.release())

    assert (held.due, held.by) == (datetime(2026, 11, 24, 8, 30, tzinfo=UTC), "schedule")


async def test_a_deploy_that_is_no_release_does_not_wait(ledger_fixture):
    await ledger_fixture.rule(_freeze(), schedule="Tue 08:00-09:00 UTC")

    assert await _hold(ledger_fixture, await ledger_fixture.deploy()) is None


async def _overtaken(ledger_fixture, request):
    return await overtaken_by(ledger_fixture.ledger, ledger_fixture.policy.current(), await ledger_fixture.now(request))


@pytest.mark.promise("notify.order")
@pytest.mark.parametrize(("landed", "by"), [("0.13.5", "0.13.5"), ("0.13.4", None), ("0.9.0", None)])
async def test_a_release_is_overtaken_by_a_newer_version_that_landed(ledger_fixture, landed, by):
    request = await ledger_fixture.release("0.13.4")
    await ledger_fixture.ends(await ledger_fixture.deploy(landed))

    assert await _overtaken(ledger_fixture, request) == by


@pytest.mark.promise("notify.order")
async def test_a_version_that_did_not_land_overtakes_nothing(ledger_fixture):
    request = await ledger_fixture.release("0.13.4")
    await ledger_fixture.ends(await ledger_fixture.deploy("0.13.5"), State.ROLLED_BACK)

    assert await _overtaken(ledger_fixture, request) is None


@pytest.mark.promise("notify.order")
async def test_of_two_releases_that_wait_the_newer_overtakes_whichever_came_first(ledger_fixture):
    early, late = await ledger_fixture.release("0.13.5"), await ledger_fixture.release("0.13.4")

    assert await _overtaken(ledger_fixture, early) is None
    assert await _overtaken(ledger_fixture, late) == "0.13.5"


async def test_where_the_order_cannot_compare_the_later_release_overtakes(ledger_fixture):
    await ledger_fixture.rule(order="arrival")
    early = await ledger_fixture.release("blue")
    late = await ledger_fixture.release("amber")

    assert await _overtaken(ledger_fixture, early) == "amber"
    assert await _overtaken(ledger_fixture, late) is None


async def test_by_arrival_an_earlier_request_that_landed_since_does_not_overtake(ledger_fixture):
    await ledger_fixture.rule(order="arrival")
    before = await ledger_fixture.deploy("blue")
    request = await ledger_fixture.release("amber")
    await ledger_fixture.ends(before)
    assert await _overtaken(ledger_fixture, request) is None

    await ledger_fixture.ends(await ledger_fixture.deploy("green"))
    assert await _overtaken(ledger_fixture, request) == "green"


@pytest.mark.promise("notify.order")
async def test_a_request_overtakes_a_release_only_once_policy_has_let_it_through(ledger_fixture):
    request = await ledger_fixture.release("0.13.4")
    stranger = Caller(name="shop", circle="shop", strength="token")
    asked = await ledger_fixture.deploy("99.0.0", caller=stranger)
    assert await _overtaken(ledger_fixture, request) is None

    await ledger_fixture.ledger.record(asked.id, State.PLANNED, "planned", {})
    assert await _overtaken(ledger_fixture, request) == "99.0.0"


@pytest.mark.fault("d06")
@pytest.mark.parametrize("between", [205, 500])
async def test_a_release_is_overtaken_by_a_later_one_however_many_requests_came_after(ledger_fixture, between):
    await ledger_fixture.rule(order="arrival")
    old = await ledger_fixture.release("build-a")
    await ledger_fixture.ends(await ledger_fixture.deploy("build-b"))
    await ledger_fixture.dry_runs(between)

    assert await overtaken_by(ledger_fixture.ledger, ledger_fixture.policy.current(), old) == "build-b"


@pytest.mark.fault("d06")
@pytest.mark.parametrize("between", [0, 205])
async def test_a_release_is_not_overtaken_by_one_that_was_asked_for_before_it(ledger_fixture, between):
    await ledger_fixture.rule(order="arrival")
    before = await ledger_fixture.deploy("build-b")
    new = await ledger_fixture.release("build-a")
    await ledger_fixture.ends(before)
    await ledger_fixture.dry_runs(between)

    assert await overtaken_by(ledger_fixture.ledger, ledger_fixture.policy.current(), new) is None


@pytest.mark.promise("notify.order", "rollback.request")
async def test_a_release_that_waited_while_its_version_was_rolled_back_is_refused_when_it_is_due(ledger_fixture):
    fixture = ledger_fixture
    request = await fixture.release("0.13.4")
    deps = Dependencies(fixture.ledger, None, None, fixture.policy.current, fixture.clock)
    made = await fixture.deploy("0.13.4")
    await fixture.ends(made)
    assert not await park_if_not_due(deps, Run.of(await fixture.now(request)))
    undo = Submission(caller=DOCS, action=Rollback(request=made.id), channel="tool")
    given = {"request_id": request_id(), "ask": None, "now": fixture.clock.stamp}
    back = (await fixture.ledger.accept(undo, **given)).request
    await fixture.ends(back)

    with pytest.raises(InfraError, match=f"0.13.4 was rolled back by {back.id}") as caught:
        await park_if_not_due(deps, Run.of(await fixture.now(request)))

    assert caught.value.code == "rolled-back"
    assert not await park_if_not_due(deps, Run.of(await fixture.deploy("0.13.4"))), "by name it comes back"
