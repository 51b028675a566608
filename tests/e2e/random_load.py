"""Two hundred kills at random: a server that dies again and again under four clients that go on.

What is random comes from one seed: what the clients do, and when the server is killed. The same seed makes the same
choices again; how they fall between each other is the machine's.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
from anyio import to_thread
from e2e.client_sessions import ClientSession, Life, by_http, by_socket
from e2e.journal import Journal
from e2e.scenario import Scenario

from infra_mcp.cli.client import connect
from infra_mcp.errors import InfraError
from infra_mcp.server import offline

__all__ = ["KILLS", "SEED", "RandomLoad", "seed_for"]

SEED, KILLS = "INFRA_MCP_TEST_SEED", "INFRA_MCP_TEST_KILLS"  # of the environment, to have a random load once more
POLICY = """\
{apps}
deploy_on = "release/{{version}} merged, ready to deploy"

[apps.weekly]
owner = "docs"
workload = "{namespace}/deployment/docs"
image = "registry.example/docs/site:{{version}}"
grace = "1s"
timeout = "30s"
deploy_on = "weekly/{{version}} merged"
schedule = "{schedule}"

[attend]
namespaces = ["docs-*"]
actions = ["provision_namespace"]
pull_secrets = ["X"]

[[rules]]
id = "guarded"
match = {{ namespaces = ["docs-*-guarded*"] }}
require = {{ approvals = 1, by = "operator", strength = "same-user" }}
"""
QUIET = 120.0  # seconds in which all must have come to its end once nobody is killed any more


def seed_for(given: str | None) -> int:
    """The seed from the environment, or a fresh one."""
    return int(given) if given else int.from_bytes(os.urandom(4))


def doomed(seconds: float) -> None:
    """Called in a server's process: it is killed so long after its start, ready or not."""

    def strike() -> None:
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=strike, daemon=True).start()


