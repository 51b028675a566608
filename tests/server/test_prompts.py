"""Prompts say how to ask and how to attend, each to whom it is of use, and take nothing in."""

from __future__ import annotations

import pytest
from mcp.shared.exceptions import MCPError
from running_server import running_server

from infra_mcp.mesh.intent import Understood, parse
from infra_mcp.server.tools import TOOLS

pytestmark = pytest.mark.anyio

MODES = pytest.mark.parametrize("mode", ["auto", "legacy"])


async def words(client, name):
    return (await client.get_prompt(name)).messages[0].content.text


@MODES
@pytest.mark.promise("mcp.both-eras")
async def test_the_prompt_to_ask_is_for_everyone_and_lists_what_the_caller_may_ask(tmp_path, mode):
    async with running_server(tmp_path) as at:
        for channel in ("http", "unix"):
            async with getattr(at, channel)("docs", mode) as client:
                listed = [prompt.name for prompt in (await client.list_prompts()).prompts]
                text = await words(client, "ask_infra")

            assert listed == ["ask_infra"]
            example = next(line.strip() for line in text.splitlines() if line.strip().startswith("I need a namespace"))
            assert isinstance(parse(example), Understood)
            assert '"action": "deploy"' in text
        async with at.unix("shop", mode) as client:
            assert '"action": "deploy"' not in await words(client, "ask_infra")


@MODES
async def test_the_prompt_to_attend_is_for_attending_sessions_and_names_existing_tools(tmp_path, mode):
    async with running_server(tmp_path, "unix") as at:
        async with at.attending(mode) as client:
            listed = [prompt.name for prompt in (await client.list_prompts()).prompts]
            text = await words(client, "attend")
        async with at.unix("docs", mode) as client:
            with pytest.raises(MCPError, match="not-found"):
                await client.get_prompt("attend")

    assert listed == ["ask_infra", "attend"]
    for tool in ("inbox", "ack", "approve"):
        assert tool in TOOLS
        assert f"{tool}(" in text
    assert "{" not in text


@MODES
@pytest.mark.promise("mcp.errors")
@pytest.mark.promise("secrets.nowhere")
async def test_another_prompt_or_an_argument_is_refused_and_not_repeated(tmp_path, mode):
    async with running_server(tmp_path, "unix") as at, at.unix("docs", mode) as client:
        for name, arguments in (("hunter2", None), ("ask_infra", {"hunter2": "hunter2"})):
            with pytest.raises(MCPError) as caught:
                await client.get_prompt(name, arguments)
            assert caught.value.error.code == -32602
            assert caught.value.error.data["next"]
            assert "hunter2" not in caught.value.error.message + str(caught.value.error.data)
