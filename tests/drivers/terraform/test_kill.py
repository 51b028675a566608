"""The server, OpenTofu and both are killed at random points: the end is known, said, and goes on without a person.

The state is a file at even seeds, and on a server with locks at odd ones: there a killed run leaves its lock.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from drivers.terraform.estate import ASKER, BACKEND, Estate, by_http, until, with_http, with_provider
from drivers.terraform.state_server import state_server

from infra_mcp.clients.terraform.child import descendants
from infra_mcp.model.request import State

pytestmark = [pytest.mark.anyio, pytest.mark.process, pytest.mark.promise("terraform.saved-plan")]

RECORDS = (
    BACKEND
    + """\
variable "value" {{
  type = string
}}

resource "own_record" "first" {{
  name  = "first"
  value = "slow-0.${{var.value}}"
}}

resource "own_record" "second" {{
  name  = "second"
  value = own_record.first.value
}}
"""
)
# The same without a provider, whose world would be a file of this machine that only a local state makes writable.
STEPS = (
    BACKEND
    + """\
variable "value" {{
  type = string
}}

resource "terraform_data" "first" {{
  input = "slow-0.${{var.value}}"
  provisioner "local-exec" {{
    command = "sleep 0.${{var.value}}"
  }}
}}

resource "terraform_data" "second" {{
  input = terraform_data.first.output
}}
"""
)
REMOTE = 'network = true\ndestroy = "allow"\nallow = ["provisioner:local-exec"]\n'
SEEDS = range(10)
MORE_SEEDS = range(100, 150)
_SECONDS = 8.0  # that a request takes on a busy machine


@contextlib.contextmanager
def made(home: Path, seed: int) -> Iterator[Estate]:
    """Two records, the second of which waits for the first."""
    with contextlib.ExitStack() as stack:
        held = stack.enter_context(state_server()) if seed % 2 else None
        if held:
            estate = with_http(Estate(home, main=by_http(STEPS, held.address), more=REMOTE))
        else:
            estate = Estate(home, **with_provider(RECORDS))
        estate.write("terraform.tfvars", 'value = "1"\n')
        estate.commit("A value")
        yield estate
        if held:
            found = json.loads(held.state)["resources"]
            values = {one["name"]: one["instances"][0]["attributes"]["input"]["value"] for one in found}
            assert values == dict.fromkeys(("first", "second"), "slow-0.3")
            assert held.lock is None


async def recovered(estate: Estate, seed: int, writes: int = 1) -> list[str]:
    """What is wrong after the next server has come to the end of the request.

    Args:
        estate: where.
        seed: for messages.
        writes: how often a record may have been written.
    """
    async with estate.engine() as engine:
        done = await estate.ask(engine, variables={"value": "3"}, idempotency_key="once")
        # A request that had landed needs no workspace; what the former server left goes when it is opened.
        await engine.status(ASKER, place="network")
    records = {name: one["value"] for name, one in estate.records().items()}
    wrong = [] if done.state is State.LANDED else [f"{done.state.value}: {done.receipt['message']}"]
    wrong += [] if seed % 2 or records == dict.fromkeys(("first", "second"), "slow-0.3") else [str(records)]
    wrong += [] if estate.in_git() == 'value = "3"' else [estate.in_git()]
    wrong += [f"written again: {name}" for name, one in estate.records().items() if one["serial"] > writes]
    wrong += [str(path) for path in (estate.settings.state_dir / "terraform" / "network").glob("run*/*")]
    wrong += await still_there(estate)
    return [f"seed {seed}: {one}" for one in wrong]


async def killed_server(home: Path, seed: int, *, both: bool = False) -> list[str]:
    """A server in a process of its own is killed at a random moment."""
    with made(home, seed) as estate:
        argv = [sys.executable, __file__, str(home)]
        env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        after = random.Random(seed).uniform(0.0, _SECONDS)
        async with await anyio.open_process(argv, env=env, stdin=subprocess.DEVNULL, stderr=None) as child:
            with anyio.move_on_after(after):
                await child.wait()
            if child.returncode is None:
                running = programs(child.pid) if both else []
                os.kill(child.pid, signal.SIGKILL)
                for pid in running:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            await child.wait()
        # What was made and is in no state, since the program was killed before it wrote that, is made again.
        return await recovered(estate, seed, writes=2 if both else 1)


async def killed_both(home: Path, seed: int) -> list[str]:
    """The server and what it runs are killed at the same moment, as where the machine stops."""
    return await killed_server(home, seed, both=True)


async def killed_program(home: Path, seed: int) -> list[str]:
    """OpenTofu is killed at a random moment of its work; then somebody asks again."""
    with made(home, seed) as estate:
        return await _killed_program(estate, seed)


async def _killed_program(estate: Estate, seed: int) -> list[str]:
    after = random.Random(seed).uniform(0.0, _SECONDS)
    async with estate.engine() as engine:
        request = await estate.submit(engine, variables={"value": "3"})
        with anyio.move_on_after(after):
            await engine.wait(request.id, 120.0, to_end=True)
        with anyio.move_on_after(5):
            await until(programs)
        for pid in programs():
            os.kill(pid, signal.SIGKILL)
        first = await estate.end(engine, request)
        again = await estate.ask(engine, variables={"value": "3"})
    wrong = []
    if first.state is State.FAILED:
        held = "is kept" in first.receipt["message"]
        said = ("signal 9", "does not say its version")
        wrong += [] if any(one in first.receipt["message"] for one in said) else [first.receipt["message"]]
        in_git = estate.git("log", "--format=%s").splitlines()[:-2]
        wrong += [] if held or not first.receipt["commit"] or first.receipt["revert"] else [f"{in_git}"]
    elif first.state is not State.LANDED:
        wrong.append(f"{first.state.value}: {first.receipt['message']}")
    if again.state not in {State.LANDED, State.UNCHANGED}:
        wrong.append(f"again {again.state.value}: {again.receipt['message']}")
    records = {name: one["value"] for name, one in estate.records().items()}
    wrong += [] if seed % 2 or records == dict.fromkeys(("first", "second"), "slow-0.3") else [str(records)]
    wrong += await still_there(estate)
    return [f"seed {seed}: {one}" for one in wrong]


async def still_there(estate: Estate) -> list[str]:
    """The processes of runs that did not end: what they run names their folder."""
    with anyio.move_on_after(30):
        await until(lambda: not _of(estate))
    return [f"still runs: {one}" for one in _of(estate)]


def _of(estate: Estate) -> list[str]:
    folder, found = str(estate.settings.state_dir / "terraform"), []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_text("utf-8", "replace").replace("\0", " ")
            found += [words[:200]] if folder in words else []
    return found


def programs(of: int | None = None) -> list[int]:
    """The OpenTofu processes that a process started, by default this one: the program itself and not what it runs."""
    found = []
    for pid in descendants(of or os.getpid()):
        try:
            name = Path(f"/proc/{pid}/exe").readlink().name
        except OSError:
            continue
        found += [pid] if name == "tofu" else []
    return found


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_killed_server_is_followed_by_one_that_comes_to_the_same_end_and_writes_nothing_twice(tmp_path, seed):
    assert await killed_server(tmp_path, seed) == []


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_killed_run_is_said_and_the_next_request_lands(tmp_path, seed):
    assert await killed_program(tmp_path, seed) == []


@pytest.mark.trap("T9")
@pytest.mark.parametrize("seed", SEEDS)
async def test_a_server_killed_with_what_it_runs_is_followed_by_one_that_releases_its_lock_and_lands(tmp_path, seed):
    assert await killed_both(tmp_path, seed) == []


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kill", [killed_server, killed_program, killed_both])
async def test_at_fifty_random_points_it_is_the_same(tmp_path, kill):
    faults = []
    for seed in MORE_SEEDS:
        faults += await kill(tmp_path / str(seed), seed)
        sys.stderr.write(f"{kill.__name__} {seed}: {faults}\n")
    assert faults == []


async def _child(home: str) -> None:
    """Ask in a process of its own."""
    estate = Estate.there(Path(home))
    async with estate.engine() as engine:
        await estate.ask(engine, variables={"value": "3"}, idempotency_key="once")


if __name__ == "__main__":
    anyio.run(_child, sys.argv[1])
