"""The log: printable, short and bounded, whoever writes into it, and without what would open a session."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import socket
import subprocess
import sys
from datetime import datetime

import httpx2
import pytest
from hosts import MODERN, OPENING
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import format_trace_id, get_current_span
from running_server import POLICY
from server_process import start_server

from infra_mcp import telemetry
from infra_mcp.cli.client import connect
from infra_mcp.server.log import OneObject
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


@pytest.mark.promise("secrets.nowhere")
@pytest.mark.fault("f36")
def test_as_json_a_record_is_one_object_with_request_and_trace_and_the_same_is_masked():
    form, made = OneObject(), logging.getLogger("infra_mcp.x").makeRecord
    provider = TracerProvider()
    telemetry.use(provider)
    try:
        with telemetry.OfRequest("req-0123456789ab"):
            text = "a\nb password=hunter2xyz \x1b[0m id 0123456789abcdef0123456789abcdef " + "x" * 100_000
            line = form.format(made("infra_mcp.x", logging.ERROR, __file__, 1, "said: %s", (text,), None))
            trace = get_current_span().get_span_context().trace_id
    finally:
        telemetry.use(None)
    assert "\n" not in line
    assert len(line) < 5_000
    found = json.loads(line)
    assert (found["level"], found["logger"], found["request"]) == ("ERROR", "infra_mcp.x", "req-0123456789ab")
    assert found["trace"] == format_trace_id(trace)
    assert datetime.fromisoformat(found["time"]).tzinfo is not None
    assert "hunter2xyz" not in line
    assert "0123456789abcdef0123456789abcdef" not in line

    try:
        int("hunter2xyz")
    except ValueError:
        record = made("infra_mcp.x", logging.ERROR, __file__, 1, "it failed", (), sys.exc_info())
    record.left_out = 7
    found = json.loads(form.format(record))
    assert (found["message"], found["error"], found["left_out"]) == ("it failed", "ValueError", 7)
    assert found["frames"]
    assert "hunter2xyz" not in str(found)
    assert {"request", "trace"}.isdisjoint(found)


@pytest.mark.process
@pytest.mark.promise("secrets.nowhere")
def test_a_server_sends_spans_where_the_variables_say_and_logs_objects_and_no_secret_is_in_either(settings):
    canary = "canary-Xq9-of-the-traces"
    env = {"OTEL_TRACES_EXPORTER": "console", "INFRA_MCP_LOG": "json"}
    with start_server(settings, env) as server, httpx2.Client(timeout=10) as web:
        docs, parent = added(settings, "docs"), "0af7651916cd43dd8448eb211c80319c"
        with connect(settings, None) as client:
            pending = client.method("operator/policy.show", {})["pending"]
            client.method("operator/policy.accept", {"digest": pending})
        meta = {"traceparent": f"00-{parent}-b7ad6b7169203331-01"} | MODERN
        calls = [
            ("tools/call", {"name": "ask", "arguments": {"peer_name": "infra", "query": f"token={canary} please"}}),
            ("tools/call", {"name": "deploy", "arguments": {"app": "docs", "version": "1", "reason": canary}}),
            ("tools/call", {"name": "deploy", "arguments": {"app": canary, "version": "1", canary: canary}}),
            ("resources/read", {"uri": f"infra://request/{canary}"}),
            ("prompts/get", {"name": "attend", "arguments": {"x": canary}}),
        ]
        for number, (method, params) in enumerate(calls):
            frame = {"jsonrpc": "2.0", "id": number, "method": method, "params": params | {"_meta": meta}}
            about = {"Mcp-Method": method, "Mcp-Name": params.get("name") or params["uri"]}
            answer = web.post(server.url, json=frame, headers=docs | about | {"MCP-Protocol-Version": "2026-07-28"})
            assert answer.status_code in {200, 400, 404}, answer.text
        server.terminate()
        assert server.wait() == 0
    log = server.log.read_text(encoding="utf-8")
    spans = [one for one in log.split("\n{\n") if '"trace_id"' in one]
    assert {"infra_mcp.request", "infra_mcp.plan"} <= set(re.findall(r'"name": "(\S+)"', log))
    assert any("tools/call ask" in one for one in spans)
    assert all(f"0x{parent}" in one for one in spans), "the client's trace goes on"
    assert '"service.name": "infra-mcp"' in log
    assert canary not in log
    records = [json.loads(line) for line in log.splitlines() if line.startswith('{"time"')]
    assert {"serving", "stopped"} <= {one["message"].split()[0] for one in records}
