"""Connections: half-sent requests use up only their own places, on both channels; and how connections are counted."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess

import anyio
import httpx2
import pytest
from running_server import POLICY, running_server
from sandbox_scripts import few_descriptors
from server_process import start_server

from infra_mcp.cli.client import connect
from infra_mcp.errors import InfraError
from infra_mcp.policy.policy import digest_of
from infra_mcp.server import process
from infra_mcp.server.connections import ConnectionCounter
from infra_mcp.settings import Settings

HEAD = "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
# What a stranger may begin and not end.
BEGINNINGS = {
    "nothing": b"",
    "half a line": b"POST /mc",
    "half a head": HEAD.encode(),
    "half a body": f"{HEAD}Content-Length: 500\r\n\r\n{{".encode(),
    "half a chunk": f"{HEAD}Transfer-Encoding: chunked\r\n\r\nffff\r\n{{".encode(),
    "answers not taken": b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 500,
    "an upgrade": f"{HEAD}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n".encode(),
}


@pytest.fixture
def settings(tmp_path) -> Settings:
    """A repository with a policy file and no cluster."""
    subprocess.run(["git", "init", "-q", "-b", "main", tmp_path / "repo"], check=True)
    (tmp_path / "repo" / "infra.toml").write_text(POLICY, encoding="utf-8")
    return Settings(repo=tmp_path / "repo", state_dir=tmp_path / "state", kubeconfig=tmp_path / "none")


def address(url: str) -> tuple[str, int]:
    return "127.0.0.1", int(url.split(":")[2].split("/", maxsplit=1)[0])


def begun(kind: int, where: object, beginning: bytes) -> socket.socket:
    """A connection on which that much was sent; the server may end it at any time."""
    one = socket.socket(kind, socket.SOCK_STREAM)
    one.settimeout(5)
    with contextlib.suppress(OSError):
        one.connect(where)
        one.sendall(beginning)
    return one


def works(settings: Settings, url: str) -> None:
    """Both channels answer, the ledger is read and written, and git can be started."""
    with connect(settings, None) as client:
        token = client.method("operator/peer.add", {"name": "late", "circle": "docs"})["token"]
        assert "late" in json.dumps(client.method("operator/peer.list", {}))
        assert client.method("operator/policy.accept", {"digest": digest_of(POLICY)})
    with httpx2.Client(timeout=10) as web:
        assert web.get(url.replace("/mcp", "/healthz")).json() == {"ok": True}
        whoami = {"name": "whoami", "arguments": {}, "_meta": MODERN}
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
        headers |= {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "whoami"}
        frame = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": whoami}
        assert web.post(url, json=frame, headers=headers).status_code == 200


MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


@pytest.mark.process
@pytest.mark.fault("f25")
@pytest.mark.parametrize("kinds", [[*BEGINNINGS], *(pytest.param([one], marks=pytest.mark.slow) for one in BEGINNINGS)])
def test_more_half_sent_requests_than_there_are_descriptors_leave_the_server_working(settings, kinds):
    with start_server(settings, setup=few_descriptors) as server, contextlib.ExitStack() as held:
        for number in range(1_100):
            beginning = BEGINNINGS[kinds[number % len(kinds)]]
            held.enter_context(begun(socket.AF_INET, address(server.url), beginning))

        works(settings, server.url)
        assert server.log.stat().st_size < 50_000


@pytest.mark.process
@pytest.mark.fault("f25")
@pytest.mark.parametrize(
    "beginning", [b"", b'{"jsonrpc": "2.0", "id": 1, "meth', b'{"jsonrpc": "2.0", "method": "ping"}\n']
)
def test_more_connections_to_the_socket_than_there_are_descriptors_leave_the_server_working(settings, beginning):
    with start_server(settings, setup=few_descriptors) as server, contextlib.ExitStack() as held:
        for _ in range(1_100):
            held.enter_context(begun(socket.AF_UNIX, str(server.socket), beginning))

        works(settings, server.url)
        assert server.log.stat().st_size < 50_000


async def ended(stream, *, trickle: bytes = b"") -> bytes:
    """What the server says until it ends the connection, while that is sent byte by byte."""
    answer = b""
    with anyio.fail_after(30):
        try:
            for position in range(1_000_000):
                if trickle:
                    await stream.send(trickle[position % len(trickle) :][:1])
                with anyio.move_on_after(0.02 if trickle else 30):
                    answer += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return answer
    raise AssertionError


@pytest.mark.anyio
@pytest.mark.fault("f25")
@pytest.mark.parametrize(
    ("before", "trickle"),
    [
        (b"", b""),
        (b"", HEAD.encode()),
        (HEAD.encode(), b"X-More: x\r\n"),
        (HEAD.encode() + b"Content-Length: 500000\r\n\r\n", b"x"),
        (b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"GET /he"),
        (HEAD.encode() + b"Content-Length: 500000\r\n\r\n", b""),
    ],
)
async def test_a_head_has_to_come_in_time_however_it_comes(tmp_path, monkeypatch, before, trickle):
    monkeypatch.setattr("infra_mcp.server.connections.HEAD_SECONDS", 0.3)
    async with running_server(tmp_path) as at, await anyio.connect_tcp(*address(at.url)) as stream:
        await stream.send(before)
        await ended(stream, trickle=trickle)


@pytest.mark.anyio
@pytest.mark.fault("f25")
@pytest.mark.parametrize(("before", "trickle"), [(b"", b""), (b"", b" "), (b'{"method": "infra/hello"}\n{', b" ")])
async def test_a_line_of_the_socket_has_to_come_in_time(tmp_path, monkeypatch, before, trickle):
    monkeypatch.setattr("infra_mcp.server.connections.HEAD_SECONDS", 0.3)
    async with running_server(tmp_path) as at, await anyio.connect_unix(at.socket) as stream:
        await stream.send(before)
        await ended(stream, trickle=trickle)


@pytest.mark.anyio
@pytest.mark.fault("f25")
async def test_a_session_on_the_socket_may_be_silent_between_its_lines(tmp_path, monkeypatch):
    monkeypatch.setattr("infra_mcp.server.connections.HEAD_SECONDS", 0.2)
    async with running_server(tmp_path) as at, at.unix("docs") as client, await anyio.connect_unix(at.socket) as idle:
        await ended(idle)  # that one said nothing at all: by its end the other one was silent for longer
        assert (await client.call_tool("whoami", {})).is_error is False


@pytest.mark.anyio
async def test_the_count_is_zero_only_after_the_last_visit_ends():
    counter, alone = ConnectionCounter(), anyio.Event()

    async def wait():
        await counter.absent(0)
        alone.set()

    async with anyio.create_task_group() as group:
        with counter.visit():
            with counter.visit():
                group.start_soon(wait)
                await anyio.wait_all_tasks_blocked()
            await anyio.wait_all_tasks_blocked()
            assert counter.present
            assert not alone.is_set()
        with anyio.fail_after(30):
            await alone.wait()
    assert not counter.present


@pytest.mark.anyio
async def test_a_visit_restarts_the_wait():
    counter, alone = ConnectionCounter(), anyio.Event()

    async def wait():
        await counter.absent(3600)
        alone.set()

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        with counter.visit():
            pass
        await anyio.wait_all_tasks_blocked()
        assert not alone.is_set()
        group.cancel_scope.cancel()


class Engine:
    """Says in turn whether nothing is left to do."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), 0

    async def idle(self):
        self.asked += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.promise("process.one-owner")
