"""What each caller is offered: its own tools, always in the same order, small, in both eras and over both channels."""

from __future__ import annotations

import json
import re
from contextlib import asynccontextmanager
from functools import partial
from typing import ClassVar, Literal

import anyio
import anyio.to_thread
import httpx2
import pytest
from hosts import repository
from mcp.client.client import Client
from running_server import POLICY, running_server, unix_transport
from server_process import start_server

from infra_mcp.model.actions import ACTIONS
from infra_mcp.server.app import listed
from infra_mcp.server.prompts import INSTRUCTIONS
from infra_mcp.server.tools import TOOLS, TOOLSETS, change, control, mesh
from infra_mcp.settings import Settings

pytestmark = pytest.mark.anyio

MODES = pytest.mark.parametrize("mode", ["auto", "legacy"])
ATTEND = '\n[attend]\nnamespaces = ["docs-*"]\nactions = ["deploy"]\n'
CHANGE = {"deploy", "configure", "provision_namespace", "rollback", "change", "describe"}
READING = {"list_peers", "whoami", "get_request", "search_audit", "status", "apps"}
EXPECTED = {
    "docs": set(TOOLS) - {"approve"} - CHANGE | {"deploy", "provision_namespace"},
    "shop": set(TOOLS) - {"approve"} - CHANGE | {"provision_namespace"},
    "reader": set(TOOLS) - {"approve"} - CHANGE,
    "operator": set(TOOLS) - CHANGE,
    "attending": set(TOOLS) - CHANGE | {"deploy"},
    "host": READING,
}


@asynccontextmanager
async def client_of(at, who, mode):
    hello = {"attending": {"attend": "infra"}, "host": {"host": True}, "operator": None}
    first = hello[who] if who in hello else {"token": at.tokens[who]}
    async with Client(unix_transport(at.socket, first), mode=mode, cache=None) as client:
        yield client


@MODES
@pytest.mark.promise("mcp.both-eras")
async def test_a_caller_is_offered_what_it_may_use_and_always_in_the_same_order(tmp_path, mode):
    async with running_server(tmp_path, "unix", policy=POLICY + ATTEND) as at:
        for who, expected in EXPECTED.items():
            async with client_of(at, who, mode) as client:
                listed, again = [[tool.name for tool in (await client.list_tools()).tools] for _ in range(2)]

            assert set(listed) == expected, who
            assert listed == again == [name for name in TOOLS if name in expected]


@MODES
@pytest.mark.promise("auth.transport")
async def test_a_host_without_a_token_may_look_and_nothing_else_whatever_it_calls(tmp_path, mode):
    async with running_server(tmp_path, "unix") as at, client_of(at, "host", mode) as client:
        for name in TOOLS:
            result = await client.call_tool(name, {})
            refused = result.is_error and result.structured_content.get("rule") == "reader"
            assert refused == (name not in READING), name
        found = await client.call_tool("search_audit", {})

        assert found.structured_content["total"] > 0
        assert at.engine.submitted == []


@pytest.mark.parametrize(("toolset", "gone"), [("mesh", change.TOOLS), ("change", mesh.TOOLS)], ids=["mesh", "change"])
async def test_a_server_for_some_tools_offers_and_accepts_no_others(tmp_path, toolset, gone):
    async with running_server(tmp_path, "unix") as at:
        at.service.toolset = toolset
        async with at.unix("docs") as client:
            listed = {tool.name for tool in (await client.list_tools()).tools}
            for tool in gone:
                result = await client.call_tool(tool.name, {})
                assert result.structured_content["code"] == "not-found"

        assert listed == TOOLSETS[toolset] - {"approve", "configure", "rollback", "change", "describe"}
        assert listed.isdisjoint(tool.name for tool in gone)
        assert {"get_request", "cancel", "search_audit", "status"} <= listed
        assert at.engine.submitted == []
        for tool in gone:
            assert not re.search(rf"\b{tool.name}\(", INSTRUCTIONS[toolset])


