"""A server that the first client starts: one, detached, with a word of why it fails, and another one when it dies."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import stat
import threading
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from hosts import SCRIPT, environment, host, owner, put_down, repository
from running_server import POLICY
from server_process import start_server, wait_until

from infra_mcp.cli import starting
from infra_mcp.cli.client import connect
from infra_mcp.cli.place import Place
from infra_mcp.errors import InfraError
from infra_mcp.server.ownership import owned, prepared
from infra_mcp.settings import Settings

pytestmark = [pytest.mark.anyio, pytest.mark.process]


@pytest.fixture
def settings(tmp_path):
    """A repository with a policy file and no cluster. Whoever serves it in the end is put down."""
    repo = repository(tmp_path / "repo", POLICY)
    with put_down(tmp_path / "state"):
        yield Settings(repo=repo, state_dir=tmp_path / "state", kubeconfig=tmp_path / "none")


@pytest.fixture
def env(settings):
    return environment(settings.state_dir)


def operate(settings, method, **params):
    with connect(settings, None) as client:
        return client.method(method, params)


def standard_input(pid):
    return Path(f"/proc/{pid}/fd/0").readlink()


def environ(pid):
    return Path(f"/proc/{pid}/environ").read_text(encoding="utf-8").split("\0")


@pytest.mark.promise("process.one-owner")
async def test_however_many_clients_come_at_once_one_server_starts_and_keeps_nothing_of_them(settings, env, tmp_path):
    secret = {"INFRA_MCP_TOKEN": "imcp_of-a-client"}
    names = []

    async def come(words):
        async with host(settings.repo, env, *words) as line:
            shown = await line.call("whoami")
            names.append(shown["result"]["content"][0]["text"].splitlines()[1].split("\t")[1])

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(come, ["--attend", "infra"] if number % 2 else [])
        async with host(settings.repo, env | secret) as line:
            code, said = await line.ended(60)
            assert (code, said.partition(":")[0]) == (3, "unauthenticated")
    pid, log = owner(settings.state_dir), (settings.state_dir / "server.log").read_text(encoding="utf-8")

    assert sorted(names) == ["infra", "infra", "reader", "reader", "reader"]
    assert log.count("serving http") == 1
    assert "server-running" not in log
    assert os.getsid(pid) not in {os.getsid(0), pid}
    assert standard_input(pid) == Path(os.devnull)
    assert not [one for one in environ(pid) if one.startswith("INFRA_MCP_TOKEN")]
    assert stat.S_IMODE((settings.state_dir / "server.log").stat().st_mode) == 0o600
    done = await anyio.run_process([str(SCRIPT), "status", "--json"], env=env, cwd=settings.repo)
    shown = json.loads(done.stdout)["server"]
    assert (shown["started"], shown["log"]) == ("on demand", str(tmp_path / "state" / "server.log"))


@pytest.mark.promise("process.one-owner")
async def test_clients_of_a_server_that_cannot_start_are_told_why_and_what_next(settings, env):
    prepared(settings.state_dir)
    (settings.state_dir / "ledger.sqlite3").write_bytes(b"this is no ledger " * 500)
    told = []

    async def come():
        async with host(settings.repo, env) as line:
            told.append(await line.ended(90))

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(come)

    assert {code for code, _ in told} == {6}
    for _, said in told:
        assert said.startswith("ledger-unavailable: ")
        assert len(said.splitlines()) == 2
    assert "ledger-unavailable" in (settings.state_dir / "server.log").read_text(encoding="utf-8")
    assert not settings.socket.exists()


@pytest.mark.promise("process.one-owner")
@pytest.mark.promise("connect.fast")
async def test_a_host_goes_on_with_the_next_server_when_its_own_is_killed(settings, env):
    first = await to_thread.run_sync(start_server, settings)
    try:
        token = (await to_thread.run_sync(lambda: operate(settings, "operator/peer.add", name="d", circle="docs")))[
            "token"
        ]
        async with host(settings.repo, env | {"INFRA_MCP_TOKEN": token}) as line:
            await line.open_session()
            asked = await line.ask("tools/call", {"name": "ask", "arguments": {"peer_name": "d", "query": "?"}}, 2)
            wait = {"name": "inbox", "arguments": {"wait_seconds": 300}}
            await line.send({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": wait})
            await line.ask("ping", {}, 4)  # so the wait has reached the server too
            first.kill()
            told = await line.receive()
            listed = await line.ask("tools/list", {}, 5)
            whoami = await line.ask("tools/call", {"name": "whoami", "arguments": {}}, 6)

            assert asked["id"] == 2
            assert (told["id"], told["error"]["data"]["code"]) == (3, "server-unreachable")
            assert "get_request" in told["error"]["data"]["next"]
            assert listed["id"] == 5
            assert listed["result"]["tools"]
            assert whoami["result"]["content"][0]["text"].splitlines()[1].split("\t")[1] == "d"
        assert owner(settings.state_dir) != first.pid
    finally:
        first.kill()


@pytest.mark.promise("process.one-owner")
async def test_after_a_stop_a_host_goes_on_with_the_server_that_runs_by_then(settings, env):
    first = await to_thread.run_sync(start_server, settings)
    async with host(settings.repo, env) as line:
        await line.call("whoami")
        await to_thread.run_sync(first.stop)
        second = await to_thread.run_sync(start_server, settings)
        try:
            shown = await line.call("whoami", 2)
        finally:
            second.stop()

    assert shown["id"] == 2
    assert not shown["result"].get("isError")
    assert "on demand" not in (settings.state_dir / "run" / "http.json").read_text(encoding="utf-8")


@pytest.mark.promise("process.one-owner")
async def test_a_server_on_demand_stops_when_no_client_is_connected(settings, env):
    argv = [str(SCRIPT), "serve", "--on-demand", "--idle", "0", "--json"]
    with anyio.fail_after(60):
        done = await anyio.run_process(argv, env=env, cwd=settings.repo)

    assert done.returncode == 0
    assert json.loads(done.stdout)["socket"] == str(settings.socket)
    assert b"no work left: stopping" in done.stderr
    assert not settings.socket.exists()


def test_a_start_waits_for_whoever_owns_the_state_directory(settings, monkeypatch):
    """E.g. a server that is stopping, or a command that works without one."""
    launched, looked = [], threading.Event()
    monkeypatch.setattr(starting, "_launch", lambda *_: launched.append(1))
    monkeypatch.setattr(starting, "_takes_calls", lambda _: bool(launched))
    pause = starting.time.sleep
    monkeypatch.setattr(starting.time, "sleep", lambda seconds: (looked.set(), pause(seconds)))
    with owned(settings.state_dir):
        thread = threading.Thread(target=starting.start, args=(settings,))
        thread.start()
        assert looked.wait(20)
        assert not launched
    thread.join(20)

    assert launched == [1]


def test_a_failed_start_is_told_to_those_who_wait_and_tried_again_for_those_who_come_later(settings, monkeypatch):
    tried, waiting = [], threading.Event()
    others = []

    def launch(*_):
        tried.append(1)
        if len(tried) == 1:
            for thread in threads:
                thread.start()
            assert waiting.wait(20)
        raise InfraError("setup-failed", "It cannot be.", next_step="Do this.")

    def come():
        try:
            starting.start(settings)
        except InfraError as error:
            others.append(str(error))

    flock = fcntl.flock

    def noted(handle, how):
        if how == fcntl.LOCK_EX and threading.current_thread() in threads:
            coming.discard(threading.current_thread())
            if not coming:
                waiting.set()
        return flock(handle, how)

    threads = [threading.Thread(target=come) for _ in range(3)]
    coming = set(threads)
    monkeypatch.setattr(starting, "_launch", launch)
    monkeypatch.setattr(starting.fcntl, "flock", noted)
    with pytest.raises(InfraError, match="It cannot be"):
        starting.start(settings)
    for thread in threads:
        thread.join(20)

    assert others == ["setup-failed: It cannot be. Next: Do this."] * 3
    assert tried == [1]
    with pytest.raises(InfraError, match="It cannot be"):
        starting.start(settings)
    assert tried == [1, 1]


def test_a_long_log_is_put_aside_at_a_start(settings, monkeypatch):
    monkeypatch.setattr(starting, "_LONGEST_LOG", 10)
    state = prepared(settings.state_dir)
    for _ in range(3):
        handle = starting._open_log(state)
        os.write(handle, b"twelve bytes")
        os.close(handle)

    assert (state / "server.log").read_bytes() == b"twelve bytes"
    assert (state / "server.log.1").read_bytes() == b"twelve bytes"
    assert len(list(state.glob("server.log*"))) == 2


def test_a_log_that_is_a_link_is_not_followed(settings, tmp_path):
    state = prepared(settings.state_dir)
    (state / "server.log").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(OSError, match="symbolic"):
        starting._open_log(state)
    assert not (tmp_path / "elsewhere").exists()


def test_a_client_that_dies_while_its_server_starts_leaves_the_turn_to_the_next(settings, tmp_path):
    state = prepared(settings.state_dir)
    child = os.fork()
    if child == 0:
        fcntl.flock(os.open(state / "run" / "start.lock", os.O_RDWR | os.O_CREAT, 0o600), fcntl.LOCK_EX)
        (tmp_path / "there").touch()
        signal.pause()
    wait_until((tmp_path / "there").exists)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    starting.start(Place(str(settings.repo), str(settings.state_dir)))

    assert operate(settings, "operator/health")["started"] == "on demand"
