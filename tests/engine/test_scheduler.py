"""What looks after the requests that wait, by a clock that the test sets."""

import math

import anyio
import pytest
from engine.ledger_fixture import DOCS, EFFECT, PAT

from infra_mcp.engine import Engine, scheduler
from infra_mcp.engine.approvals import Decisions
from infra_mcp.engine.scheduler import Scheduler, purge
from infra_mcp.engine.signals import Signals
from infra_mcp.ledger import Ledger
from infra_mcp.model.peer import Address, Caller
from infra_mcp.model.request import State
from infra_mcp.policy.acceptance import PolicyInForce
from infra_mcp.settings import Settings

pytestmark = pytest.mark.anyio

READER = Caller(name="reader", circle=None, strength="same-user", reader=True)
SHOP = Caller(name="shop", circle="shop", strength="token")
TUESDAY = "Tue 08:00-09:00 UTC"
FREEZE = """
[[freeze]]
id = "launch"
from = "2026-11-23T09:00:00Z"
until = "2026-11-23T10:00:05Z"
"""


class Hand:
    """Takes what the scheduler hands in."""

    def __init__(self, ledger_fixture):
        self.taken, self.works = [], True
        self.signals, self.decisions = Signals(), Decisions(ledger_fixture.ledger)
        self.scheduler = Scheduler(
            ledger_fixture.ledger,
            ledger_fixture.policy,
            self.signals,
            self.decisions,
            self.resume,
            ledger_fixture.clock,
        )

    def resume(self, request):
        if self.works:
            self.taken.append(request.id)
        return self.works

    async def look(self):
        """One look: what it handed in, and how long it would sleep."""
        self.taken.clear()
        seconds = await self.scheduler.look()
        return list(self.taken), seconds


@pytest.fixture
def hand(ledger_fixture):
    return Hand(ledger_fixture)


async def test_without_parked_requests_the_scheduler_sleeps_until_it_is_woken(ledger_fixture, hand):
    await ledger_fixture.deploy()

    assert await hand.look() == ([], math.inf)


@pytest.mark.promise("notify.catalogue")
async def test_a_release_is_enqueued_when_it_is_due_and_not_before(ledger_fixture, hand):
    await ledger_fixture.rule(schedule=TUESDAY)
    request = await ledger_fixture.release()

    early = await hand.look()
    ledger_fixture.clock.forward(hours=22)
    due = await hand.look()

    assert early == ([], 15.0)
    assert due == ([request.id], math.inf)


async def test_a_clock_that_jumps_delays_a_release_by_one_short_sleep_at_most(ledger_fixture, hand):
    await ledger_fixture.rule(schedule=TUESDAY)
    request = await ledger_fixture.release()
    ledger_fixture.clock.forward(days=-2)  # set back: nothing is due earlier or never
    assert (await hand.look())[1] <= 15.0

    ledger_fixture.clock.forward(days=30)

    assert (await hand.look())[0] == []  # far beyond its window: it waits for the next
    ledger_fixture.clock.time = ledger_fixture.clock.time.replace(month=12, day=22, hour=8, minute=30)
    assert (await hand.look())[0] == [request.id]


async def test_a_release_in_a_freeze_is_enqueued_when_the_freeze_ends(ledger_fixture, hand):
    await ledger_fixture.rule(FREEZE)
    request = await ledger_fixture.release()

    held = await hand.look()
    ledger_fixture.clock.forward(seconds=5)

    assert held == ([], 5.0)
    assert (await hand.look())[0] == [request.id]


@pytest.mark.promise("notify.order")
async def test_an_overtaken_release_is_enqueued_at_once_to_end(ledger_fixture, hand):
    await ledger_fixture.rule(schedule=TUESDAY)
    request = await ledger_fixture.release("0.13.4")
    await ledger_fixture.ends(await ledger_fixture.deploy("0.13.5"))

    assert (await hand.look())[0] == [request.id]


async def test_a_release_due_while_the_places_are_down_is_enqueued_later(ledger_fixture, hand):
    request = await ledger_fixture.release()
    hand.works = False
    assert (await hand.look())[0] == []
    assert "reachable" in hand.scheduler.reason(request.id)

    hand.works = True
    assert (await hand.look())[0] == [request.id]


@pytest.mark.promise("approval.no-fallback")
async def test_a_request_without_approval_in_time_expires_and_its_waiters_wake(ledger_fixture, hand):
    request = await ledger_fixture.awaits()
    inbox = Address(name="docs", circle="docs").signal
    assert (await hand.look()) == ([], 15.0)

    ledger_fixture.clock.forward(seconds=600)
    with hand.signals.waiter(request.id) as waiter, hand.signals.waiter(inbox) as reader:
        assert (await hand.look()) == ([], math.inf)

    assert (await ledger_fixture.now(request)).state is State.EXPIRED
    assert waiter.is_set()
    assert reader.is_set()


