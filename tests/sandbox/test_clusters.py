import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from sandbox_scripts import kubectl, listening

from infra_mcp import sandbox
from infra_mcp.errors import InfraError
from infra_mcp.sandbox import clusters, config, processes, starting
from infra_mcp.sandbox.places import Note, Place
from infra_mcp.settings import cache_home

pytestmark = [pytest.mark.anyio, pytest.mark.cluster, pytest.mark.promise("sandbox.real")]

LOOPBACK = "0100007F"  # 127.0.0.1 in /proc/net/tcp
OWN_KUBECONFIG = "apiVersion: v1\nkind: Config\ncurrent-context: precious\n"


@pytest.fixture(scope="module")
def machine(binaries, tmp_path_factory):
    """A machine of its own for this module: a home with a kubeconfig in it, and a place for sandboxes."""
    assert binaries.is_dir()
    root = tmp_path_factory.mktemp("machine")
    (root / "home" / ".kube").mkdir(parents=True)
    (root / "home" / ".kube" / "config").write_text(OWN_KUBECONFIG)
    environment = {
        "HOME": str(root / "home"),
        "INFRA_MCP_CACHE": str(cache_home()),
        "INFRA_MCP_SANDBOX": str(root / "sandboxes"),
        "ETCD_NAME": "the-users-own",  # such a variable must not reach our etcd
        "KWOK_CONFIG": "/nowhere",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.delenv("KUBECONFIG", raising=False)
        yield root
        for one in Place.all():
            anyio.run(sandbox.down, one.name)


@pytest.fixture(scope="module")
def mine(machine):
    """A sandbox brought up by a command that has ended since."""
    assert machine.is_dir()
    ended = _command("up", "--name", "mine", "--json")
    assert ended.returncode == 0, ended.stderr
    return anyio.run(sandbox.up, "mine")


def _command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "infra_mcp.cli.main", "sandbox", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def _pids(name):
    return {child.name: child.pid for child in processes.running(Place(name))}


async def _components(name):
    """Wait until a component runs, and return its sandbox's processes."""
    with anyio.fail_after(60):
        while not processes.components(Place(name)):  # noqa: ASYNC110 - they are another process's children
            await anyio.sleep(0.01)
    return _pids(name)


async def _kill_an_up_of(name):
    """Start `up` and kill it, and nothing it started, as soon as a component runs."""
    argv = [sys.executable, "-m", "infra_mcp.cli.main", "sandbox", "up", "--name", name]
    command = await anyio.open_process(argv, stdin=subprocess.DEVNULL, stdout=None, stderr=subprocess.DEVNULL)
    before = await _components(name)
    command.kill()
    await command.wait()
    return before


def _stands_alone(pid):
    """A session of its own, nothing to read from us, and nothing of the user's environment."""
    alone = os.getsid(pid) == pid and str(Path(f"/proc/{pid}/fd/0").readlink()) == os.devnull
    return alone and b"ETCD_NAME" not in Path(f"/proc/{pid}/environ").read_bytes()


async def test_one_command_brings_a_whole_control_plane_up_which_outlives_it(mine):
    assert _pids("mine").keys() == set(processes.COMPONENTS)
    assert all(_stands_alone(pid) for pid in _pids("mine").values())
    version = json.loads(kubectl(mine, "get", "--raw", "/version"))
    assert version["gitVersion"] == "v1.36.3"


@pytest.mark.usefixtures("mine")
async def test_it_listens_on_loopback_only():
    sockets = listening(_pids("mine").values())
    assert len(sockets) >= 6
    assert {address for address, _ in sockets} == {LOOPBACK}


async def test_callers_wait_for_nothing_when_it_is_up(mine):
    node = json.loads(kubectl(mine, "get", "node", "node-1", "-o", "json"))
    assert "taints" not in node["spec"]
    kubectl(mine, "get", "serviceaccount", "default")
    kubectl(mine, "create", "deployment", "web", "--image=web:1", "--replicas=3")
    kubectl(mine, "rollout", "status", "deployment/web", "--timeout=30s")


async def test_a_second_up_starts_nothing(mine):
    before = _pids("mine")
    assert replace(await sandbox.up("mine"), pids=mine.pids) == mine
    assert _pids("mine") == before


@pytest.mark.usefixtures("mine")
async def test_the_users_own_kubeconfig_and_home_stay_as_they_are(machine):
    home = machine / "home"
    assert (home / ".kube" / "config").read_text() == OWN_KUBECONFIG
    assert sorted(str(path.relative_to(home)) for path in home.rglob("*")) == [".kube", ".kube/config"]
    assert Place("mine").kubeconfig.stat().st_mode & 0o777 == 0o600
    assert Place("mine").kubeconfig.parent.stat().st_mode & 0o777 == 0o700


async def test_status_shows_server_and_processes(mine):
    (found,) = json.loads(_command("status", "--json").stdout)
    assert (found["name"], found["state"], found["context"]) == ("mine", "up", "kwok-mine")
    assert found["kubeconfig"] == mine.kubeconfig
    assert found["pids"] == _pids("mine")
    assert found["server"] in Place("mine").kubeconfig.read_text()
    assert json.loads(_command("status", "--name", "mine", "--json").stdout) == found
    absent = _command("status", "--name", "absent", "--json")
    assert (json.loads(absent.stdout)["state"], absent.returncode) == ("none", 6)


async def test_several_run_side_by_side_each_with_its_own_objects(mine, control_plane):
    kubectl(mine, "create", "configmap", "only-here")
    assert "only-here" not in kubectl(control_plane, "get", "configmap", "-n", "default", "-o", "name")


async def test_a_sandbox_without_processes_starts_again_with_its_objects(mine):
    kubectl(mine, "create", "configmap", "kept")
    await processes.end(Place("mine"))
    assert (await sandbox.status_of("mine")).state == "broken"
    assert replace(await sandbox.up("mine"), pids=mine.pids) == mine
    assert kubectl(mine, "get", "configmap", "kept", "-o", "name") == "configmap/kept\n"
    kubectl(mine, "create", "deployment", "after", "--image=web:1")
    kubectl(mine, "rollout", "status", "deployment/after", "--timeout=60s")


async def _lose(component):
    """Kill a component; a signal is answered before its process has ended."""
    pid = _pids("mine")[component]
    os.kill(pid, 9)
    with anyio.fail_after(20):
        while pid in _pids("mine").values():  # noqa: ASYNC110 - another process's child
            await anyio.sleep(0.001)
    return pid


async def test_a_sandbox_that_lost_a_component_is_repaired(mine):
    await _lose("kube-scheduler")
    assert replace(await sandbox.up("mine"), pids=mine.pids) == mine
    assert _pids("mine").keys() == set(processes.COMPONENTS)


@pytest.mark.usefixtures("mine")
async def test_a_component_that_ends_at_the_last_moment_of_a_start_is_noticed(monkeypatch):
    ready, lost = starting._ready, []

    async def ready_but_for_the_scheduler(*place):
        await ready(*place)
        if not lost:
            lost.append(await _lose("kube-scheduler"))

    monkeypatch.setattr(starting, "_ready", ready_but_for_the_scheduler)
    await processes.end(Place("mine"))
    await sandbox.up("mine")
    assert lost
    assert _pids("mine").keys() == set(processes.COMPONENTS)


async def test_a_restart_does_not_wait_for_a_cordoned_node(mine):
    kubectl(mine, "cordon", "node-1")
    await processes.end(Place("mine"))
    assert replace(await sandbox.up("mine"), pids=mine.pids) == mine
    kubectl(mine, "uncordon", "node-1")
    assert kubectl(mine, "get", "pod", "-n", "default", "sandbox-start", "--ignore-not-found") == ""


async def test_missing_binaries_are_reported_with_advice(machine):
    place = Place("bare")
    place.folder.mkdir(parents=True)
    place.write(Note("ready", str(machine / "gone"), 1))
    with pytest.raises(InfraError, match="are gone from") as caught:
        await sandbox.up("bare")
    assert "--name bare --fresh" in caught.value.next_step
    assert await sandbox.down("bare")


@pytest.mark.usefixtures("machine")
async def test_the_next_up_removes_what_a_killed_one_left_and_down_removes_everything():
    before = await _kill_an_up_of("half")
    assert (await sandbox.status_of("half")).state == "broken"
    made = await sandbox.up("half")
    after = _pids("half")
    assert after.keys() == set(processes.COMPONENTS)
    assert len(processes.running(Place("half"))) == len(after)
    assert not set(before.values()) & set(after.values())
    kubectl(made, "get", "--raw", "/readyz")

    assert json.loads(_command("down", "--name", "half", "--json").stdout) == {"removed": ["half"]}
    assert _pids("half") == {}
    assert not [path for path in Place("half").folder.parent.iterdir() if "half" in path.name]
    assert not await sandbox.down("half")


@pytest.mark.usefixtures("machine")
async def test_down_ends_what_an_interrupted_up_started():
    await _kill_an_up_of("stopped")
    assert await sandbox.down("stopped")
    assert _pids("stopped") == {}
    assert not Place("stopped").folder.exists()


@pytest.mark.usefixtures("machine")
async def test_a_cancelled_up_leaves_no_process():
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sandbox.up, "cancelled")
        await _components("cancelled")
        tasks.cancel_scope.cancel()
    assert _pids("cancelled") == {}
    await sandbox.down("cancelled")


