"""Requests over two deliveries and two stages, killed at each point: the next engine brings each to the same end.

Here the engine is stopped in the test's own process: from the chosen point on no effect happens any more. That is quick
enough for every point. A sample does the same to a process, by SIGKILL.
"""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import anyio
import pytest
from engine.killer import KilledError, Killer, observed
from engine.two_kinds import NEW, OLD, STAGES, THINGS, Ground, register, target, until

from infra_mcp import effects
from infra_mcp.engine.locks import Held
from infra_mcp.model.request import State

pytestmark = [pytest.mark.anyio, pytest.mark.promise("seam.parts", "seam.record", "recover.reobserve")]

BEFORE = {"first": OLD, "second": None, "third": None, "fourth": OLD}
LANDS, FAILS, HELD = NEW, f"{NEW}-third-broken", f"{NEW}-held-fourth-broken"
ENDS = {
    LANDS: (State.LANDED, dict.fromkeys(THINGS, NEW), 2),
    FAILS: (State.ROLLED_BACK, BEFORE, 4),
    HELD: (State.FAILED, {"first": NEW, "second": NEW, "third": None, "fourth": OLD}, 3),
}
SAMPLE = [
    (LANDS, ("ledger.accept", "after", 1)),
    (LANDS, ("git.move", "before", 1)),
    (LANDS, ("git.move", "after", 1)),
    (LANDS, ("json.write", "after", 1)),
    (LANDS, ("git.move", "after", 2)),
    (LANDS, ("json.write", "before", 2)),
    (LANDS, ("ledger.finish", "before", 1)),
    (FAILS, ("json.write", "after", 2)),
    (FAILS, ("git.move", "before", 3)),
    (FAILS, ("git.move", "after", 3)),
    (FAILS, ("json.undo", "after", 1)),
    (FAILS, ("git.move", "after", 4)),
    (FAILS, ("json.undo", "after", 2)),
    (HELD, ("git.move", "after", 3)),
]


async def _run_until_killed(ground, version, at):
    """Ask until the point; whether it was reached, and which points were passed."""
    with observed(Killer(at)) as killer:
        try:
            async with ground.engine() as engine:
                await ground.ask(engine, version, idempotency_key="once")
        except* KilledError:
            pass
    return killer


async def _killed(home, version, at):
    """What is wrong after a kill at a point and a restart; None where the point was not passed this time."""
    ground = Ground(home)
    ground.make()
    killer = await _run_until_killed(ground, version, at)
    return None if not killer.dead else await _recovered(ground, version)


async def _recovered(ground, version):
    state, live, commits = ENDS[version]
    async with ground.engine() as engine:
        done = await ground.ask(engine, version, idempotency_key="once")
        with anyio.move_on_after(60):
            await until(lambda: ground.live() == live)
    wrong = [] if done.state is state else [f"{done.state.value}: {done.receipt['message']}"]
    wrong += [] if ground.live() == ground.in_git() == live else [f"{ground.live()} {ground.in_git()}"]
    wrong += [] if len(ground.subjects()) == commits else ground.subjects()
    return wrong + [f"doubled: {one}" for one in ground.doubled()]


@pytest.mark.parametrize(("version", "at"), SAMPLE, ids=str)
async def test_an_engine_stopped_at_a_point_is_followed_by_one_that_comes_to_the_same_end(
    tmp_path, monkeypatch, version, at
):
    register(monkeypatch)
    assert await _killed(tmp_path / "g", version, at) == []


@pytest.mark.promise("locks.same")
async def test_a_rollback_that_goes_on_after_a_restart_holds_what_it_held_before(tmp_path, monkeypatch):
    register(monkeypatch)
    ground = Ground(tmp_path / "g")
    ground.make()
    with observed(Killer(("git.move", "after", 4))), suppress(BaseExceptionGroup):
        async with ground.engine(deliverer=False) as engine:
            request = await ground.submit(engine, FAILS)
            await until(lambda: len(ground.subjects()) == len(STAGES))
            ground.delivered()
            await ground.end(engine, request)
    held = ground.record(ground.newest())["keys"]

    ground.delivers = anyio.Event()  # so that the rollback waits for who delivers
    async with ground.engine() as engine:
        first = ground.newest()
        await until(lambda: "restored" in ground.kinds(first))
        waits = _waits(monkeypatch)
        second = await ground.submit(engine, "3.0.0")
        await until(lambda: waits or "committing" in ground.kinds(second.id))
        open_ = "finished" not in ground.kinds(first)
        ground.delivers.set()
        await engine.wait(first, 60.0)
        done = await ground.end(engine, second)

    assert open_  # it waited for who delivers, all the while
    assert done.state is State.LANDED, done.receipt
    assert ground.record(first)["keys"] == held
    events = ground.rows("SELECT request, kind FROM events ORDER BY seq")
    begun = events.index({"request": second.id, "kind": "committing"})
    assert max(at for at, one in enumerate(events) if one["request"] == first) < begun


def _waits(monkeypatch):
    """Fills when a request begins to wait for the lock of a thing."""
    waits, wait_for = [], Held.wait_for

    async def noted(held, keys):
        waits.extend({target("first").key} & keys)
        await wait_for(held, keys)

    monkeypatch.setattr(Held, "wait_for", noted)
    return waits


@pytest.mark.process
@pytest.mark.parametrize(("version", "at"), [SAMPLE[3], SAMPLE[9]], ids=str)
async def test_a_killed_process_is_followed_by_one_that_comes_to_the_same_end(tmp_path, monkeypatch, version, at):
    register(monkeypatch)
    ground = Ground(tmp_path / "g")
    ground.make()
    argv = [sys.executable, __file__, str(ground.home), version, *map(str, at)]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    child = await anyio.run_process(argv, check=False, env=env, stdin=subprocess.DEVNULL)
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    assert await _recovered(ground, version) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("version", ENDS)
async def test_an_engine_stopped_at_any_point_is_followed_by_one_that_comes_to_the_same_end(
    tmp_path, monkeypatch, version
):
    register(monkeypatch)
    whole = Ground(tmp_path / "whole")
    whole.make()
    points = (await _run_until_killed(whole, version, None)).points
    assert len({name for name, *_ in points}) > len(STAGES)
    faults, missed = {}, 0  # what runs side by side is ended by a failure, and may not come as far every time
    for number, at in enumerate(points):
        wrong = await _killed(tmp_path / str(number), version, at)
        sys.stderr.write(f"{version} {at}: {wrong}\n")
        missed += wrong is None
        faults |= {str(at): wrong} if wrong else {}
    assert faults == {}
    assert missed < len(points) / 5


def _child(home, version, effect, when, nth):
    """Ask in a process of its own, which kills itself at the point."""
    register()
    at, killer = (effect, when, int(nth)), Killer()

    def passed(name, phase):
        killer(name, phase)
        if killer.points[-1:] == [at]:
            os.kill(os.getpid(), signal.SIGKILL)

    async def ask():
        ground = Ground(Path(home))
        async with ground.engine() as engine:
            await ground.ask(engine, version, idempotency_key="once")

    effects.observe(passed)
    anyio.run(ask)


if __name__ == "__main__":
    _child(*sys.argv[1:])
