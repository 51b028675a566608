"""Tokens over HTTP, at a server process of its own and by nothing but requests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import httpx2
import pytest
from hosts import MODERN, OPENING, repository
from running_server import POLICY
from server_process import start_server

from infra_mcp.cli.client import connect
from infra_mcp.settings import Settings

pytestmark = pytest.mark.process

ACCEPT = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
NOW = ACCEPT | {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/list"}
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": MODERN}}
START = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": OPENING}


@pytest.fixture
def settings(tmp_path):
    """A repository with a policy file and no cluster."""
    repo = repository(tmp_path / "repo", POLICY)
    return Settings(repo=repo, state_dir=tmp_path / "state", kubeconfig=tmp_path / "none")


def operate(settings, method, **params):
    with connect(settings, None) as client:
        return client.method(method, params)


def statuses(url, authorization):
    """What each way to speak gets: both eras, and the streams and ends of sessions."""
    given = {} if authorization is None else {"Authorization": authorization}
    with httpx2.Client(timeout=30) as web:
        return {
            web.post(url, json=LIST, headers=NOW | given).status_code,
            web.post(url, json=START, headers=ACCEPT | given).status_code,
            web.get(url, headers=ACCEPT | given).status_code,
            web.delete(url, headers=ACCEPT | given | {"Mcp-Session-Id": "0" * 32}).status_code,
        }


@pytest.mark.promise("http.tokens")
def test_every_call_without_a_valid_token_ends_with_401(settings):
    with start_server(settings) as server:
        token = operate(settings, "operator/peer.add", name="docs", circle="docs")["token"]
        with httpx2.Client(timeout=30) as web:
            known = web.post(server.url, json=LIST, headers=NOW | {"Authorization": f"Bearer {token}"})
            elsewhere = [
                web.post(f"{server.url}?token={token}&access_token={token}", json=LIST, headers=NOW),
                web.post(server.url, json=LIST | {"token": token}, headers=NOW),
                web.post(server.url, json=LIST, headers=NOW | {"X-Api-Key": token, "Cookie": f"token={token}"}),
            ]
        wrong = [None, "", "Bearer", f"Basic {token}", token, f"Bearer {token}x", f"Bearer {token[:-1]}"]
        wrong += [f"Bearer {token.upper()}", f"Bearer x {token}", f"Bearer {token},{token}", "Bearer imcp_" + "0" * 43]

        assert known.status_code == 200
        assert {answer.status_code for answer in elsewhere} == {401}
        for authorization in wrong:
            assert statuses(server.url, authorization) == {401}, authorization
        assert operate(settings, "operator/peer.list")["peers"][0]["name"] == "docs"


@pytest.mark.promise("http.tokens")
def test_a_revoked_token_ends_at_once_in_both_eras_and_open_sessions(settings):
    with start_server(settings) as server, httpx2.Client(timeout=30) as web:
        first = operate(settings, "operator/peer.add", name="docs", circle="docs")["token"]
        old = {"Authorization": f"Bearer {first}"}
        opened = web.post(server.url, json=START, headers=ACCEPT | old)
        session = ACCEPT | {"Mcp-Session-Id": opened.headers["mcp-session-id"], "MCP-Protocol-Version": "2025-06-18"}
        listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
        before = [
            web.post(server.url, json=LIST, headers=NOW | old),
            web.post(server.url, json=listing, headers=session | old),
        ]
        second = operate(settings, "operator/peer.token", name="docs")["token"]
        new = {"Authorization": f"Bearer {second}"}
        after = [
            web.post(server.url, json=LIST, headers=NOW | old),
            web.post(server.url, json=listing, headers=session | old),
        ]
        renewed = web.post(server.url, json=LIST, headers=NOW | new)
        operate(settings, "operator/peer.remove", name="docs")
        removed = web.post(server.url, json=LIST, headers=NOW | new)

        assert [answer.status_code for answer in before] == [200, 200]
        assert [answer.status_code for answer in after] == [401, 401]
        assert "www-authenticate" in after[0].headers
        assert (renewed.status_code, removed.status_code) == (200, 401)


@pytest.mark.promise("http.tokens")
@pytest.mark.promise("secrets.nowhere")
def test_a_token_is_shown_once_and_kept_as_a_hash(settings):
    with start_server(settings) as server:
        token = operate(settings, "operator/peer.add", name="docs", circle="docs")["token"]
        httpx2.post(server.url, json=LIST, headers=NOW | {"Authorization": f"Bearer {token}"})
        httpx2.post(
            server.url, json=LIST, headers=NOW | {"Authorization": f"Bearer {token}"} | {"Host": "evil.example"}
        )
        shown = [operate(settings, method) for method in ("operator/peer.list", "operator/health", "infra/requests")]
        os.kill(server.pid, signal.SIGTERM)
        assert server.wait(10) == 0

    kept = b"".join(path.read_bytes() for path in Path(settings.state_dir).rglob("*") if path.is_file())
    assert token not in str(shown)
    assert token.encode() not in kept
    assert token.removeprefix("imcp_").encode() not in kept
