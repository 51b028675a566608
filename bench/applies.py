"""How long a value of a Terraform workspace takes, from the request to its ack, beside sed, git and the CLI.

Needs OpenTofu, and Go for the tests' own provider. The engine runs in this process, with its ledger, policy, plan,
commit and receipt. The CLI's folder is initialised before; each request of ours prepares a folder of its own. Ours
plans three times, twice to know what an approval is for and once to know that it landed; the CLI plans once.
"""

from __future__ import annotations

import os
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

from drivers.terraform.estate import BACKEND, Estate, with_provider  # noqa: E402 - it is on the path now
from drivers.terraform.own_provider import executable, mirror  # noqa: E402

AIM = 1.15  # times the rival's time
RECORDS = 20
MAIN = (
    BACKEND
    + f"""\
variable "value" {{{{
  type = string
}}}}

resource "own_record" "one" {{{{
  count = {RECORDS}
  name  = "record-${{{{count.index}}}}"
  value = var.value
}}}}
"""
)


@dataclass
class Applied:
    """One line of the result: seconds of each round."""

    ours: list[float]
    rival: list[float]

    def show(self) -> None:
        """Print it."""
        mine, theirs = statistics.median(self.ours), statistics.median(self.rival)
        print(f"\none value of a workspace with {RECORDS} resources: request -> ack, planned twice, judged, committed,")
        print("applied, confirmed by one more plan; rival: sed, git, tofu plan, tofu apply")
        verdict = f"aim {AIM}x the time: {'met' if mine <= theirs * AIM else 'NOT met'}"
        times = f"ours {mine * 1000:7.0f} ms   rival {theirs * 1000:7.0f} ms"
        print(f"  {times}   {mine / theirs:5.2f}x the time   {verdict}")


def _estate(home: Path) -> Estate:
    made = Estate(home, **with_provider(MAIN))
    made.write("terraform.tfvars", 'value = "0"\n')
    made.write(".gitignore", ".terraform/\n")
    made.commit("A value")
    made.state.parent.mkdir(parents=True, exist_ok=True)
    return made


class _Rival:
    """The same by hand."""

    def __init__(self, estate: Estate) -> None:
        self.estate = estate
        config = estate.home / "cli.rc"
        config.write_text(f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror()}"\n  }}\n}}\n')
        more = {"HOME": str(estate.home), "TF_CLI_CONFIG_FILE": str(config), "CHECKPOINT_DISABLE": "1"}
        self.env = {"PATH": os.environ["PATH"], **more}
        self._run([executable(), "init", "-input=false"])

    def _run(self, argv: list[str]) -> None:
        out = subprocess.DEVNULL
        subprocess.run(argv, check=True, env=self.env, cwd=self.estate.folder, stdin=out, stdout=out)

    def set(self, value: str) -> None:
        self._run([str(HERE / "rival_apply.sh"), str(self.estate.repo), value, executable()])


async def _rounds(ours: Estate, rival: _Rival, rounds: int) -> Applied:
    """Both in turn, so that what else the machine does is borne by both; the warm-up is left out."""
    made = Applied([], [])
    async with ours.engine() as engine:
        for number in range(rounds + 1):
            began = time.perf_counter()
            done = await ours.ask(engine, variables={"value": str(number + 1)})
            made.ours.append(time.perf_counter() - began)
            if done.state.value != "landed":
                sys.exit(str(done.receipt))
            began = time.perf_counter()
            await anyio.to_thread.run_sync(rival.set, str(number + 1))
            made.rival.append(time.perf_counter() - began)
    return Applied(made.ours[1:], made.rival[1:])


def measure(rounds: int) -> list[Applied]:
    """Both, on states and worlds of their own."""
    rounds = min(rounds, 10)
    with tempfile.TemporaryDirectory() as home:
        folders = [Path(home, name) for name in ("ours", "rival")]
        for folder in folders:
            folder.mkdir()
        ours, theirs = map(_estate, folders)
        return [anyio.run(_rounds, ours, _Rival(theirs), rounds)]
