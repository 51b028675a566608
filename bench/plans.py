"""The first plan of a fresh server, and the next one after somebody's commit, on repositories of several sizes."""

from __future__ import annotations

import time
from pathlib import Path

import estate
from e2e.cluster_setup import ClusterSetup
from e2e.scenario import Scenario
from mesh import Line
from reading import peer_of

__all__ = ["contest"]

SIZES = (100, 1000, 4000)
AIMS = {4000: (2000.0, 200.0)}  # ms: of the first plan and of the next
SERVERS = 3  # that are started for each size
FOLDER = "estate"  # below the scenario's root


async def contest(cluster_setup: ClusterSetup, home: Path, policy: str, rounds: int) -> list[Line]:
    """The lines about planning. A plan is a deploy with `dry_run`, by HTTP, from the call to its answer."""
    lines: list[Line] = []
    scenario = Scenario(cluster_setup, home, serve=False)
    scenario.policy = policy.format(namespace=scenario.namespace)
    async with scenario:
        for size in SIZES:
            estate.write(scenario.repo / "k8s" / FOLDER, size)
            _commit(scenario, f"{size} files")
            scenario.git("gc", "-q")  # one pack, as a clone has it
            first, following = AIMS.get(size, (None, None))
            cold = Line(f"first plan of a fresh server, {size} YAML files", "ms", below=first)
            warm = Line(f"next plan after a commit to one file, {size} YAML files", "ms", below=following)
            for server in range(SERVERS):
                await scenario.start()
                cold.ours.append(await _plan(scenario))
                for turn in range(rounds):
                    _touch(scenario, f"{server}.{turn}")
                    warm.ours.append(await _plan(scenario))
                await scenario.stop()
            lines += [cold, warm]
    return lines


async def _plan(scenario: Scenario) -> float:
    http, peer = peer_of(scenario)
    await peer.tool("whoami")  # a connection, and a server that has answered once
    begin = time.perf_counter()
    done = await peer.data("deploy", app="docs", version="9.9.9", dry_run=True)
    spent = (time.perf_counter() - begin) * 1000
    http.close()
    if done["state"] != "previewed":
        raise SystemExit(f"no plan: {done}")
    return spent


def _touch(scenario: Scenario, mark: str) -> None:
    """Commit another line at the end of one file of the estate."""
    path = next((scenario.repo / "k8s" / FOLDER).rglob("deployment.yaml"))
    with path.open("a", encoding="utf-8") as file:
        file.write(f"# {mark}\n")
    _commit(scenario, mark)


def _commit(scenario: Scenario, why: str) -> None:
    scenario.git("add", ".")
    scenario.git("commit", "-q", "-m", why)
