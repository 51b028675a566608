"""The HTTP channel: loopback only, nothing repeated, nothing held open at a stop."""

from __future__ import annotations

import socket

import anyio
import httpx2
import pytest
from running_server import running_server

from infra_mcp.errors import InfraError
from infra_mcp.server import http

MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", "", "127.0.0.1\n"])
def test_another_host_than_loopback_is_refused(host):
    with pytest.raises(InfraError) as caught:
        http.open_listener(host, 0)
    assert caught.value.code == "invalid-argument"


@pytest.mark.parametrize("port", [-1, 65_536, 1 << 40])
def test_a_number_that_is_no_port_is_refused(port):
    with pytest.raises(InfraError):
        http.open_listener(http.LOOPBACK, port)


def test_a_port_that_is_taken_is_refused_by_number():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InfraError, match=str(port)) as caught:
            http.open_listener(http.LOOPBACK, port)
        assert caught.value.code == "setup-failed"


@pytest.mark.anyio
async def test_healthz_shows_that_calls_are_accepted_and_readyz_what_a_change_lacks(tmp_path):
    async with running_server(tmp_path) as at, httpx2.AsyncClient() as web:

        async def ask(path):
            answer = await web.get(at.url.replace("/mcp", path))
            return answer.status_code, answer.json()

        assert await ask("/healthz") == (200, {"ok": True})
        assert await ask("/readyz") == (200, {"ready": True, "missing": []})

        async def missing():
            return ["cluster", "disk"]

        at.engine.missing = missing
        assert await ask("/readyz") == (503, {"ready": False, "missing": ["cluster", "disk"]})


@pytest.mark.anyio
async def test_without_a_policy_in_force_nothing_is_ready(tmp_path):
    async with running_server(tmp_path, policy=None) as at, httpx2.AsyncClient() as web:
        answer = await web.get(at.url.replace("/mcp", "/readyz"))

        assert (answer.status_code, answer.json()["missing"]) == (503, ["policy"])


@pytest.mark.anyio
@pytest.mark.promise("secrets.nowhere")
@pytest.mark.parametrize(
    "body",
    [
        b'{"jsonrpc":"2.0","id":"1","method":["hunter2"]}',
        b'{"hunter2":1}',
        b'{"jsonrpc":"2.0","method":"tools/call","id":1,"params":"hunter2"}',
        b'["hunter2"]',
        b'"hunter2"',
        b"hunter2",
    ],
)
async def test_a_body_that_is_no_message_is_not_repeated(tmp_path, body, caplog):
    async with running_server(tmp_path) as at, httpx2.AsyncClient() as web:
        for version in ({}, {"MCP-Protocol-Version": "2026-07-28"}):
            headers = {
                "Authorization": f"Bearer {at.tokens['docs']}",
                "Accept": "application/json, text/event-stream",
                "Content-Type": "application/json",
                **version,
            }
            answer = await web.post(at.url, content=body, headers=headers)

            assert 400 <= answer.status_code < 500
            assert "hunter2" not in answer.text
        assert "hunter2" not in caplog.text


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_stop_answers_waits_and_ends_listeners_within_two_seconds(tmp_path, mode):
    answers = []
    try:
        async with running_server(tmp_path, held=True) as at, at.http("docs", mode) as client:

            async def wait() -> None:
                answers.append(await client.call_tool("deploy", {"app": "docs", "version": "1", "wait_seconds": 600}))
                done.set()

            await client.list_tools()  # the client would ask for it after the answer, when nobody is there any more
            done = anyio.Event()
            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                with anyio.fail_after(30):
                    await at.engine.asked.wait()
                at.service.stopping.set()
                with anyio.fail_after(30):
                    await done.wait()
    except* httpx2.ConnectError:
        pass  # the client's own farewell may meet a server that is gone already

    assert answers[0].structured_content["exit"] == 6
    assert not answers[0].is_error
