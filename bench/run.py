"""`make bench`: ours beside the shortest honest script, in one run on one machine, as ratios.

Rounds alternate, so that both meet the same load, and each run begins after the same pause, so that nobody pays for
what the other left the controllers to do. What is printed is the median of each side, the ratio of the medians,
our time by step, and whether the aim is met. Times of one run mean nothing by themselves; the ratio does.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

import applies  # noqa: E402 - found by the path above
import checkout  # noqa: E402
import connect  # noqa: E402
import decisions  # noqa: E402
import mesh  # noqa: E402
import pages  # noqa: E402
import plans  # noqa: E402
import pushes  # noqa: E402
import reading  # noqa: E402
import records  # noqa: E402
import releases  # noqa: E402
import rollout  # noqa: E402
import timing  # noqa: E402
import tracing  # noqa: E402
from e2e.cluster_setup import ClusterSetup  # noqa: E402
from e2e.scenario import APP, Scenario  # noqa: E402
from mcp.client.client import Client  # noqa: E402

from infra_mcp import sandbox  # noqa: E402

PARTS = (
    "changes",
    "plans",
    "reading",
    "checkout",
    "connect",
    "mesh",
    "records",
    "decisions",
    "applies",
    "pushes",
    "pages",
    "tracing",
    "releases",
)
ON_A_CLUSTER = {"changes", "plans", "reading", "releases"}
ALONE: dict[str, Callable[[int], Sequence[Shown]]] = {
    "checkout": checkout.measure,
    "connect": connect.measure,
    "records": records.measure,
    "decisions": decisions.measure,
    "applies": applies.measure,
    "pushes": pushes.measure,
}
PAUSE = 0.7  # seconds before each run, of either side
APPS = """
[apps.docs]
owner = "docs"
workload = "{namespace}/deployment/docs"
image = "registry.example/docs/site:{{version}}"
deploy_on = "release/{{version}} merged, ready to deploy"
"""


class Shown(Protocol):
    """A line of the result."""

    def show(self) -> None:
        """Print it."""


@dataclass
class Row:
    """One line of the result."""

    what: str
    aim: float  # how many times as fast as the rival; 0 where the row is for information
    ours: list[float] = field(default_factory=list)
    rival: list[float] = field(default_factory=list)
    steps: dict[str, list[float]] = field(default_factory=dict)

    def show(self) -> None:
        """Print it."""
        ours, rival = statistics.median(self.ours), statistics.median(self.rival)
        ratio = rival / ours
        verdict = f"aim {self.aim:.0f}x: {'met' if ratio >= self.aim else 'NOT met'}" if self.aim else "for information"
        print(f"\n{self.what}")
        times = f"ours {ours * 1000:7.0f} ms   rival {rival * 1000:7.0f} ms"
        print(f"  {times}   {ratio:5.1f}x   {verdict}")
        shown = ", ".join(f"{name} {statistics.median(values) * 1000:.0f}" for name, values in self.steps.items())
        print(f"  ours by step (ms): {shown}")


class Bench:
    """The two contestants on one control plane."""

    def __init__(self, scenario: Scenario, home: Path) -> None:
        self.scenario, self.home = scenario, home
        self.rival_repo = home / "rival"
        self.spans = home / "spans.jsonl"
        cluster_setup = scenario.cluster_setup
        self.env = os.environ | {
            "KUBECONFIG": str(cluster_setup.kubeconfig),
            "PATH": f"{cluster_setup.kubectl.parent}{os.pathsep}{os.environ['PATH']}",
            "GIT_CONFIG_GLOBAL": os.devnull,
        }

    def prepare(self) -> None:
        """The rival's repository, its secret, and its app."""
        repo = self.rival_repo
        (repo / "apps").mkdir(parents=True)
        for words in (("init", "-q", "-b", "main"), ("config", "user.name", "Pat"), ("config", "user.email", "p@x")):
            subprocess.run(["git", "-C", str(repo), *words], check=True, env=self.env)
        content = base64.b64encode(
            json.dumps({"auths": {"registry.example": {"auth": "cm9ib3Q6eA=="}}}).encode()
        ).decode()
        self.secret = self.home / "secret.yaml"
        self.secret.write_text(
            "apiVersion: v1\nkind: Secret\nmetadata: {name: registry-x, namespace: NAMESPACE}\n"
            f"type: kubernetes.io/dockerconfigjson\ndata: {{.dockerconfigjson: {content}}}\n",
            encoding="utf-8",
        )
        self.rival_namespace = self.scenario.fresh("rivalapp")
        manifest = APP.format(namespace=self.rival_namespace).replace("replicas: 2", "replicas: 3")
        path = repo / "apps" / f"{self.rival_namespace}-docs.yaml"
        path.write_text(manifest, encoding="utf-8")
        self.scenario.kubectl("apply", "-f", path)
        self.scenario.kubectl("-n", self.rival_namespace, "rollout", "status", "deployment/docs", "--timeout=60s")
        subprocess.run(["git", "-C", str(repo), "add", "."], check=True, env=self.env)
        subprocess.run(["git", "-C", str(repo), "commit", "-q", "-m", "as it runs"], check=True, env=self.env)
        self.scenario.kubectl("-n", self.scenario.namespace, "scale", "deployment/docs", "--replicas=3")
        self.scenario.kubectl("-n", self.scenario.namespace, "rollout", "status", "deployment/docs", "--timeout=60s")

    async def rival(self, row: Row, script: str, *words: str) -> None:
        """Run the rival's script and note its time."""
        await asyncio.sleep(PAUSE)
        begin = time.perf_counter()
        child = await asyncio.create_subprocess_exec(
            str(HERE / script), *words, env=self.env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        _, said = await child.communicate()
        row.rival.append(time.perf_counter() - begin)
        if child.returncode:
            raise SystemExit(f"{script} failed: {said.decode()}")

    async def ask(self, row: Row, client: Client, text: str) -> None:
        """From ask to ack, as a peer sees it."""
        await asyncio.sleep(PAUSE)
        begin, wall = time.perf_counter(), time.time()
        asked = await client.call_tool("ask", {"peer_name": "infra", "query": text})
        acked = await client.call_tool("wait_on_ack", {"correlation_id": asked.content[0].text.strip()})
        row.ours.append(time.perf_counter() - begin)
        self._note(row, wall, acked)

    async def deploy(self, row: Row, client: Client, version: str) -> None:
        """From the call to landed."""
        await asyncio.sleep(PAUSE)
        begin, wall = time.perf_counter(), time.time()
        done = await client.call_tool("deploy", {"app": "docs", "version": version})
        row.ours.append(time.perf_counter() - begin)
        self._note(row, wall, done)

    def _note(self, row: Row, begin: float, result: object) -> None:
        data = result.structured_content
        if data["state"] not in {"landed", "unchanged"}:
            raise SystemExit(f"ours failed: {data}")
        request = data["request"]
        at = {
            event["kind"]: datetime.fromisoformat(event["at"]).timestamp()
            for event in self.scenario.rows("SELECT * FROM events WHERE request = ? ORDER BY seq", request)
        }
        busy = timing.spans(self.spans, begin, time.time())
        planned = at.get("planned", at["finished"])
        steps = {
            "door": at["received"] - begin,
            "plan": planned - at["received"],
            "commit": busy.get("git", 0.0),
            "apply": max(0.0, at.get("applied", planned) - at.get("committing", planned)),
            "verify": at["finished"] - at.get("applied", at["finished"]),
            "ledger": busy.get("ledger", 0.0),
        }
        for name, seconds in steps.items():
            row.steps.setdefault(name, []).append(seconds)


async def contest(bench: Bench, rounds: int) -> list[Row]:
    """All rounds of all contests."""
    new = Row("ask -> ack: namespace + pull secret + service account, policy, plan, commit, apply, verify", 5)
    again = Row("the same request again (already so)", 10)
    out = Row("deploy until landed, 3 replicas", 0)
    async with bench.scenario.peer() as client:
        await bench.ask(Row("warm-up", 1), client, sentence(bench.scenario.fresh("warm")))
        for turn in range(rounds):
            ours, theirs = bench.scenario.fresh(f"o{turn}"), bench.scenario.fresh(f"r{turn}")
            await bench.ask(new, client, sentence(ours))
            await bench.rival(new, "rival_provision.sh", str(bench.rival_repo), theirs, str(bench.secret))
            await bench.ask(again, client, sentence(ours))
            await bench.rival(again, "rival_provision.sh", str(bench.rival_repo), theirs, str(bench.secret))
            await bench.deploy(out, client, f"2.0.{turn}")
            image = f"registry.example/docs/site:2.0.{turn}"
            rival = (str(bench.rival_repo), bench.rival_namespace, "docs", "site", image)
            await bench.rival(out, "rival_deploy.sh", *rival)
    return [new, again, out]


def sentence(namespace: str) -> str:
    """The seed's sentence."""
    return f"I need a namespace '{namespace}' with image-pull secret X"


async def main() -> int:
    """Run the parts asked for, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default=",".join(PARTS), help="some of the parts, with commas between: %(default)s")
    given = parser.parse_args()
    rounds, parts = given.rounds, given.only.split(",")
    rows: list[Shown] = []
    if ON_A_CLUSTER & set(parts):
        rows += await on_a_cluster(rounds, parts)
    for name, measure in ALONE.items():
        if name in parts:
            rows += await asyncio.to_thread(measure, rounds)
    for name, module in (("mesh", mesh), ("pages", pages), ("tracing", tracing)):
        if name in parts:
            rows += await module.measure(rounds)
    print(f"{rounds} rounds, alternating; medians. Load now {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.")
    for row in rows:
        row.show()
    return 0


async def on_a_cluster(rounds: int, parts: list[str]) -> list[Shown]:
    """What needs a control plane: brought up for it, and taken down."""
    rows: list[Shown] = []
    with tempfile.TemporaryDirectory(prefix="infra-mcp-bench-") as folder:
        home = Path(folder)
        found = await sandbox.up("bench", progress=None)
        try:
            (home / "cluster_setup").mkdir()
            (home / "scenario").mkdir()
            kubectl, kubeconfig = Path(found.kubectl), Path(found.kubeconfig)
            cluster_setup = ClusterSetup(kubectl, kubeconfig, found.context, home / "cluster_setup")
            await asyncio.to_thread(cluster_setup.prepare)
            if "plans" in parts:
                rows += await plans.contest(cluster_setup, home / "plans", APPS, rounds)
            if "releases" in parts:
                rows += await releases.contest(cluster_setup, home / "releases", rounds)
            if not {"changes", "reading"} & set(parts):
                return rows
            scenario = Scenario(cluster_setup, home / "scenario", serve=False)
            scenario.policy = APPS.format(namespace=scenario.namespace)
            async with scenario:
                bench = Bench(scenario, home)
                await asyncio.to_thread(bench.prepare)
                await scenario.start(timing.start, {timing.VARIABLE: str(bench.spans)})
                if "changes" in parts:
                    rows += await contest(bench, rounds)
                    rows += await rollout.contest(scenario, rounds)
                if "reading" in parts:
                    rows += await reading.contest(scenario, rounds)
        finally:
            await sandbox.down("bench")
    return rows


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
