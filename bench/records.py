"""How long one DNS record takes, from the request to its ack, beside sed, git, nsupdate and dig.

Needs BIND (named, nsupdate, dig). The engine runs in this process, with its ledger, policy, plan, commit and receipt.
"""

from __future__ import annotations

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

from engine.zone_ground import PATH, TREE, ZoneGround, zone_policy  # noqa: E402 - it is on the path now
from name_servers import ZONE, primary  # noqa: E402

AIM = 1.5  # times the rival's time


@dataclass
class Record:
    """One line of the result: seconds of each round."""

    ours: list[float]
    rival: list[float]

    def show(self) -> None:
        """Print it."""
        mine, theirs = statistics.median(self.ours), statistics.median(self.rival)
        print("\none DNS record: request -> ack, plan, commit, update and answer; rival: sed, git, nsupdate, dig")
        verdict = f"aim {AIM}x the time: {'met' if mine <= theirs * AIM else 'NOT met'}"
        times = f"ours {mine * 1000:7.0f} ms   rival {theirs * 1000:7.0f} ms"
        print(f"  {times}   {mine / theirs:5.2f}x the time   {verdict}")


async def _ours(ground: ZoneGround, rounds: int) -> list[float]:
    """Seconds of each request, the warm-up left out."""
    times = []
    async with ground.engine() as engine:
        for number in range(rounds + 1):
            began = time.perf_counter()
            done = await ground.ask(engine, "www", "A", f"192.0.2.{number + 10}")
            times.append(time.perf_counter() - began)
            if done.state.value != "landed":
                sys.exit(str(done.receipt))
    return times[1:]


def _rival(repo: Path, port: int, key: Path, rounds: int) -> list[float]:
    """The same by hand."""
    times = []
    for number in range(rounds + 1):
        argv = [HERE / "rival_record.sh", repo, ZONE, "www", f"192.0.2.{number + 100}", port, key]
        began = time.perf_counter()
        subprocess.run(list(map(str, argv)), check=True, stdin=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    return times[1:]


def measure(rounds: int) -> list[Record]:
    """Both, one after the other, on one BIND."""
    rounds = min(rounds, 100)
    with tempfile.TemporaryDirectory() as home:
        folders = [Path(home, name) for name in ("server", "ours", "rival")]
        for folder in folders:
            folder.mkdir()
        with primary(folders[0], "www 300 IN A 192.0.2.1\n") as bind:
            grounds = [ZoneGround(folder) for folder in folders[1:]]
            for ground in grounds:
                ground.make(zone_policy(bind.at, bind.key_file, bind.at), {PATH: TREE})
            mine = anyio.run(_ours, grounds[0], rounds)
            return [Record(mine, _rival(grounds[1].repo, bind.port, bind.key_file, rounds))]
