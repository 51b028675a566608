"""What a checkout is asked without a server: the census, a first preview, and the next one after a commit.

Each census and first preview is measured in a process of its own, as the command line has it, without the start of
Python; the next preview, of another version, in the same process after a commit to one file, as a server has it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import anyio
import estate
from mesh import Line

from infra_mcp.engine.preview import apps

__all__ = ["measure"]

SIZES = (100, 1000, 4000)
AIMS = {4000: (2000.0, 2000.0, 200.0)}  # ms: of the census, of the first preview and of the next
WORK = ("the census of a checkout", "first preview", "next preview after a commit to one file")
NEXT = 3  # previews after a commit, in each process
_CODE = """
import anyio, json, resource, subprocess, sys, time
from pathlib import Path
from infra_mcp.clients.git import Git
from infra_mcp.engine.preview import apps, preview
from infra_mcp.model.actions import ACTIONS
from infra_mcp.repository.builds import Builds

repo, what, turns = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

async def timed(call, *given):
    begin = time.perf_counter()
    answer = await call(*given)
    times.append((time.perf_counter() - begin) * 1000)
    if any(one["unbuilt"] for one in answer.get("reach", ())):
        raise SystemExit(f"not built: {answer['reach']}")

async def main():
    git, builds = Git(repo, repo / ".git" / "bench-lock"), Builds()

    async def plan(turn):
        deploy = ACTIONS["deploy"](app=sys.argv[4], version=f"99.9.{turn}", environment=sys.argv[5] or None)
        await timed(preview, repo, deploy, git, builds)

    await (timed(apps, repo, git) if what == "census" else plan(turns))
    for turn in range(turns):
        with open(repo / sys.argv[6], "a", encoding="utf-8") as file:
            file.write(f"# {turn}\\n")
        subprocess.run(["git", "-C", repo, "commit", "-q", "-a", "-m", "a line more"], check=True)
        await plan(turn)
    await git.aclose()

times = []
anyio.run(main)
print(json.dumps([times, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


def measure(rounds: int) -> list[Line]:
    """The lines about checkouts of each size."""
    lines: list[Line] = []
    for size in SIZES:
        aims = AIMS.get(size, (None, None, None))
        census, first, following = (
            Line(f"{what}, {size} YAML files", "ms", below=aim) for what, aim in zip(WORK, aims, strict=True)
        )
        memory = Line(f"memory of a process with a census, {size} YAML files", "MiB")
        with tempfile.TemporaryDirectory(prefix="infra-mcp-bench-") as folder:
            repo = Path(folder)
            app, environment, touched = _repository(repo, size)
            for _ in range(rounds):
                times, used = _run(repo, "census", 0, app, environment, touched)
                census.ours += times
                memory.ours.append(used)
                times, _ = _run(repo, "preview", NEXT, app, environment, touched)
                first.ours.append(times[0])
                following.ours += times[1:]
        lines += [census, first, following, memory]
    return lines


def _repository(repo: Path, size: int) -> tuple[str, str, str]:
    """Make it; the app to preview, its environment, and a file of another app to change."""
    estate.write(repo, size)
    git = ["git", "-C", str(repo)]
    for words in (
        ["init", "-q", "-b", "main"],
        ["config", "user.name", "Pat"],
        ["config", "user.email", "p@example.org"],
        ["config", "gc.auto", "0"],
        ["add", "."],
        ["commit", "-q", "-m", "as it is"],
        ["gc", "-q"],  # one pack, as a clone has it
    ):
        subprocess.run([*git, *words], check=True)
    found = anyio.run(apps, repo)["apps"]
    one = next(one for one in reversed(found) if one["environment"] and "/overlays/production/" in "".join(one["at"]))
    others = (other["at"][0].partition("#")[0] for other in found if other["app"] != one["app"] and other["at"])
    touched = next(path for path in others if path.endswith("/deployment.yaml"))
    return one["app"], one["environment"].rpartition("/")[2], touched


def _run(repo: Path, *words: object) -> tuple[list[float], float]:
    command = [sys.executable, "-c", _CODE, str(repo), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise SystemExit(done.stderr)
    times, memory = json.loads(done.stdout)
    return times, memory
