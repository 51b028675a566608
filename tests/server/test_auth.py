"""A token counts when an answer leaves, not only when its call begins."""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest
from running_server import running_server

from infra_mcp.mesh.asks import ack, ask
from infra_mcp.mesh.notify import send
from infra_mcp.model.peer import Caller
from infra_mcp.server.operator import OPERATOR

pytestmark = pytest.mark.anyio

DOCS = Caller(name="docs", circle="docs", strength="token")
SHOP = Caller(name="shop", circle="shop", strength="token")
SECRET = "the word that only docs may read"
WAYS = ("unix", "http")


async def until_waiting(at) -> None:
    """Return once a call waits for something."""
    with anyio.fail_after(30):
        while not any(name.startswith(("ask-", "inbox", "req-")) for name in at.engine.signals._waiting):  # noqa: ASYNC110 - what it waits for is not told
            await anyio.sleep(0.001)


async def revoke(at, method: str) -> None:
    """Take docs' token away."""
    await at.operator.call(OPERATOR, f"operator/peer.{method}", {"name": "docs"})


@pytest.mark.fault("f27")
@pytest.mark.parametrize("method", ["token", "remove"])
@pytest.mark.parametrize("tool", ["wait_on_ack", "inbox"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_wait_of_a_revoked_token_ends_at_once_and_receives_nothing(tmp_path, way, tool, method):
    async with running_server(tmp_path, "unix" if way == "unix" else "both") as at:
        asked = await ask(at.engine, DOCS, "shop", "which word?")
        given = {"correlation_id": asked, "timeout_seconds": 60} if tool == "wait_on_ack" else {"wait_seconds": 60}
        answers = []

        async def wait() -> None:
            with suppress(Exception):  # a client whose token ended may see its connection end
                async with getattr(at, way)("docs") as client:
                    await client.list_tools()
                    answers.append(await client.call_tool(tool, given))

        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                await until_waiting(at)
                await revoke(at, method)
                with suppress(Exception):  # closed by the removal
                    await ack(at.engine, SHOP, asked, SECRET)
                with suppress(Exception):  # nobody of that name any more
                    await send(at.engine, SHOP, "docs", SECRET, circle="docs")

        assert [answer.structured_content["code"] for answer in answers] == ["unauthenticated"]
        assert SECRET not in str(answers)


@pytest.mark.fault("f27")
@pytest.mark.parametrize("way", WAYS)
async def test_a_waiting_change_whose_token_is_revoked_gives_its_caller_no_answer(tmp_path, way):
    async with running_server(tmp_path, "unix" if way == "unix" else "both", held=True) as at:
        answers = []

        async def change() -> None:
            async with getattr(at, way)("docs") as client:
                await client.list_tools()  # or the client asks for it after the answer, which it may not any more
                answers.append(await client.call_tool("deploy", {"app": "docs", "version": "1"}))

        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(change)
                await at.engine.asked.wait()
                await revoke(at, "token")
                at.engine.gate.set()

        assert [answer.structured_content["code"] for answer in answers] == ["unauthenticated"]
