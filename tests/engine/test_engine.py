"""The engine's own methods for channels, with no cluster behind it."""

import anyio
import pytest
from engine.ledger_fixture import DOCS, EFFECT, PAT

from infra_mcp.engine import Engine
from infra_mcp.errors import InfraError
from infra_mcp.ledger import AskIn
from infra_mcp.ledger.ids import request_id
from infra_mcp.ledger.records import ReleaseIn
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.approval import Decided
from infra_mcp.model.peer import Address, Caller
from infra_mcp.model.request import State, Submission
from infra_mcp.settings import Settings

pytestmark = pytest.mark.anyio

INFRA = Address(name="infra")
NAMESAKE = Caller(name="docs", circle="shop", strength="token")
LONG = 600.0


@pytest.fixture
def engine(ledger_fixture, tmp_path):
    settings = Settings(repo=tmp_path, state_dir=tmp_path / "state", kubeconfig=tmp_path / "none")
    return Engine(settings, ledger_fixture.ledger, ledger_fixture.policy, ledger_fixture.clock)


async def _meanwhile(engine, waits, does):
    """What the wait gave, when something is done while it waits; it must not take its time."""
    found = []

    async def wait():
        found.append(await waits())

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            while not engine.signals._waiting:  # noqa: ASYNC110 - what it waits for is not told
                await anyio.sleep(0.001)
            await does()
    return found[0]


def _release(version, **given):
    action = Deploy(app="docs", version=version)
    submission = Submission(caller=DOCS, action=action, channel="notify", scheduled=True)
    return ReleaseIn(submission=submission, request_id=request_id(), **given)


async def test_a_wait_continues_while_a_request_is_scheduled_and_ends_when_it_needs_approval(ledger_fixture, engine):
    request = await ledger_fixture.release()

    async def parks():
        engine.signals.wake(request.id)  # not news enough
        await ledger_fixture.awaits(request=request)
        engine.signals.wake(request.id)

    found = await _meanwhile(engine, lambda: engine.wait(request.id, LONG), parks)

    assert found.state is State.AWAITING_APPROVAL


async def test_a_wait_to_the_end_continues_through_the_approval(ledger_fixture, engine):
    request = await ledger_fixture.awaits()

    async def denies():
        await engine.approve(PAT, request.id, EFFECT, Decided(approve=False, way="cli"))

    found = await _meanwhile(engine, lambda: engine.wait(request.id, LONG, to_end=True), denies)

    assert found.state is State.REFUSED


@pytest.mark.promise("mesh.tools")
async def test_a_wait_for_an_ack_between_peers_wakes_at_once(ledger_fixture, engine):
    asker, asked = Address(name="docs", circle="docs"), Address(name="shop", circle="shop")
    ask = await ledger_fixture.ledger.mail.open_ask(DOCS, asked, "which port?", now=ledger_fixture.clock.stamp)

    async def acks():
        shop = Caller(name=asked.name, circle=asked.circle, strength="token")
        await ledger_fixture.ledger.mail.ack(shop, ask.id, "8080", now=ledger_fixture.clock.stamp)
        engine.signals.wake(ask.id, asker.signal)

    found = await _meanwhile(engine, lambda: engine.wait_ask(ask.id, LONG), acks)

    assert (found.state, found.reply) == ("acked", "8080")


async def test_a_wait_for_an_ask_about_a_request_wakes_when_that_ends(ledger_fixture, engine):
    submission = Submission(caller=DOCS, action=Deploy(app="docs", version="1.0.0"), channel="ask", words="go")
    taken = await ledger_fixture.ledger.accept(
        submission, request_id=request_id(), ask=AskIn(text="go"), now=ledger_fixture.clock.stamp
    )
    await ledger_fixture.awaits(request=taken.request)

    async def cancels():
        await engine.cancel(DOCS, taken.request.id)

    found = await _meanwhile(engine, lambda: engine.wait_ask(taken.ask_id, LONG), cancels)

    assert found.state == "acked"
    assert "Cancelled" in found.reply


