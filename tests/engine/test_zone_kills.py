"""DNS records while the server or the name server is killed: git, servers and receipt say the same in the end."""

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import anyio
import pytest
from engine.killer import KilledError, Killer, observed
from engine.zone_ground import PATH, TREE, ZoneGround, zone_policy
from name_servers import primary

from infra_mcp import effects
from infra_mcp.model.request import State

pytestmark = [pytest.mark.anyio, pytest.mark.promise("dns.record", "recover.reobserve")]

OLD, NEW = "192.0.2.1", "192.0.2.2"
RECORDS = f"www 300 IN A {OLD}\n"
SEED = 20261130
CI, FULL = 10, 50  # random points


@pytest.fixture
def bind(tmp_path_factory):
    with primary(tmp_path_factory.mktemp("p"), RECORDS) as made:
        yield made


@pytest.fixture
def stale(tmp_path_factory):
    """A server of the zone that never takes anything over, so that a change is rolled back."""
    with primary(tmp_path_factory.mktemp("o"), RECORDS) as made:
        yield made


def _ground(home, bind, *servers):
    ground = ZoneGround(home)
    ground.make(
        zone_policy(bind.at, bind.key_file, *servers, more='marker = "us"').replace('"20s"', '"2s"'), {PATH: TREE}
    )
    return ground


async def _ask(ground):
    async with ground.engine() as engine:
        return await ground.ask(engine, "www", "A", NEW, idempotency_key="once")


async def _run_until_killed(ground, at):
    with observed(Killer(at)) as killer:
        try:
            await _ask(ground)
        except* KilledError:
            pass
    return killer


def _wrong(ground, bind, done, expected):
    """What is not as the receipt says."""
    live, git = bind.values("www", "A"), NEW in ground.show()
    wrong = [] if done.state in expected else [f"{done.state.value}: {done.receipt['message']}"]
    wrong += [] if live == ([NEW] if done.state is State.LANDED else [OLD]) else [f"live {live} at {done.state.value}"]
    wrong += [] if git == (live == [NEW]) else [f"git says {'new' if git else 'old'}, live is {live}"]
    return wrong


async def _finished(ground, bind, expected=(State.LANDED,)):
    """Come back after a kill: what is wrong then."""
    serial = bind.serial
    done = await _ask(ground)
    return _wrong(ground, bind, done, expected) + (
        ["written twice"] if bind.serial - serial > 1 and not expected[1:] else []
    )


def _reset(bind):
    bind.by_others("www", "A", [OLD])
    bind.by_others("_infra-mcp.a.www", "TXT", [])


async def test_an_engine_that_is_stopped_at_any_point_of_a_change_is_followed_by_one_that_lands_it(tmp_path, bind):
    whole = await _run_until_killed(_ground(tmp_path / "whole", bind, bind.at), None)
    assert ("dns.update", "after", 1) in whole.points
    faults = {}
    for number, at in enumerate(whole.points):
        _reset(bind)
        ground = _ground(tmp_path / str(number), bind, bind.at)
        if (await _run_until_killed(ground, at)).dead and (wrong := await _finished(ground, bind)):
            faults[at] = wrong
    assert faults == {}


@pytest.mark.parametrize("times", [3, pytest.param(None, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
async def test_an_engine_that_is_stopped_in_a_rollback_is_followed_by_one_that_finishes_it(
    tmp_path, bind, stale, times
):
    whole = await _run_until_killed(_ground(tmp_path / "whole", bind, bind.at, stale.at), None)
    updates = [number for name, when, number in whole.points if (name, when) == ("dns.update", "after")]
    assert updates == [1, 2]
    points = whole.points[whole.points.index(("dns.update", "after", 1)) :]
    faults = {}
    for number, at in enumerate(random.Random(SEED).sample(points, times) if times else points):
        _reset(bind)
        ground = _ground(tmp_path / str(number), bind, bind.at, stale.at)
        if (await _run_until_killed(ground, at)).dead:
            wrong = await _finished(ground, bind, (State.ROLLED_BACK, State.FAILED))
            faults |= {at: wrong} if wrong else {}
    assert faults == {}


async def _processes_killed(tmp_path, bind, times):
    """A server's process is ended by SIGKILL at random points; what is wrong after each."""
    points = (await _run_until_killed(_ground(tmp_path / "whole", bind, bind.at), None)).points
    chosen = random.Random(SEED).choices(points, k=times)
    faults = {}
    for number, at in enumerate(chosen):
        _reset(bind)
        ground = _ground(tmp_path / str(number), bind, bind.at)
        argv = [sys.executable, __file__, str(ground.home), *map(str, at)]
        env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        child = await anyio.run_process(argv, check=False, env=env, stdin=subprocess.DEVNULL)
        assert child.returncode == -signal.SIGKILL, child.stderr.decode()
        if wrong := await _finished(ground, bind):
            faults[number, at] = wrong
    return faults


@pytest.mark.process
async def test_a_server_killed_at_random_points_is_followed_by_one_that_lands_the_change(tmp_path, bind):
    assert await _processes_killed(tmp_path, bind, CI) == {}


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_a_server_killed_at_many_random_points_is_followed_by_one_that_lands_the_change(tmp_path, bind):
    assert await _processes_killed(tmp_path, bind, FULL) == {}


async def _name_servers_killed(tmp_path, bind, times):
    """The name server is ended by SIGKILL at random points, and comes back; what is wrong after each."""
    points = (await _run_until_killed(_ground(tmp_path / "whole", bind, bind.at), None)).points
    # From its first read on: between the request and its commit, around the update, while it is confirmed.
    chosen = random.Random(SEED).choices(points, k=times)
    faults = {}
    for number, at in enumerate(chosen):
        _reset(bind)
        ground = _ground(tmp_path / str(number), bind, bind.at)
        killer = _NameServerKiller(bind, at)
        with observed(killer):
            done = await _ask(ground)
        await anyio.to_thread.run_sync(killer.join)
        if wrong := _wrong(ground, bind, done, (State.LANDED, State.ROLLED_BACK, State.FAILED)):
            faults[number, at] = wrong
    return faults


class _NameServerKiller(Killer):
    """At a point the name server dies; it is started again at once, by another thread."""

    def __init__(self, bind, at):
        super().__init__()
        self.bind, self.when, self.thread = bind, at, None

    def __call__(self, name, when):
        super().__call__(name, when)
        if self.points[-1:] == [self.when] and self.thread is None:
            self.bind.stop(signal.SIGKILL)
            self.thread = threading.Thread(target=self.bind.start)
            self.thread.start()

    def join(self):
        if self.thread is not None:
            self.thread.join(30)


async def test_a_name_server_killed_at_random_points_keeps_what_it_took_and_the_request_ends_true(tmp_path, bind):
    assert await _name_servers_killed(tmp_path, bind, CI) == {}


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_a_name_server_killed_at_many_random_points_keeps_what_it_took_and_the_request_ends_true(tmp_path, bind):
    assert await _name_servers_killed(tmp_path, bind, FULL) == {}


def _child(home, effect, when, nth):
    """Ask in a process of its own, which kills itself at the point."""
    at, killer = (effect, when, int(nth)), Killer()

    def passed(name, phase):
        killer(name, phase)
        if killer.points[-1:] == [at]:
            os.kill(os.getpid(), signal.SIGKILL)

    effects.observe(passed)
    anyio.run(_ask, ZoneGround(Path(home)))


if __name__ == "__main__":
    _child(*sys.argv[1:])
