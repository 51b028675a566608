"""Killed at random, again and again, under clients that go on: nothing lost, nothing done twice, each ask one ack."""

import os
import sys

import anyio
import pytest
import yaml
from e2e.fault_injection import now, verdict, verdict_on_mail
from e2e.kill_cases import DEPLOYMENTS, INSIDE
from e2e.random_load import KILLS, SEED, RandomLoad, seed_for
from e2e.random_requests import AttendantSessions, Mailbox, RandomRequests
from e2e.scenario import Scenario

pytestmark = [pytest.mark.cluster, pytest.mark.anyio]

PULL_SECRETS = "infra-mcp.dev/pull-secrets"
LANES = 4  # errands that a client is on at once
SETTLED = 120  # seconds for the last errands to come to their end


async def _storm(scenario: Scenario, seed: int, kills: int) -> tuple[RandomLoad, list[str]]:
    """Let it rage, let it calm down, and judge."""
    load = RandomLoad(scenario, seed)
    await load.move_in()
    since = now(scenario)
    async with anyio.create_task_group() as people:
        for number, session in enumerate(load.sessions):
            people.start_soon(session.stay)
            people.start_soon((Mailbox if session.who[1] else AttendantSessions)(load, session, number).run)
        people.start_soon(load.approve)
        async with anyio.create_task_group() as errands:
            for number, session in enumerate(load.sessions):
                for lane in range(LANES if session.who[1] else 0):
                    errands.start_soon(RandomRequests(load, session, number * LANES + lane).run)
            await load.rage(kills)
            load.closing.set()
            errands.cancel_scope.deadline = anyio.current_time() + SETTLED
        if errands.cancel_scope.cancelled_caught:
            load.faults.append(f"some errands had no end after {SETTLED} s")
        await load.calm()
        people.cancel_scope.cancel()
    heads = await anyio.to_thread.run_sync(load.verify)
    await scenario.stop()
    return load, [*load.faults, *heads, *await _judged(scenario, load, since)]


async def _judged(scenario: Scenario, load: RandomLoad, since: str) -> list[str]:
    places = [name for name in _namespaces(scenario) if name != scenario.namespace]
    paths = [DEPLOYMENTS.format(scenario.namespace), *(path.format(name) for name in places for path in INSIDE)]
    faults = await verdict(scenario, paths, since)
    faults += await verdict_on_mail(scenario, load.journal.told())
    return faults + _differences(scenario)


def _namespaces(scenario: Scenario) -> list[str]:
    found = scenario.kubectl("get", "namespaces", "-o", "name").split()
    return [name.removeprefix("namespace/") for name in found if f"-{scenario.name}" in name]


def _differences(scenario: Scenario) -> list[str]:
    """Where the cluster is not as the branch's head says, for all that is ours; and what is there and in no file."""
    faults, seen = [], set()
    for file in scenario.git("ls-files", "*.yaml").split():
        for one in yaml.safe_load_all(scenario.git("show", f"HEAD:{file}")):
            about = one["metadata"]
            live = scenario.live_object(one["kind"], about["name"], about.get("namespace"))
            if live is None or not _within(one, live):
                faults.append(f"{file}: {one['kind']} {about['name']} is not so on the cluster")
                continue
            if one["kind"] == "Namespace":
                seen.add(about["name"])
            wanted = about.get("annotations", {}).get(PULL_SECRETS)
            if wanted and live.get("imagePullSecrets") != [{"name": f"registry-{wanted.lower()}"}]:
                faults.append(f"{file}: {about['name']} lacks its pull secret")
    return faults + [f"namespace {name} is in no file" for name in set(_namespaces(scenario)) - seen]


def _within(wanted, live) -> bool:
    """Whether everything that is wanted is so."""
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(_within(value, live.get(key)) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(live, list) and len(wanted) == len(live) and all(map(_within, wanted, live))
    return wanted == live


async def _weathered(cluster_setup, home, seed: int, kills: int) -> list[str]:
    """A scenario of its own for one random load; what is wrong afterwards, printed with how to have it again."""
    scenario = Scenario(cluster_setup, home, serve=False)
    scenario.policy = RandomLoad.policy(scenario)
    async with scenario:
        load, faults = await _storm(scenario, seed, kills)
    counts = ", ".join(f"{count} {name}" for name, count in sorted(load.journal.counts.items()))
    sys.stderr.write(f"\nseed {seed}: {load.kills} kills, {load.early} before the server was ready; {counts}\n")
    if faults:
        again = f"{SEED}={seed} {KILLS}={kills} make test-all TESTS=tests/e2e/test_random_kills.py"
        sys.stderr.write("".join(f"  {fault}\n" for fault in faults) + f"once more: {again}\n")
    return faults


@pytest.mark.timeout(600)
@pytest.mark.promise("mesh.durable", "recover.reobserve", "attend.claim", "notify.order", "approval.digest")
async def test_whenever_a_server_is_killed_what_was_accepted_comes_to_one_end(cluster_setup, tmp_path):
    seed, kills = seed_for(os.environ.get(SEED)), int(os.environ.get(KILLS, "10"))
    assert await _weathered(cluster_setup, tmp_path, seed, kills) == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("load", range(8))
async def test_two_hundred_kills_at_random_leave_nothing_lost_and_nothing_done_twice(cluster_setup, tmp_path, load):
    seed = seed_for(os.environ.get(SEED)) + load
    assert await _weathered(cluster_setup, tmp_path, seed, 25) == []
