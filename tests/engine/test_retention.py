"""Words that are done with go when policy's time for them is over, and no earlier."""

import anyio
import pytest
from engine.shelf import DOCS

from infra_mcp.engine import Engine
from infra_mcp.engine.retention import Retention
from infra_mcp.ledger import Ledger
from infra_mcp.model.peer import Address
from infra_mcp.policy.acceptance import PolicyInForce
from infra_mcp.settings import Settings

pytestmark = pytest.mark.anyio

SHOP = Address(name="shop", circle="shop")


async def read_message(shelf, text="the words"):
    """A message to shop that shop has marked as read, now."""
    sent = await shelf.ledger.mail.post(DOCS, [SHOP], text, now=shelf.clock.stamp)
    await shelf.ledger.mail.mark_read(SHOP, [sent], now=shelf.clock.stamp)
    return sent


async def words(shelf, sent):
    found = await shelf.ledger.mail.message(SHOP, sent)
    return found.text


async def test_what_was_read_keeps_its_words_as_long_as_policy_says(shelf):
    await shelf.rule('[messages]\nkeep = "2d"\n')
    retention = Retention(shelf.ledger, shelf.policy, shelf.clock)
    sent = await read_message(shelf)
    shelf.clock.forward(hours=47)
    assert await retention.look() == 0
    assert await words(shelf, sent) == "the words"
    shelf.clock.forward(hours=2)
    assert await retention.look() == 1
    assert await words(shelf, sent) == ""


async def test_without_a_policy_in_force_nothing_is_taken(shelf, tmp_path):
    sent = await read_message(shelf)
    shelf.clock.forward(days=400)
    bare = await Ledger.open_in(tmp_path / "bare")
    nothing = PolicyInForce(tmp_path / "none.toml", bare)
    assert await Retention(shelf.ledger, nothing, shelf.clock).look() == 0
    assert await words(shelf, sent) == "the words"
    await bare.aclose()


async def test_a_shorter_time_counts_from_the_moment_it_is_in_force(shelf):
    retention = Retention(shelf.ledger, shelf.policy, shelf.clock)
    sent = await read_message(shelf)
    shelf.clock.forward(days=3)
    assert await retention.look() == 0
    await shelf.rule('[messages]\nkeep = "2d"\n')
    assert await retention.look() == 1
    assert await words(shelf, sent) == ""


async def test_a_running_engine_looks_by_itself(tmp_path, monkeypatch):
    looked = anyio.Event()

    async def look(self):  # noqa: ARG001 - in place of the method
        looked.set()
        return 0

    monkeypatch.setattr("infra_mcp.engine.retention._FIRST", 0)
    monkeypatch.setattr(Retention, "look", look)
    settings = Settings(repo=tmp_path, state_dir=tmp_path / "state", kubeconfig=tmp_path / "none")
    async with Engine.open(settings):
        with anyio.fail_after(10):
            await looked.wait()