@pytest.mark.anyio
async def test_a_server_on_demand_stays_as_long_as_there_is_work_or_doubt(monkeypatch):
    monkeypatch.setattr(process, "_CHECK_EVERY", 0.0)
    engine, stopping = Engine(False, InfraError("ledger-unavailable", "It is full."), False, True), anyio.Event()
    with anyio.fail_after(30):
        await process._leave(engine, ConnectionCounter(), 0.0, stopping)

    assert stopping.is_set()
    assert engine.asked == 4


@pytest.mark.anyio
async def test_a_visit_during_the_check_keeps_the_server(monkeypatch):
    monkeypatch.setattr(process, "_CHECK_EVERY", 0.0)
    counter, stopping = ConnectionCounter(), anyio.Event()
    visit, came = counter.visit(), anyio.Event()

    class Slow(Engine):
        async def idle(self):
            if self.asked == 0:
                visit.__enter__()
                came.set()
            return await super().idle()

    engine = Slow(True, True)
    async with anyio.create_task_group() as group:
        group.start_soon(process._leave, engine, counter, 0.0, stopping)
        with anyio.fail_after(30):
            await came.wait()
        await anyio.wait_all_tasks_blocked()
        assert not stopping.is_set()
        visit.__exit__(None, None, None)
        with anyio.fail_after(30):
            await stopping.wait()
    assert engine.asked == 2
