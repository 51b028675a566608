"""The texts of old messages are deleted when the policy's time for them is over, and no earlier."""

import anyio
import pytest
from engine.ledger_fixture import DOCS

from infra_mcp.engine import Engine
from infra_mcp.engine.retention import purge
from infra_mcp.ledger import Ledger
from infra_mcp.model.peer import Address
from infra_mcp.policy.acceptance import PolicyInForce
from infra_mcp.settings import Settings

pytestmark = pytest.mark.anyio

SHOP = Address(name="shop", circle="shop")


async def read_message(ledger_fixture, text="the words"):
    """A message to shop that shop has marked as read, now."""
    sent = await ledger_fixture.ledger.mail.post(DOCS, [SHOP], text, now=ledger_fixture.clock.stamp)
    await ledger_fixture.ledger.mail.mark_read(SHOP, [sent], now=ledger_fixture.clock.stamp)
    return sent


async def words(ledger_fixture, sent):
    found = await ledger_fixture.ledger.mail.message(SHOP, sent)
    return found.text


async def _purged(ledger_fixture):
    return await purge(ledger_fixture.ledger, ledger_fixture.policy, ledger_fixture.clock())


async def test_what_was_read_keeps_its_words_as_long_as_policy_says(ledger_fixture):
    await ledger_fixture.rule('[messages]\nkeep = "2d"\n')
    sent = await read_message(ledger_fixture)
    ledger_fixture.clock.forward(hours=47)
    assert await _purged(ledger_fixture) == 0
    assert await words(ledger_fixture, sent) == "the words"
    ledger_fixture.clock.forward(hours=2)
    assert await _purged(ledger_fixture) == 1
    assert await words(ledger_fixture, sent) == ""


async def test_without_a_policy_in_force_nothing_is_taken(ledger_fixture, tmp_path):
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

    monkeypatch.setattr("infra_mcp.engine.retention._FIRST", 0)
    monkeypatch.setattr("infra_mcp.engine.retention.purge", noted)
    settings = Settings(repo=tmp_path, state_dir=tmp_path / "state", kubeconfig=tmp_path / "none")
    async with Engine.open(settings):
        with anyio.fail_after(10):
            await purged.wait()
