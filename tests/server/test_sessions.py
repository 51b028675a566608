"""Sessions of the older era and open calls over HTTP: each principal has a share, and none has all."""

from __future__ import annotations

import subprocess
import time
from contextlib import asynccontextmanager

import anyio
import httpx2
import pytest
from hosts import OPENING
from running_server import POLICY, running_server
from server_process import start_server

from infra_mcp.cli.client import connect
from infra_mcp.settings import Settings

pytestmark = pytest.mark.anyio

ACCEPT = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
START = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": OPENING}
MOST = 250  # sessions of one principal: more than any client has, and a small part of all there may be
WHOAMI = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "whoami", "arguments": {}}}


def bearer(token) -> dict[str, str]:
    return ACCEPT | {"Authorization": f"Bearer {token}"}


async def opened(client, url, token, many) -> list[str]:
    """Sessions of one peer, as far as the server opens them, oldest first."""
    found = []
    for _ in range(many):
        answer = await client.post(url, json=START, headers=bearer(token))
        if answer.status_code == 200:
            found.append(answer.headers["mcp-session-id"])
    return found


async def lives(client, url, token, session) -> bool:
    headers = bearer(token) | {"MCP-Protocol-Version": "2025-06-18", "Mcp-Session-Id": session}
    answer = await client.post(url, json=WHOAMI, headers=headers)
    return answer.status_code == 200


@asynccontextmanager
async def web(tmp_path):
    async with running_server(tmp_path) as at, httpx2.AsyncClient(timeout=30) as client:
        yield at, client


@pytest.mark.fault("f34")
async def test_a_peer_that_opens_sessions_without_end_loses_its_own_oldest_ones(tmp_path):
    async with web(tmp_path) as (at, client):
        first = (await opened(client, at.url, at.tokens["shop"], 1))[0]
        many = await opened(client, at.url, at.tokens["docs"], MOST + 50)
        alive = [one for one in many if await lives(client, at.url, at.tokens["docs"], one)]

        assert len(alive) <= MOST
        assert await lives(client, at.url, at.tokens["shop"], first)
        assert await opened(client, at.url, at.tokens["shop"], 1)
        assert many[-1] in alive


@pytest.mark.fault("f34")
async def test_a_peer_with_too_many_calls_is_refused_and_no_other_peer_waits(tmp_path, monkeypatch):
    # The clients are in this process, and may take their time to send what they have begun.
    monkeypatch.setattr("infra_mcp.server.connections.HEAD_SECONDS", 120.0)
    async with running_server(tmp_path, held=True) as at:
        limits = httpx2.Limits(max_connections=2_000)
        statuses = []

        async def call(client, name):
            params = {"name": "deploy", "arguments": {"app": "docs", "version": "1.0", "wait_seconds": 20}}
            headers = bearer(at.tokens[name]) | {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call"}
            meta = {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            }
            frame = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params | {"_meta": meta}}
            answer = await client.post(at.url, json=frame, headers=headers | {"Mcp-Name": "deploy"})
            statuses.append(answer.status_code)
            if answer.status_code != 200:
                refused.set()

        refused = anyio.Event()
        async with httpx2.AsyncClient(timeout=60, limits=limits) as client, anyio.create_task_group() as group:
            for _ in range(MOST + 50):
                group.start_soon(call, client, "docs")
            with anyio.fail_after(30):
                await refused.wait()
            async with at.http("shop") as other:
                assert (await other.call_tool("whoami", {})).is_error is False
            at.engine.gate.set()

        assert statuses.count(503) + statuses.count(429) >= 50


@pytest.mark.process
@pytest.mark.fault("f34")
def test_with_as_many_sessions_as_there_may_be_a_stop_is_quick(tmp_path):
    subprocess.run(["git", "init", "-q", "-b", "main", tmp_path / "repo"], check=True)
    (tmp_path / "repo" / "infra.toml").write_text(POLICY, encoding="utf-8")
    settings = Settings(repo=tmp_path / "repo", state_dir=tmp_path / "state", kubeconfig=tmp_path / "none")
    with start_server(settings) as server:
        with connect(settings, None) as client:
            token = client.method("operator/peer.add", {"name": "docs", "circle": "docs"})["token"]
        with httpx2.Client(timeout=30) as web:
            for _ in range(1_000):
                assert web.post(server.url, json=START, headers=bearer(token)).status_code in {200, 429, 503}
        began = time.process_time()
        server.terminate()

        assert server.wait(30) == 0
        assert time.process_time() >= began