@pytest.mark.usefixtures("mine")
async def test_a_port_that_is_taken_meanwhile_is_replaced(monkeypatch):
    taken = int((await sandbox.status_of("mine")).server.rpartition(":")[2])
    free, asked = config.free_ports, []

    def first_a_taken_one():
        asked.append(free() | ({} if asked else {"etcd": taken}))
        return asked[-1]

    monkeypatch.setattr(config, "free_ports", first_a_taken_one)
    made = await sandbox.up("second")
    assert len(asked) == 2
    kubectl(made, "get", "--raw", "/readyz")
    assert _pids("mine").keys() == set(processes.COMPONENTS)
    await sandbox.down("second")


@pytest.mark.usefixtures("machine")
async def test_a_component_that_ends_is_named_with_its_log_line(monkeypatch):
    monkeypatch.setitem(config._ARGUMENTS, "etcd", {"no-such-flag": "1"})
    monkeypatch.setattr(clusters, "_TRIES", 1)
    with pytest.raises(InfraError, match="etcd ended") as caught:
        await sandbox.up("wrong")
    assert "no-such-flag" in caught.value.what
    assert str(Path("wrong") / "kwok" / "clusters" / "wrong" / "logs") in caught.value.next_step
    assert _pids("wrong") == {}
    assert await sandbox.down("wrong")