async def test_a_wait_for_a_claimed_ask_that_joined_an_earlier_request_wakes_when_that_ends(ledger_fixture, engine):
    action = Deploy(app="docs", version="1.0.0")
    submission = Submission(caller=DOCS, action=action, channel="tool", words="go", idempotency_key="k")
    taken = await ledger_fixture.ledger.accept(
        submission, request_id=request_id(), ask=None, now=ledger_fixture.clock.stamp
    )
    await ledger_fixture.awaits(request=taken.request)
    asked = await ledger_fixture.ledger.mail.open_ask(
        DOCS, INFRA, "could you put it out?", now=ledger_fixture.clock.stamp
    )
    await ledger_fixture.ledger.mail.claim(asked.id, "s", now=ledger_fixture.clock.stamp)
    claimed = {"on_behalf_of": asked.id, "session": "s", "attendant": "infra"}
    again = await engine.submit(submission.model_copy(update=claimed))
    assert (again.request.id, again.ask_id) == (taken.request.id, asked.id)

    async def cancels():
        await engine.cancel(DOCS, taken.request.id)

    found = await _meanwhile(engine, lambda: engine.wait_ask(asked.id, LONG), cancels)

    assert found.state == "acked"
    assert "Cancelled" in found.reply


@pytest.mark.promise("notify.order")
async def test_a_notify_accepts_releases_and_wakes_their_waiters(engine):
    _, (first,) = await engine.notified(DOCS, INFRA, "release/0.13.4 merged", [_release("0.13.4")])

    async def newer():
        release = _release("0.13.5", supersedes=(first.request.id,))
        await engine.notified(DOCS, INFRA, "release/0.13.5 merged", [release])

    found = await _meanwhile(engine, lambda: engine.wait(first.request.id, LONG), newer)

    assert found.state is State.SUPERSEDED
    (waits,) = await engine._scheduler.waiting(DOCS)
    assert (waits["version"], waits["state"]) == ("0.13.5", "scheduled")


@pytest.mark.promise("intake.cancel")
async def test_only_the_asker_cancels_a_parked_request_and_not_a_namesake_of_another_circle(ledger_fixture, engine):
    request = await ledger_fixture.awaits()

    with pytest.raises(InfraError, match="or it is not yours"):
        await engine.cancel(NAMESAKE, request.id)
    assert (await engine.cancel(DOCS, request.id)).state is State.CANCELLED


async def test_an_approval_without_a_worker_is_kept_for_the_next_one(ledger_fixture, engine):
    request = await ledger_fixture.awaits()

    found = await engine.approve(PAT, request.id, EFFECT, Decided(approve=True, way="cli"))

    assert found.state is State.QUEUED
    assert [one.id for one in await ledger_fixture.ledger.open_requests()] == [request.id]
    assert (await engine.cancel(DOCS, request.id)).state is State.CANCELLED


async def test_the_engine_is_idle_only_without_open_requests_and_unanswered_asks(ledger_fixture, engine):
    assert await engine.idle()
    ask = await ledger_fixture.ledger.mail.open_ask(DOCS, INFRA, "hm?", now=ledger_fixture.clock.stamp)
    assert not await engine.idle()
    infra = Caller(name="infra", circle=None, strength="same-user")
    await ledger_fixture.ledger.mail.ack(infra, ask.id, "yes", now=ledger_fixture.clock.stamp)
    assert await engine.idle()

    request = await ledger_fixture.release()
    assert not await engine.idle()
    await engine.cancel(DOCS, request.id)
    assert await engine.idle()


async def test_progress_says_what_a_parked_request_waits_for(ledger_fixture, engine):
    request = await ledger_fixture.awaits()
    assert engine.progress(request.id) == ""

    await engine._scheduler.look()

    assert "waits for an approval until 2026-11-23T10:10:00" in engine.progress(request.id)
    assert engine.health()["parked"] == 1
