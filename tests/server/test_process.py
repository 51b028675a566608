"""The server as a process: one owner, a clean stop, and a socket left by a dead one."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
from pathlib import Path

import anyio
import httpx2
import pytest
from mcp import MCPError
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from running_server import POLICY
from server_process import start_server

from infra_mcp.cli.client import connect
from infra_mcp.errors import InfraError
from infra_mcp.settings import Settings

pytestmark = pytest.mark.process


@pytest.fixture
def settings(tmp_path) -> Settings:
    """A repository with a policy file and no cluster."""
    subprocess.run(["git", "init", "-q", "-b", "main", tmp_path / "repo"], check=True)
    (tmp_path / "repo" / "infra.toml").write_text(POLICY, encoding="utf-8")
    return Settings(repo=tmp_path / "repo", state_dir=tmp_path / "state", kubeconfig=tmp_path / "none")


def operate(settings: Settings, method: str, **params):
    with connect(settings, None) as client:
        return client.method(method, params)


def test_a_server_announces_its_addresses_and_both_channels_answer(settings):
    with start_server(settings) as server:
        note = json.loads((settings.state_dir / "run" / "http.json").read_text(encoding="utf-8"))

        assert note == {"url": server.url, "pid": server.pid, "started": "serve", "log": None}
        assert httpx2.get(server.url.replace("/mcp", "/healthz")).json() == {"ok": True}
        assert operate(settings, "operator/peer.list") == {"peers": []}


@pytest.mark.promise("process.one-owner")
@pytest.mark.promise("process.one-owner")
def test_a_second_server_for_the_same_state_is_refused_and_the_first_goes_on(settings):
    with start_server(settings) as first:
        with pytest.raises(InfraError) as caught:
            start_server(settings).stop()

        assert caught.value.code == "server-running"
        assert first.alive
        assert operate(settings, "operator/peer.list") == {"peers": []}


@pytest.mark.promise("process.one-owner")
def test_after_a_kill_the_next_server_takes_over_socket_and_ledger(settings):
    with start_server(settings) as first:
        token = operate(settings, "operator/peer.add", name="docs", circle="docs")["token"]
        first.kill()
        assert settings.socket.exists()
        with pytest.raises(InfraError, match="No infra-mcp server"), connect(settings, None):
            raise NotImplementedError
    with start_server(settings), connect(settings, token) as client:
        row = client.call("whoami", {})["content"][0]["text"].splitlines()[1]

        assert row.split("\t")[1] == "docs"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly(settings, number):
    with start_server(settings) as server:
        os.kill(server.pid, number)

        assert server.wait(30) == 0, server.log.read_text(encoding="utf-8")
        assert not settings.socket.exists()
        assert "Traceback" not in server.log.read_text(encoding="utf-8")


def test_the_operators_shutdown_stops_it(settings):
    with start_server(settings) as server:
        assert operate(settings, "operator/shutdown") == {"stopping": True}
        assert server.wait(30) == 0


@pytest.mark.anyio
@pytest.mark.promise("mcp.both-eras")
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_that_stays_does_not_hold_up_a_stop(settings, mode):
    """Of the 2025 era it holds a stream open for what the server might say; of the 2026 era it may ask for one."""
    server = await anyio.to_thread.run_sync(start_server, settings)
    added = await anyio.to_thread.run_sync(lambda: operate(settings, "operator/peer.add", name="d", circle="docs"))
    try:
        async with (
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {added['token']}"}, timeout=30) as web,
            Client(streamable_http_client(server.url, http_client=web), mode=mode, cache=None) as client,
        ):
            await client.list_tools()
            if mode == "auto":
                with pytest.raises(MCPError, match="Method not found"):
                    await client.listen(tools_list_changed=True).__aenter__()
            server.terminate()

            assert await anyio.to_thread.run_sync(server.wait, 5) == 0
    except* httpx2.ConnectError:
        pass  # its farewell meets a server that is gone
    finally:
        server.stop()


def test_without_an_accepted_policy_reads_go_on_and_changes_are_refused(settings):
    with start_server(settings) as server:
        token = operate(settings, "operator/peer.add", name="docs", circle="docs")["token"]
        with connect(settings, token) as client:
            refused = client.call("provision_namespace", {"namespace": "docs-a"})
            found = client.call("search_audit", {"query": "docs-a"})

        assert refused["isError"]
        assert refused["structuredContent"]["code"] == "policy-not-accepted"
        assert refused["structuredContent"]["audit_head"]
        assert found["structuredContent"]["total"] > 0
        assert server.alive


def test_children_of_the_server_have_no_standard_input(settings):
    with start_server(settings) as server:
        assert Path(f"/proc/{server.pid}/fd/0").readlink() == Path(os.devnull)


def test_a_foreign_socket_in_the_place_of_ours_is_replaced_only_by_the_owner(settings):
    settings.socket.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(settings.socket))
    with start_server(settings):
        assert operate(settings, "operator/peer.list") == {"peers": []}


@pytest.mark.fault("d01")
@pytest.mark.promise("tree.permissions")
@pytest.mark.process
def test_a_server_keeps_the_umask_it_was_started_with_and_its_own_files_to_itself(settings):
    with start_server(settings, setup=_open_to_all) as server:
        operate(settings, "operator/peer.add", name="docs", circle="docs")
        status = Path(f"/proc/{server.pid}/status").read_text(encoding="utf-8")
        mode = {path: stat.S_IMODE(path.lstat().st_mode) for path in settings.state_dir.rglob("*")}

        assert "Umask:\t0002\n" in status
        assert stat.S_IMODE(settings.state_dir.stat().st_mode) == 0o700
        assert [path.name for path, bits in mode.items() if path.is_file() and bits & 0o077] == []


def _open_to_all() -> None:
    os.umask(0o002)


@pytest.mark.fault("f10")
@pytest.mark.process
def test_a_repository_that_its_git_refuses_is_refused_at_the_start_with_gits_reason(settings):
    subprocess.run(["git", "-C", settings.repo, "config", "core.repositoryFormatVersion", "99"], check=True)

    with pytest.raises(InfraError, match="repo version") as caught:
        start_server(settings).stop()

    assert caught.value.code == "setup-failed"
