"""Runs that are interrupted, killed or never done: what was made is known and said, locks go, and it can go on."""

import json
import os
import signal
from pathlib import Path

import pytest
from drivers.terraform.estate import BACKEND, MAIN, Estate, by_http, until, with_http, with_provider
from drivers.terraform.state_server import state_server

from infra_mcp.clients.terraform.child import descendants
from infra_mcp.model.request import State

pytestmark = [pytest.mark.anyio, pytest.mark.promise("terraform.saved-plan")]

SLOW = (
    BACKEND
    + """\
variable "value" {{
  type = string
}}

resource "terraform_data" "first" {{
  input = var.value
}}

resource "own_record" "slow" {{
  name  = terraform_data.first.output
  value = "slow-${{var.value}}"
}}
"""
)


SLEEPS = """
resource "terraform_data" "slow" {{
  triggers_replace = var.instances
  provisioner "local-exec" {{
    command = "sleep ${{var.instances}}"
  }}
}}
"""


def slow(home: Path, **more: str) -> Estate:
    """A workspace whose second resource takes as many seconds as the variable says."""
    options = with_provider(SLOW)
    for key, value in more.items():
        options[key] = value + options[key] if key == "more" else value
    estate = Estate(home, **options)
    estate.write("terraform.tfvars", 'value = "0"\n')
    estate.commit("A value")
    return estate


def programs() -> list[int]:
    """The OpenTofu processes that this one started and that run an apply, the program itself."""
    found = []
    for pid in descendants(os.getpid()):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if line and line[0].endswith(b"tofu") and b"apply" in line:
            found.append(pid)
    return found


async def applying(estate: Estate, address: str = "own_record.slow") -> int:
    """Wait until the slow resource is being made; returns the program's process id."""
    base = estate.settings.state_dir / "terraform" / "network"

    def begun() -> bool:
        lines = [line for path in base.glob("run-*/out-*") for line in path.read_text(encoding="utf-8").splitlines()]
        return any('"type":"apply_start"' in line and f'"{address}"' in line for line in lines)

    await until(begun)
    return programs()[0]


@pytest.mark.trap("T9")
async def test_the_lock_of_a_run_that_was_killed_is_released_by_its_id_and_the_next_request_lands(tmp_path):
    with state_server() as held:
        more = 'network = true\ndestroy = "allow"\nallow = ["provisioner:local-exec"]\n'
        estate = with_http(Estate(tmp_path, main=by_http(MAIN + SLEEPS, held.address), more=more))
        async with estate.engine() as engine:
            request = await estate.submit(engine, variables={"instances": 30})
            await applying(estate, "terraform_data.slow")
            lock = held.lock["ID"]
            os.kill(programs()[0], signal.SIGKILL)
            killed = await estate.end(engine, request)
            left = held.lock
            again = await estate.ask(engine, variables={"instances": 0})

    assert killed.state is State.FAILED, killed.receipt
    assert "was ended by signal 9" in killed.receipt["message"]
    assert left is not None
    assert left["ID"] == lock
    assert again.state is State.LANDED, again.receipt["message"]
    assert held.refused == 1
    assert held.lock is None


async def test_the_lock_of_somebody_else_is_never_released(tmp_path):
    with state_server() as held:
        estate = with_http(Estate(tmp_path, main=by_http(MAIN, held.address), more="network = true\n"))
        held.lock = {"ID": "11111111-1111-1111-1111-111111111111", "Who": "ann@desk", "Operation": "OperationTypeApply"}
        held.lock |= {"Created": "2026-11-30T05:55:45.110874226Z", "Info": "", "Version": "1.12.6", "Path": ""}
        async with estate.engine() as engine:
            done = await estate.ask(engine, variables={"instances": 3})

    assert done.state is not State.LANDED, done.receipt
    assert done.receipt["error"]["code"] == "workspace-locked", done.receipt
    for words in ("ann@desk", "11111111-1111-1111-1111-111111111111"):
        assert words in done.receipt["message"]
    assert held.lock["Who"] == "ann@desk"


async def test_a_run_that_is_killed_is_held_and_what_it_worked_on_is_named(tmp_path):
    estate = slow(tmp_path)
    async with estate.engine() as engine:
        request = await estate.submit(engine, variables={"value": "30"})
        os.kill(await applying(estate), signal.SIGKILL)
        killed = await estate.end(engine, request)
        again = await estate.ask(engine, variables={"value": "0.1"})

    assert killed.state is State.FAILED, killed.receipt
    for words in (
        "ended by signal 9",
        "own_record.slow, which may exist outside of the state",
        "What was made is kept",
    ):
        assert words in killed.receipt["message"], killed.receipt["message"]
    assert again.state is State.LANDED, again.receipt
    assert estate.records()["0.1"]["value"] == "slow-0.1"


async def test_an_apply_is_interrupted_once_when_the_server_stops_and_saves_its_state(tmp_path):
    estate = slow(tmp_path)
    async with estate.engine() as engine:
        request = await estate.submit(engine, variables={"value": "2"})
        pid = await applying(estate)
    await until(lambda: not Path(f"/proc/{pid}").exists())

    assert json.loads(estate.state.read_text(encoding="utf-8"))["resources"]
    async with estate.engine() as engine:
        done = await engine.wait(request.id, 120.0, to_end=True)

    assert done.state is State.LANDED, done.receipt
    assert estate.records()["2"]["value"] == "slow-2"


@pytest.mark.trap("T10")
async def test_a_second_plan_that_is_never_empty_has_not_landed_and_is_held(tmp_path):
    estate = slow(tmp_path)
    estate.write("main.tf", estate.in_git("main.tf").replace('"slow-${var.value}"', '"restless"'))
    estate.commit("A provider that never gives what it is asked for")
    async with estate.engine() as engine:
        done = await estate.ask(engine, variables={"value": "1"})

    assert done.state is State.FAILED, done.receipt
    assert done.receipt["error"]["code"] == "not-landed"
    assert "a second plan would still update own_record.slow" in done.receipt["message"]
    assert "What was made is kept" in done.receipt["message"]


@pytest.mark.trap("T6")
async def test_a_variable_that_no_plan_keeps_is_given_to_the_apply_again(tmp_path, monkeypatch):
    main = MAIN + 'variable "token" {{\n  type      = string\n  ephemeral = true\n}}\n'
    estate = Estate(tmp_path, main=main, more='environment = ["TF_VAR_token"]\n')
    monkeypatch.setenv("TF_VAR_token", "canary-ephemeral-2Hd7")
    async with estate.engine() as engine:
        first = await estate.ask(engine, variables={"instances": 3})
        monkeypatch.setenv("TF_VAR_token", "canary-ephemeral-9Xw1")
        second = await estate.ask(engine, variables={"instances": 4})

    assert (first.state, second.state) == (State.LANDED, State.LANDED), (first.receipt, second.receipt)
    assert "canary-ephemeral" not in json.dumps([first.receipt, second.receipt])
    assert "canary-ephemeral" not in estate.state.read_text(encoding="utf-8")