async def test_after_a_start_parked_requests_are_not_planned(ledger_fixture, hand):
    await ledger_fixture.awaits()

    assert (await hand.look())[0] == []
    assert (await hand.look())[0] == []


async def test_a_request_that_waits_for_approval_is_decided_again_once_under_a_new_policy(ledger_fixture, hand):
    request = await ledger_fixture.awaits()
    await hand.look()

    await ledger_fixture.rule(FREEZE)

    assert (await hand.look())[0] == [request.id]
    assert (await hand.look())[0] == []


async def test_a_policy_that_changes_and_a_signal_wake_it_at_once(ledger_fixture, hand):
    await ledger_fixture.rule(schedule=TUESDAY)
    request = await ledger_fixture.release()

    async with anyio.create_task_group() as group:
        group.start_soon(hand.scheduler.run)
        with anyio.fail_after(30):
            while not hand.scheduler.parked:
                await anyio.lowlevel.checkpoint()
            await ledger_fixture.rule(schedule="now")
            while request.id not in hand.taken:
                await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()


async def test_a_failed_look_does_not_end_the_scheduler(hand, monkeypatch):
    async def broken():
        raise RuntimeError

    monkeypatch.setattr(hand.scheduler, "look", broken)

    assert await hand.scheduler._look_safely() == 15.0


async def test_status_lists_parked_requests_with_due_time_freeze_and_missing_approval(ledger_fixture, hand):
    await ledger_fixture.rule(FREEZE)
    release, deploy = await ledger_fixture.release("0.13.5"), await ledger_fixture.awaits()

    first, second = await hand.scheduler.waiting(PAT)

    assert (first["request"], first["app"], first["version"]) == (release.id, "docs", "0.13.5")
    assert (first["due"], first["held_by"]) == ("2026-11-23T10:00:05+00:00", "freeze.launch")
    assert (second["request"], second["held_by"], second["effect_digest"]) == (deploy.id, "rules.two", EFFECT)
    assert "0 of 1 approval" in second["why"]
    assert second["until"].startswith("2026-11-23T10:10:00")


@pytest.mark.promise("read.scoped")
async def test_parked_requests_are_listed_for_their_circle_and_for_those_who_read_all(ledger_fixture, hand):
    await ledger_fixture.release()

    assert len(await hand.scheduler.waiting(READER)) == 1
    assert await hand.scheduler.waiting(SHOP) == []


@pytest.mark.fault("f08")
@pytest.mark.parametrize("fault", [ValueError("no"), UnicodeEncodeError("utf-8", "\udcff", 0, 1, "no"), KeyError("x")])
async def test_a_parked_request_that_cannot_be_looked_at_ends_and_the_others_go_on(
    ledger_fixture, hand, monkeypatch, fault
):
    await ledger_fixture.rule(schedule=TUESDAY)
    bad, good = await ledger_fixture.release("1.0.0"), await ledger_fixture.release("1.0.1")
    ledger_fixture.clock.forward(hours=22)
    real = scheduler.hold

    def hold(policy, request, now):
        if request.id == bad.id:
            raise fault
        return real(policy, request, now)

    monkeypatch.setattr(scheduler, "hold", hold)

    assert await hand.look() == ([good.id], math.inf)
    assert (await ledger_fixture.now(bad)).state is State.FAILED
    assert await hand.look() == ([good.id], math.inf)


@pytest.mark.fault("f27")
@pytest.mark.parametrize("waits", ["for its time", "for people", "for its turn"])
@pytest.mark.parametrize("back", [False, True], ids=["gone", "a-newcomer-of-that-name"])
async def test_a_parked_request_of_a_removed_peer_ends_and_is_never_enqueued(ledger_fixture, hand, waits, back):
    await ledger_fixture.ledger.add_peer("docs", "docs")
    await ledger_fixture.rule(schedule=TUESDAY)
    make = {
        "for its time": ledger_fixture.release,
        "for people": ledger_fixture.awaits,
        "for its turn": ledger_fixture.deploy,
    }[waits]
    request, other = await make(), await ledger_fixture.deploy(caller=SHOP)
    await hand.look()
    await ledger_fixture.ledger.remove_peer("docs")
    if back:
        await ledger_fixture.ledger.add_peer("docs", "docs")
    ledger_fixture.clock.forward(hours=22)

    handed, _ = await hand.look()

    found = await ledger_fixture.now(request)
    assert handed == []
    assert (found.state, found.receipt["message"].partition(".")[0]) == (State.CANCELLED, "Peer docs was removed")
    assert (await ledger_fixture.now(other)).state is State.QUEUED
    assert (await ledger_fixture.ledger.verify([])).consistent


