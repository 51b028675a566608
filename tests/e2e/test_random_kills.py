"""Killed at random, again and again, under clients that go on: nothing lost, nothing done twice, each ask one ack."""

import os
import sys

import anyio
import pytest
import yaml
from e2e.errands import Desk, Errands, Mailbox
from e2e.killing import DEPLOYMENTS, INSIDE, now, verdict, verdict_on_mail
from e2e.storm import KILLS, SEED, Storm, seed_for
from e2e.world import World

pytestmark = [pytest.mark.cluster, pytest.mark.anyio]

PULL_SECRETS = "infra-mcp.dev/pull-secrets"
LANES = 4  # errands that a client is on at once
SETTLED = 120  # seconds for the last errands to come to their end


async def _storm(world: World, seed: int, kills: int) -> tuple[Storm, list[str]]:
    """Let it rage, let it calm down, and judge."""
    storm = Storm(world, seed)
    await storm.move_in()
    since = now(world)
    async with anyio.create_task_group() as people:
        for number, guest in enumerate(storm.guests):
            people.start_soon(guest.stay)
            people.start_soon((Mailbox if guest.who[1] else Desk)(storm, guest, number).run)
        people.start_soon(storm.approve)
        async with anyio.create_task_group() as errands:
            for number, guest in enumerate(storm.guests):
                for lane in range(LANES if guest.who[1] else 0):
                    errands.start_soon(Errands(storm, guest, number * LANES + lane).run)
            await storm.rage(kills)
            storm.closing.set()
            errands.cancel_scope.deadline = anyio.current_time() + SETTLED
        if errands.cancel_scope.cancelled_caught:
            storm.faults.append(f"some errands had no end after {SETTLED} s")
        await storm.calm()
        people.cancel_scope.cancel()
    heads = await anyio.to_thread.run_sync(storm.verify)
    await world.stop()
    return storm, [*storm.faults, *heads, *await _judged(world, storm, since)]


async def _judged(world: World, storm: Storm, since: str) -> list[str]:
    places = [name for name in _namespaces(world) if name != world.namespace]
    paths = [DEPLOYMENTS.format(world.namespace), *(path.format(name) for name in places for path in INSIDE)]
    faults = await verdict(world, paths, since)
    faults += await verdict_on_mail(world, storm.journal.told())
    return faults + _differences(world)


def _namespaces(world: World) -> list[str]:
    found = world.kubectl("get", "namespaces", "-o", "name").split()
    return [name.removeprefix("namespace/") for name in found if f"-{world.name}" in name]


def _differences(world: World) -> list[str]:
    """Where the cluster is not as the branch's head says, for all that is ours; and what is there and in no file."""
    faults, seen = [], set()
    for file in world.git("ls-files", "*.yaml").split():
        for one in yaml.safe_load_all(world.git("show", f"HEAD:{file}")):
            about = one["metadata"]
            live = world.live_object(one["kind"], about["name"], about.get("namespace"))
            if live is None or not _within(one, live):
                faults.append(f"{file}: {one['kind']} {about['name']} is not so on the cluster")
                continue
            if one["kind"] == "Namespace":
                seen.add(about["name"])
            wanted = about.get("annotations", {}).get(PULL_SECRETS)
            if wanted and live.get("imagePullSecrets") != [{"name": f"registry-{wanted.lower()}"}]:
                faults.append(f"{file}: {about['name']} lacks its pull secret")
    return faults + [f"namespace {name} is in no file" for name in set(_namespaces(world)) - seen]


def _within(wanted, live) -> bool:
    """Whether everything that is wanted is so."""
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(_within(value, live.get(key)) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(live, list) and len(wanted) == len(live) and all(map(_within, wanted, live))
    return wanted == live


async def _weathered(ground, home, seed: int, kills: int) -> list[str]:
    """A world of its own for one storm; what is wrong afterwards, printed with what it takes to have it again."""
    world = World(ground, home, serve=False)
    world.policy = Storm.policy(world)
    async with world:
        storm, faults = await _storm(world, seed, kills)
    counts = ", ".join(f"{count} {name}" for name, count in sorted(storm.journal.counts.items()))
    sys.stderr.write(f"\nseed {seed}: {storm.kills} kills, {storm.early} before the server was ready; {counts}\n")
    if faults:
        again = f"{SEED}={seed} {KILLS}={kills} make test-all TESTS=tests/e2e/test_random_kills.py"
        sys.stderr.write("".join(f"  {fault}\n" for fault in faults) + f"once more: {again}\n")
    return faults


@pytest.mark.timeout(600)
@pytest.mark.promise("mesh.durable", "recover.reobserve", "attend.claim", "notify.order", "approval.digest")
async def test_whenever_a_server_is_killed_what_was_accepted_comes_to_one_end(ground, tmp_path):
    seed, kills = seed_for(os.environ.get(SEED)), int(os.environ.get(KILLS, "10"))
    assert await _weathered(ground, tmp_path, seed, kills) == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("storm", range(8))
async def test_two_hundred_kills_at_random_leave_nothing_lost_and_nothing_done_twice(ground, tmp_path, storm):
    seed = seed_for(os.environ.get(SEED)) + storm
    assert await _weathered(ground, tmp_path, seed, 25) == []
