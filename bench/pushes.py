"""How long a change takes until the remote has it, beside `git commit` and `git push`; and from a merge to the ack.

The engine runs in this process, with its ledger, policy, plan, clone and receipt. The remote is git over HTTP on
loopback; the merge is at a real Gitea where the tests' one was built, and left out elsewhere.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import anyio

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

import gitea_program  # noqa: E402 - it is on the path now
from engine.forge_ground import GiteaGround  # noqa: E402
from engine.two_kinds import NEW, register  # noqa: E402
from git_server import GitServer  # noqa: E402
from gitea import gitea_server  # noqa: E402

from infra_mcp.engine.engine import Engine  # noqa: E402
from infra_mcp.engine.signals import PROPOSALS  # noqa: E402
from infra_mcp.model.actions.deploy import Deploy  # noqa: E402
from infra_mcp.model.peer import Caller  # noqa: E402
from infra_mcp.model.request import Submission  # noqa: E402
from infra_mcp.policy.policy import digest_of  # noqa: E402
from infra_mcp.settings import Settings  # noqa: E402

AIM = 2.0  # times the rival's time
POLL, SLACK = 1.0, 0.5  # seconds: between two looks at the forge, and beyond that
SHAPE = HERE.parent / "tests" / "shapes" / "flux-home" / "repo"
FILE = "kubernetes/apps/media/reel/app/helmrelease.yaml"
APPS = Caller(name="apps", circle="apps", strength="token")
POLICY = """
[tree]
write = "push"
[[tree.roots]]
path = "kubernetes"
delivery = "external"
[[owners]]
paths = ["kubernetes/apps/**"]
owner = "apps"
[circles.apps]
namespaces = ["media"]
actions = ["deploy"]
images = ["*"]
[apps.reel]
owner = "apps"
versions = ["10.*"]
"""


@dataclass
class Pushed:
    """One line of the result: seconds of each round."""

    ours: list[float]
    rival: list[float]

    def show(self) -> None:
        """Print it."""
        mine, theirs = statistics.median(self.ours), statistics.median(self.rival)
        print("\na version set and pushed: request -> ack, with plan and policy; rival: sed, git commit, git push")
        verdict = f"aim {AIM}x the time: {'met' if mine <= theirs * AIM else 'NOT met'}"
        print(f"  ours {mine * 1000:7.0f} ms   rival {theirs * 1000:7.0f} ms   {mine / theirs:5.2f}x   {verdict}")


@dataclass
class Merged:
    """From a merge at Gitea to the ack: seconds of each round."""

    how: str
    aim: float
    seconds: list[float]

    def show(self) -> None:
        """Print it."""
        worst, middle = max(self.seconds), statistics.median(self.seconds)
        print(f"\na merge at Gitea -> ack, {self.how}: planned and judged again, applied, confirmed")
        verdict = f"aim at most {self.aim} s: {'met' if worst <= self.aim else 'NOT met'}"
        print(f"  median {middle * 1000:7.0f} ms   longest {worst * 1000:7.0f} ms   {verdict}")


def _lay_out(home: Path) -> None:
    shutil.copytree(SHAPE, home / "repo")
    (home / "repo" / "infra.toml").write_text(POLICY, encoding="utf-8")
    named = ["-c", "user.name=u", "-c", "user.email=u@localhost"]
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], [*named, "commit", "-qm", "Begin"]):
        subprocess.run(["git", "-C", home / "repo", *words], check=True)
    subprocess.run(["git", "clone", "-q", "--bare", home / "repo", home / "origin.git"], check=True)
    subprocess.run(["git", "-C", home / "origin.git", "config", "http.receivepack", "true"], check=True)


async def _ours(home: Path, rounds: int) -> list[float]:
    """Seconds of each request, the warm-up left out."""
    settings, times = Settings(home / "repo", home / "state", home / "kubeconfig"), []
    async with Engine.open(settings, policy_pin=digest_of(POLICY)) as engine:
        for number in range(rounds + 1):
            began = time.perf_counter()
            action = Deploy(app="reel", version=f"10.10.{number}", drop_digest=True)
            taken = await engine.submit(Submission(caller=APPS, action=action, channel="tool"))
            done = await engine.wait(taken.request.id, 60)
            times.append(time.perf_counter() - began)
            if done.state.value != "pushed":
                sys.exit(str(done.receipt))
    return times[1:]


def _rival(home: Path, rounds: int) -> list[float]:
    """The same by hand."""
    times = []
    for number in range(rounds + 1):
        argv = [HERE / "rival_push.sh", home / "repo", FILE, f"10.10.{number}"]
        began = time.perf_counter()
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    return times[1:]


async def _merges(ground: GiteaGround, rounds: int, *, woken: bool) -> list[float]:
    """Seconds from the answer to a merge to the end of its request."""
    times = []
    async with ground.engine() as engine:
        for number in range(rounds):
            version = f"{int(NEW.partition('.')[0]) + number}.0.0"
            request = await ground.submit(engine, version)
            found = await engine.wait(request.id, 60)
            pull = found.record["proposal"]["number"]
            await anyio.to_thread.run_sync(ground.merge, pull)
            began = time.perf_counter()
            if woken:
                engine.signals.wake(PROPOSALS)
            done = await engine.wait(request.id, 60, to_end=True)
            times.append(time.perf_counter() - began)
            if done.state.value != "landed":
                sys.exit(str(done.receipt))
    return times


def measure(rounds: int) -> list[Pushed | Merged]:
    """All of them, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        sides = [Path(folder, name) for name in ("ours", "rival")]
        servers = [GitServer(home) for home in sides]
        for home in sides:
            home.mkdir()
            _lay_out(home)
        with servers[0].up() as first, servers[1].up() as second:
            for home, url in zip(sides, (first, second), strict=True):
                subprocess.run(["git", "-C", home / "repo", "remote", "add", "origin", f"{url}/origin.git"], check=True)
            rows: list[Pushed | Merged] = [Pushed(anyio.run(_ours, sides[0], rounds), _rival(sides[1], rounds))]
        return rows + (_at_gitea(Path(folder), rounds) if gitea_program.program() else [])


def _at_gitea(folder: Path, rounds: int) -> list[Pushed | Merged]:
    register()
    rows: list[Pushed | Merged] = []
    with gitea_server(folder / "gitea") as server:
        for how, woken, aim in (("seen by polling", False, POLL + SLACK), ("woken, as by a webhook", True, SLACK)):
            ground = GiteaGround(folder / how.split()[0], server)
            ground.make()
            rows.append(Merged(how, aim, anyio.run(lambda g=ground, w=woken: _merges(g, min(rounds, 9), woken=w))))
    return rows