@dataclass
class RandomLoad:
    """One world with its four clients.

    Args:
        world: one whose server does not run, with `policy` of this module.
        seed: decides what clients do and when servers die.
    """

    scenario: Scenario
    seed: int
    journal: Journal = field(default_factory=Journal)
    faults: list[str] = field(default_factory=list)
    kills: int = 0
    early: int = 0  # of them, before the server was ready
    numbers: int = 0
    yes: float = 0.8  # how many of what waits for a person is approved

    def __post_init__(self) -> None:
        """Four clients of three peers, and nobody connected yet."""
        self.dice = random.Random(self.seed)
        self.life = Life(0)
        self.born = anyio.Event()
        self.closing = anyio.Event()
        ways = (
            (("docs", "docs"), by_http("docs", "auto")),
            (("docs", "docs"), by_socket("auto", token="docs")),
            (("site", "docs"), by_http("site", "legacy")),
            (("infra", None), by_socket("auto", attend="infra")),
        )
        self.sessions = [ClientSession(self.scenario, who, way, self.next_life, self.faults) for who, way in ways]

    @staticmethod
    def policy(scenario: Scenario, schedule: str = "every 24h") -> str:
        """What the scenario's infra.toml says beside the session's."""
        return POLICY.format(apps=scenario.apps(), namespace=scenario.namespace, schedule=schedule)

    async def move_in(self) -> None:
        """Add the peer that the scenario does not have."""
        added = await offline.call(self.scenario.settings, "operator/peer.add", {"name": "site", "circle": "docs"})
        self.scenario.tokens["site"] = added["token"]

    def number(self) -> int:
        """A number that nobody else has."""
        self.numbers += 1
        return self.numbers

    # -- servers that live and die
    async def next_life(self, after: int) -> Life:
        """The server of now, or the next one, once it is ready: one that came after the one named and still lives."""
        while self.life.number <= after or self.life.over.is_set():
            await self.born.wait()
        return self.life

    async def rage(self, kills: int) -> None:
        """Start a server and kill it, so many times; then start the one that stays.

        Most die when their clients are there again, some while they come up or take up what was interrupted.
        """
        for _ in range(kills):
            kind = self.dice.random()
            if kind < 0.15:
                await self._stillborn(self.dice.uniform(0.0, 0.15))
            else:
                await self._begin()
                if kind > 0.3:
                    with anyio.move_on_after(5):
                        await self.life.full.wait()
                await anyio.sleep(self.dice.uniform(0.005, 0.4))
                await self.scenario.kill()
                self.life.over.set()
            self.kills += 1
        await self._begin()

    async def _begin(self) -> None:
        await self.scenario.start()
        self.life = Life(self.life.number + 1, len(self.sessions))
        self.born.set()
        self.born = anyio.Event()

    async def _stillborn(self, seconds: float) -> None:
        """A server that is killed while it comes up, or just after."""
        try:
            await self.scenario.start(partial(doomed, seconds))
        except RuntimeError:
            self.early += 1
            return
        await self.scenario.gone(10)

    # -- people
    async def approve(self) -> None:
        """An operator who looks now and then, and decides what waits: most are approved."""
        while True:
            for row in self.scenario.rows("SELECT * FROM requests WHERE state = 'awaiting_approval'"):
                yes = random.Random(f"{self.seed} {row['id']}").random() < self.yes
                told = {"request_id": row["id"], "digest": row["effect_digest"], "approve": yes}
                tried = {"request": row["id"], "approve": yes, "answered": False}
                self.journal.decided.append(tried)
                try:
                    await to_thread.run_sync(self._operate, "operator/approve", told)
                except InfraError as error:
                    if error.code not in {"server-unreachable", "approval-mismatch"}:
                        self.faults.append(f"an operator could not decide: {error}")
                    continue
                tried["answered"] = True
            await anyio.sleep(0.05)  # as people look: not at every moment

    def _operate(self, method: str, params: dict[str, Any]) -> None:
        with connect(self.scenario.settings, None) as client:
            client.method(method, params)

    def verify(self) -> list[str]:
        """Have the command line check the chain against the heads in commits, and those that clients were told."""
        settings = self.scenario.settings
        told = [one["audit_head"] for one in self.journal.ends if one["audit_head"]]
        argv = [sys.executable, "-m", "infra_mcp.cli.main", "audit", "verify", "--json"]
        argv += [f"--head={head}" for head in told[-200:]]
        places = {"INFRA_MCP_REPO": str(settings.repo), "INFRA_MCP_STATE": str(settings.state_dir)}
        null = subprocess.DEVNULL
        done = subprocess.run(
            argv, env=os.environ | places, stdin=null, capture_output=True, text=True, check=False, timeout=60
        )
        if done.returncode:
            return [f"audit verify ends with {done.returncode}: {done.stdout} {done.stderr}"]
        report = json.loads(done.stdout)
        if not report["heads_in_commits"] or report["proved_to"] is None:
            return [f"audit verify proves nothing: {report}"]
        return []

    # -- the end of it
    async def calm(self) -> None:
        """Wait until everything has its end, what is scheduled too once its time opens."""
        waits = "state = 'open'", "open AND state != 'scheduled'"
        await self._until_none(*waits)
        await self.scenario.accept_policy(self.policy(self.scenario, "now"))
        await self._until_none(waits[0], "open")
        self.scenario.git("checkout", "-q", "--", "infra.toml")

    async def _until_none(self, asks: str, requests: str) -> None:
        questions = f"SELECT id, state FROM asks WHERE {asks}", f"SELECT id, state FROM requests WHERE {requests}"
        left: list[Any] = []
        with anyio.move_on_after(QUIET):
            while left := [row for question in questions for row in self.scenario.rows(question)]:  # noqa: ASYNC110
                await anyio.sleep(0.05)
            return
        self.faults.append(f"after {QUIET:.0f} s of calm there is still open: {left}")
