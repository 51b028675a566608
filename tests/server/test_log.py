"""The log: printable, short and bounded, whoever writes into it, and without what would open a session."""

from __future__ import annotations

import contextlib
import logging
import socket
import subprocess
import sys

import httpx2
import pytest
from hosts import OPENING
from running_server import POLICY
from server_process import start_server

from infra_mcp.cli.client import connect
from infra_mcp.settings import Settings

BIDI = "\u202e\u2066"
ACCEPT = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


@pytest.fixture
def settings(tmp_path) -> Settings:
    """A repository with a policy file and no cluster."""
    subprocess.run(["git", "init", "-q", "-b", "main", tmp_path / "repo"], check=True)
    (tmp_path / "repo" / "infra.toml").write_text(POLICY, encoding="utf-8")
    return Settings(repo=tmp_path / "repo", state_dir=tmp_path / "state", kubeconfig=tmp_path / "none")


def added(settings: Settings, name: str) -> dict[str, str]:
    with connect(settings, None) as client:
        token = client.method("operator/peer.add", {"name": name, "circle": "docs"})["token"]
    return ACCEPT | {"Authorization": f"Bearer {token}"}


@pytest.mark.process
@pytest.mark.fault("f36")
@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "Origin",
        "Mcp-Session-Id",
        "Last-Event-Id",
        "Mcp-Protocol-Version",
    ],
)
def test_what_a_client_sends_in_a_header_cannot_fill_or_forge_the_log(settings, name):
    hostile = b"a\x1b[31m\x08\x9b" + BIDI.encode() + b"2026-01-01 INFO infra_mcp.server: stopped " + b"x" * 50_000
    with start_server(settings) as server:
        port = int(server.url.split(":")[2].split("/")[0])
        token = added(settings, "docs")["Authorization"].encode()
        host = b"" if name == "Host" else b"Host: 127.0.0.1:%d\r\n" % port
        head = b"POST /mcp HTTP/1.1\r\n" + host + name.encode() + b": " + hostile + b"\r\nAuthorization: " + token
        head += b"\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
        for _ in range(100):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as one:
                one.sendall(head + b"Content-Length: 2\r\nConnection: close\r\n\r\n{}")
                while one.recv(65_536):
                    pass
    log = server.log.read_bytes()

    text = log.decode()
    assert len(log) < 20_000
    assert all(line.isprintable() and len(line) <= 2_500 for line in text.splitlines())
    assert text.count("infra_mcp.server: stopped") <= 1 + text.count("header")
    assert not any(line.startswith("2026-01-01") for line in text.splitlines())


@pytest.mark.process
@pytest.mark.fault("f36")
def test_no_session_id_stands_in_the_log(settings):
    with start_server(settings) as server, httpx2.Client(timeout=10) as web:
        docs, other = added(settings, "docs"), added(settings, "other")
        start = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": OPENING}
        session = web.post(server.url, json=start, headers=docs).headers["mcp-session-id"]
        stolen = {"Mcp-Session-Id": session, "MCP-Protocol-Version": "2025-06-18"}

        assert web.post(server.url, json=start, headers=other | stolen).status_code == 404
    assert session not in server.log.read_text(encoding="utf-8")


@pytest.mark.fault("f36")
@pytest.mark.parametrize(
    "logger", ["mcp.server.transport_security", "uvicorn.error", "asyncio", "infra_mcp.x", "other"]
)
def test_every_record_is_one_printable_line_also_of_dependencies(logger):
    from infra_mcp.server.log import Folding, OneLine  # noqa: PLC0415 - not there yet

    form, folding = OneLine(), Folding()
    made = logging.getLogger(logger).makeRecord
    texts = ["plain", "a\nb\x1b[0m\x9b" + BIDI, "x" * 100_000, "\ud800", "id 0123456789abcdef0123456789abcdef"]
    texts.append("password=hunter2xyz")
    fault = sys.exc_info()
    with contextlib.suppress(ValueError):
        try:
            int("hunter2xyz\n" * 1000)
        finally:
            fault = sys.exc_info()
    for text in texts:
        for info in (None, fault):
            line = form.format(made(logger, logging.ERROR, __file__, 1, "said: %s", (text,), info))
            assert all(part.isprintable() for part in line.split("\n"))
            assert len(line) < 5_000
            assert line.count("\n") == 0 or info is not None
            assert "hunter2xyz" not in line
            assert "0123456789abcdef0123456789abcdef" not in line
    kept = [made(logger, logging.ERROR, __file__, 7, f"said: {number}", (), None) for number in range(10_000)]
    kept = [one for one in kept if folding.filter(one)]
    assert 1 <= len(kept) <= 100
    assert folding.filter(made(logger, logging.ERROR, __file__, 8, "something else", (), None))
