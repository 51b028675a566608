"""DNS records while the server or the name server is killed: what every back end is held to, and how it is killed."""

from __future__ import annotations

import os
import random
import signal
import threading
from functools import partial
from pathlib import Path

import anyio
import pytest
from engine.killer import KilledError, Killer, observed
from engine.zone_ground import ZoneGround
from engine.zone_worlds import NEW, OLD, World
from server_process import run_forked

from infra_mcp import effects
from infra_mcp.engine import stages
from infra_mcp.model.request import State

__all__ = ["KilledZone"]

SEED = 20261130
# Random points. Every point is passed by an engine in this process; a few more show that SIGKILL is the same.
PROCESSES, NAME_SERVERS, FULL = 5, 10, 50
ENDS = (State.LANDED, State.ROLLED_BACK, State.FAILED)


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


def _wrong(world, ground, done, expected):
    """What is not as the receipt says."""
    live, git = world.live(), NEW in ground.show(world.path)
    wrong = [] if done.state in expected else [f"{done.state.value}: {done.receipt['message']}"]
    wrong += [] if live == ([NEW] if done.state is State.LANDED else [OLD]) else [f"live {live} at {done.state.value}"]
    wrong += [] if git == (live == [NEW]) else [f"git says {'new' if git else 'old'}, live is {live}"]
    return wrong


async def _finished(world, ground, expected=(State.LANDED,)):
    """Come back after a kill: what is wrong then."""
    before = world.writes()
    done = await _ask(ground)
    twice = world.writes() - before > 1 and not expected[1:]
    return _wrong(world, ground, done, expected) + (["written twice"] if twice else [])


class KilledZone:
    """A record's request comes to a known end without a person, whichever process is killed, and when."""

    async def test_an_engine_that_is_stopped_at_any_point_of_a_change_is_followed_by_one_that_lands_it(
        self, tmp_path, world: World
    ):
        whole = await _run_until_killed(world.ground(tmp_path / "whole"), None)
        assert (world.effect, "after", 1) in whole.points
        faults = {}
        for number, at in enumerate(whole.points):
            world.reset()
            ground = world.ground(tmp_path / str(number))
            if (await _run_until_killed(ground, at)).dead and (wrong := await _finished(world, ground)):
                faults[at] = wrong
        assert faults == {}

    @pytest.mark.parametrize("times", [3, pytest.param(None, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
    async def test_an_engine_that_is_stopped_in_a_rollback_is_followed_by_one_that_finishes_it(
        self, tmp_path, monkeypatch, world: World, times
    ):
        monkeypatch.setattr(stages, "_MIN_SECONDS", 1.0)  # the stale server never comes: this is only waited for
        whole = await _run_until_killed(world.ground(tmp_path / "whole", stale=True), None)
        writes = [number for name, when, number in whole.points if (name, when) == (world.effect, "after")]
        assert writes == [1, 2]
        points = whole.points[whole.points.index((world.effect, "after", 1)) :]
        faults = {}
        for number, at in enumerate(random.Random(SEED).sample(points, times) if times else points):
            world.reset()
            ground = world.ground(tmp_path / str(number), stale=True)
            if (await _run_until_killed(ground, at)).dead:
                wrong = await _finished(world, ground, (State.ROLLED_BACK, State.FAILED))
                faults |= {at: wrong} if wrong else {}
        assert faults == {}

    @pytest.mark.process
    async def test_a_server_killed_at_random_points_is_followed_by_one_that_lands_the_change(
        self, tmp_path, world: World
    ):
        assert await _processes_killed(tmp_path, world, PROCESSES) == {}

    @pytest.mark.slow
    @pytest.mark.process
    @pytest.mark.timeout(3600)
    async def test_a_server_killed_at_many_random_points_is_followed_by_one_that_lands_the_change(
        self, tmp_path, world: World
    ):
        assert await _processes_killed(tmp_path, world, FULL) == {}

    async def test_a_name_server_killed_at_random_points_keeps_what_it_took_and_the_request_ends_true(
        self, tmp_path, world: World
    ):
        assert await _name_servers_killed(tmp_path, world, NAME_SERVERS) == {}

    @pytest.mark.slow
    @pytest.mark.timeout(3600)
    async def test_a_name_server_killed_at_many_random_points_keeps_what_it_took_and_the_request_ends_true(
        self, tmp_path, world: World
    ):
        assert await _name_servers_killed(tmp_path, world, FULL) == {}


async def _processes_killed(tmp_path, world, times):
    """A server's process is ended by SIGKILL at random points; what is wrong after each."""
    points = (await _run_until_killed(world.ground(tmp_path / "whole"), None)).points
    faults = {}
    for number, at in enumerate(random.Random(SEED).choices(points, k=times)):
        world.reset()
        ground = world.ground(tmp_path / str(number))
        log = ground.home / "log"
        ended = await anyio.to_thread.run_sync(partial(run_forked, ask_until, ground.home, at, log=log))
        assert ended == -signal.SIGKILL, log.read_text()
        if wrong := await _finished(world, ground):
            faults[number, at] = wrong
    return faults


async def _name_servers_killed(tmp_path, world, times):
    """The name server is ended by SIGKILL at random points, and comes back; what is wrong after each."""
    points = (await _run_until_killed(world.ground(tmp_path / "whole"), None)).points
    # From its first read on: between the request and its commit, around the write, while it is confirmed.
    faults = {}
    for number, at in enumerate(random.Random(SEED).choices(points, k=times)):
        world.reset()
        ground = world.ground(tmp_path / str(number))
        killer = _NameServerKiller(world.server, at)
        with observed(killer):
            done = await _ask(ground)
        await anyio.to_thread.run_sync(killer.join)
        if wrong := _wrong(world, ground, done, ENDS):
            faults[number, at] = wrong
    return faults


class _NameServerKiller(Killer):
    """At a point the name server dies; it is started again at once, by another thread."""

    def __init__(self, server, at):
        super().__init__()
        self.server, self.when, self.thread = server, at, None

    def __call__(self, name, when):
        super().__call__(name, when)
        if self.points[-1:] == [self.when] and self.thread is None:
            self.server.stop(signal.SIGKILL)
            self.thread = threading.Thread(target=self.server.start)
            self.thread.start()

    def join(self):
        if self.thread is not None:
            self.thread.join(30)


def ask_until(home, at):
    """Ask for the record in this process, which kills itself at the point."""
    killer = Killer()

    def passed(name, phase):
        killer(name, phase)
        if killer.points[-1:] == [at]:
            os.kill(os.getpid(), signal.SIGKILL)

    effects.observe(passed)
    anyio.run(_ask, ZoneGround(Path(home)))