@pytest.mark.fault("f35")
async def test_a_request_that_waits_for_approval_is_not_read_until_it_is_due(ledger_fixture, hand, monkeypatch):
    requests = [
        await ledger_fixture.awaits(request=await ledger_fixture.deploy(f"1.0.{number}")) for number in range(5)
    ]
    await hand.look()
    real, looked = hand.decisions.look, []

    async def look(request, now):
        looked.append(request.id)
        return await real(request, now)

    monkeypatch.setattr(hand.decisions, "look", look)
    for _ in range(3):
        ledger_fixture.clock.forward(seconds=15)
        await hand.look()
    early = list(looked)
    ledger_fixture.clock.forward(minutes=10)
    await hand.look()

    assert early == []
    assert looked == [request.id for request in requests]
    assert {(await ledger_fixture.now(request)).state for request in requests} == {State.EXPIRED}


@pytest.mark.fault("f35")
async def test_the_list_of_parked_requests_is_bounded_and_says_how_many_more_there_are(ledger_fixture, hand):
    for number in range(60):
        caller = (DOCS, SHOP)[number % 2]  # a peer may have 50 open
        await ledger_fixture.awaits(request=await ledger_fixture.deploy(f"1.0.{number}", caller=caller))

    listed = await hand.scheduler.waiting(PAT)

    assert len(listed) < 60
    assert f"{60 - len(listed) + 1} more" in str(listed[-1])


# -- the texts of old messages
READER_OF_MAIL = Address(name="shop", circle="shop")


async def read_message(ledger_fixture, text="the words"):
    """A message to shop that shop has marked as read, now."""
    sent = await ledger_fixture.ledger.mail.post(DOCS, [READER_OF_MAIL], text, now=ledger_fixture.clock.stamp)
    await ledger_fixture.ledger.mail.mark_read(READER_OF_MAIL, [sent], now=ledger_fixture.clock.stamp)
    return sent


async def words(ledger_fixture, sent):
    found = await ledger_fixture.ledger.mail.message(READER_OF_MAIL, sent)
    return found.text


async def _purged(ledger_fixture):
    return await purge(ledger_fixture.ledger, ledger_fixture.policy, ledger_fixture.clock())


async def test_a_read_message_keeps_its_text_as_long_as_policy_says(ledger_fixture):
    await ledger_fixture.rule('[messages]\nkeep = "2d"\n')
    sent = await read_message(ledger_fixture)
    ledger_fixture.clock.forward(hours=47)
    assert await _purged(ledger_fixture) == 0
    assert await words(ledger_fixture, sent) == "the words"
    ledger_fixture.clock.forward(hours=2)
    assert await _purged(ledger_fixture) == 1
    assert await words(ledger_fixture, sent) == ""


async def test_without_a_policy_in_force_no_text_is_deleted(ledger_fixture, tmp_path):
    sent = await read_message(ledger_fixture)
    ledger_fixture.clock.forward(days=400)
    bare = await Ledger.open_in(tmp_path / "bare")
    nothing = PolicyInForce(tmp_path / "none.toml", bare)
    assert await purge(ledger_fixture.ledger, nothing, ledger_fixture.clock()) == 0
    assert await words(ledger_fixture, sent) == "the words"
    await bare.aclose()


async def test_a_shorter_time_counts_from_the_moment_it_is_in_force(ledger_fixture):
    sent = await read_message(ledger_fixture)
    ledger_fixture.clock.forward(days=3)
    assert await _purged(ledger_fixture) == 0
    await ledger_fixture.rule('[messages]\nkeep = "2d"\n')
    assert await _purged(ledger_fixture) == 1
    assert await words(ledger_fixture, sent) == ""


async def test_a_running_engine_purges(tmp_path, monkeypatch):
    purged = anyio.Event()

    async def noted(*_):
        purged.set()
        return 0

    monkeypatch.setattr("infra_mcp.engine.scheduler._FIRST_PURGE", 0)
    monkeypatch.setattr("infra_mcp.engine.scheduler.purge", noted)
    settings = Settings(repo=tmp_path, state_dir=tmp_path / "state", kubeconfig=tmp_path / "none")
    async with Engine.open(settings):
        with anyio.fail_after(30):
            await purged.wait()