@pytest.mark.promise("mcp.small")
async def test_the_longest_list_of_tools_stays_below_20_kb_on_the_wire(tmp_path, capsys):
    """Every tool there is, as an attending session gets it by the socket and as it goes over HTTP."""
    every = ATTEND.replace('["deploy"]', json.dumps([*ACTIONS]))
    unseen = set() if any(not model.listed for model in ACTIONS.values()) else {"change", "describe"}
    sizes = {}
    async with running_server(tmp_path, policy=POLICY + every) as at:
        frames = [
            {"id": "hello", "method": "infra/hello", "params": {"attend": "infra"}},
            {
                "id": 1,
                "method": "initialize",
                "params": {
                    "protocolVersion": "2025-06-18",
                    "capabilities": {},
                    "clientInfo": {"name": "test", "version": "1"},
                },
            },
            {"method": "notifications/initialized"},
            {"id": 2, "method": "tools/list"},
        ]
        async with await anyio.connect_unix(at.socket) as stream:
            for frame in frames:
                await stream.send(json.dumps({"jsonrpc": "2.0", **frame}).encode() + b"\n")
            received = b""
            with anyio.fail_after(30):
                while received.count(b"\n") < 3:
                    received += await stream.receive()
        answer = received.splitlines()[2]
        assert [tool["name"] for tool in json.loads(answer)["result"]["tools"]] == [
            name for name in TOOLS if name not in unseen
        ]
        sizes["all tools, socket, 2025"] = len(answer)
        async with httpx2.AsyncClient() as web:
            meta = {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            }
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}}
            headers = {
                "Authorization": f"Bearer {at.tokens['docs']}",
                "Accept": "application/json, text/event-stream",
                "MCP-Protocol-Version": "2026-07-28",
                "Mcp-Method": "tools/list",
            }
            got = await web.post(at.url, json=body, headers=headers)
            assert got.status_code == 200, got.text
            sizes["a peer's, HTTP, 2026"] = len(got.content)
    with capsys.disabled():
        print(f"tools/list, bytes: {sizes}")  # noqa: T201 - the size is worth seeing

    assert all(0 < size < 20_000 for size in sizes.values())


def more_actions(count, *, listed):
    """Models of actions that are not there, each with as much to say as those that are."""
    like = ACTIONS["deploy"]
    return {
        f"action_{number}": type(
            f"Action{number}",
            (like,),
            {
                "__annotations__": {"action": Literal[f"action_{number}"], "listed": ClassVar[bool]},
                "__module__": __name__,
                "action": f"action_{number}",
                "listed": listed,
            },
        )
        for number in range(count)
    }


def size_with(more):
    """Bytes of the list for a caller who is granted everything, operators' tools among it, with more actions."""
    tools = [*mesh.TOOLS, *change.tools(ACTIONS | more), *control.TOOLS]
    shown = [listed(tool).model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools]
    granted = {*ACTIONS, *more}
    assert all(tool.actions is None or tool.actions & granted for tool in tools)
    return len(json.dumps({"tools": shown}).encode())


@pytest.mark.promise("mcp.small")
async def test_ten_more_actions_leave_the_list_of_tools_below_20_kb():
    ten = more_actions(10, listed=False)

    assert size_with(ten) == size_with(dict(list(ten.items())[:1])) < 20_000
    assert size_with(more_actions(10, listed=True) | more_actions(1, listed=False)) > 20_000, "the way it is not done"


async def test_lists_have_a_cache_time_and_no_change_notifications(tmp_path):
    async with running_server(tmp_path, "unix") as at:
        async with at.unix("docs") as client:
            tools = await client.list_tools()
            prompts = await client.list_prompts()
            templates = await client.list_resource_templates()
        for mode in ("auto", "legacy"):
            async with at.unix("docs", mode) as client:
                able = client.server_capabilities
                assert not able.tools.list_changed
                assert not able.resources.list_changed
                assert not able.prompts.list_changed

    assert (tools.ttl_ms, tools.cache_scope) == (30_000, "private")
    assert (prompts.ttl_ms, prompts.cache_scope) == (30_000, "private")
    assert (templates.ttl_ms, templates.cache_scope) == (3_600_000, "public")


@pytest.mark.process
async def test_a_server_started_for_changes_alone_offers_no_mesh(tmp_path):
    """As `serve --tools change` starts it: a process of its own."""
    settings = Settings(repo=tmp_path / "repo", state_dir=tmp_path / "state", kubeconfig=tmp_path / "none")
    repository(settings.repo)
    with await anyio.to_thread.run_sync(partial(start_server, settings, toolset="change")) as server:
        async with Client(unix_transport(server.socket, None), cache=None) as client:
            listed = [tool.name for tool in (await client.list_tools()).tools]
            told = client.instructions
        await anyio.to_thread.run_sync(server.stop)

    assert listed == [tool.name for tool in control.TOOLS]
    assert told == INSTRUCTIONS["change"]
