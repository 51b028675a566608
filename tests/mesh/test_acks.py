"""An ack: once, by whom it was asked, and whoever waits for it wakes at once."""

from __future__ import annotations

import anyio
import pytest
from running_server import running_server

from infra_mcp.errors import InfraError
from infra_mcp.mesh.asks import ack, ask
from infra_mcp.model.peer import Address, Caller

pytestmark = pytest.mark.anyio

DOCS = Caller(name="docs", circle="docs", strength="token")
SHOP = Caller(name="shop", circle="shop", strength="token")
NAMESAKE = Caller(name="shop", circle="docs", strength="token")
READER = Caller(name="reader", circle="readers", strength="token")
OPERATOR = Caller(name="operator", circle=None, strength="same-user", operator=True)
AT_ONCE = 5.0  # seconds; the wait itself is far longer


async def asked(at) -> str:
    return await ask(at.engine, DOCS, "shop", "ready?", circle="shop")


@pytest.mark.promise("mesh.tools")
@pytest.mark.parametrize("reply", ["yes", None, "in return"])
async def test_whoever_waits_wakes_at_once_and_never_before(tmp_path, reply):
    async with running_server(tmp_path, "unix") as at:
        ask_id = await asked(at)
        found = []

        async def wait() -> None:
            found.append(await at.engine.wait_ask(ask_id, 600))

        with anyio.fail_after(AT_ONCE):
            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                await anyio.wait_all_tasks_blocked()
                assert found == []
                if reply == "in return":
                    await ask(at.engine, SHOP, "docs", reply, reply_to=ask_id)
                else:
                    await ack(at.engine, SHOP, ask_id, reply)
        assert (found[0].state, found[0].reply) == ("acked", reply)


async def test_the_askers_inbox_wakes_too(tmp_path):
    async with running_server(tmp_path, "unix") as at:
        ask_id = await asked(at)
        with at.engine.signals.waiter(Address(name="docs", circle="docs").signal) as told:
            await ack(at.engine, SHOP, ask_id, "yes")
            assert told.is_set()


@pytest.mark.promise("mesh.tools")
async def test_the_same_ack_again_is_the_same_and_another_is_refused(tmp_path):
    async with running_server(tmp_path, "unix") as at:
        ask_id = await asked(at)
        first = await ack(at.engine, SHOP, ask_id, "yes", attachments=[{"a": 1}])
        again = await ack(at.engine, SHOP, ask_id, "yes", attachments=[{"a": 1}])
        bare = await ack(at.engine, SHOP, ask_id)
        with pytest.raises(InfraError) as caught:
            await ack(at.engine, SHOP, ask_id, "no")

        assert first == again == bare
        assert caught.value.code == "already-acked"
        assert (await at.engine.ledger.ask(ask_id)).reply == "yes"
        assert (await at.engine.ledger.search("acked", circle=None)).total == 1


@pytest.mark.promise("mesh.tools")
@pytest.mark.parametrize("caller", [DOCS, READER, NAMESAKE, OPERATOR], ids=["asker", "other", "namesake", "operator"])
async def test_nobody_acks_what_was_asked_of_another(tmp_path, caller):
    async with running_server(tmp_path, "unix") as at:
        await at.engine.ledger.add_peer("shop", "docs")
        ask_id = await asked(at)
        told = set()
        for one in (ask_id, "ask-000000000000"):
            with pytest.raises(InfraError) as caught:
                await ack(at.engine, caller, one, "yes")
            told.add(str(caught.value))

        assert len(told) == 1
        assert caught.value.code == "not-found"
        assert (await at.engine.ledger.ask(ask_id)).state == "open"


@pytest.mark.parametrize("text", ["ü" * 40_000, "a\x00b", "\ud800"])
async def test_a_reply_too_long_or_with_control_characters_is_refused(tmp_path, text):
    async with running_server(tmp_path, "unix") as at:
        ask_id = await asked(at)
        with pytest.raises(InfraError, match="message"):
            await ack(at.engine, SHOP, ask_id, text)
        assert (await at.engine.ledger.ask(ask_id)).state == "open"


@pytest.mark.promise("secrets.nowhere")
async def test_a_secret_in_words_between_peers_is_masked(tmp_path):
    secret = "ghp_" + "Zb9" * 12
    async with running_server(tmp_path, "unix") as at:
        ask_id = await ask(at.engine, DOCS, "shop", f"use {secret}", attachments=[{"token": secret}])
        await ack(at.engine, SHOP, ask_id, f"used {secret}", attachments=[{"token": secret}])
        found = await at.engine.ledger.ask(ask_id)
        assert secret not in str(found)
