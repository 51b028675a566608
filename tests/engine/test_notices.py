"""People are told, by a program of theirs, the moment that a request waits for them."""

import json

import anyio
import pytest
from engine.ledger_fixture import DOCS, EFFECT, NEED, PAT
from engine.two_kinds import APPROVAL, Ground, register, until

from infra_mcp.engine.notices import Notices
from infra_mcp.engine.signals import PARKED_CHANGED, Signals
from infra_mcp.errors import InfraError
from infra_mcp.model.record import Record
from infra_mcp.model.request import State

pytestmark = pytest.mark.anyio


class Told:
    """A program that keeps what it was told."""

    def __init__(self, home, end="exit 0"):
        self.file, self.program = home / "told", home / "tell"
        self.program.write_text(f'#!/bin/sh\ncat >> "{self.file}"\necho no >&2\n{end}\n', encoding="utf-8")
        self.program.chmod(0o700)

    @property
    def all(self):
        text = self.file.read_text("utf-8") if self.file.exists() else ""
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def told(tmp_path):
    return Told(tmp_path)


def notices(ledger_fixture, told, signals=None):
    return Notices(ledger_fixture.ledger, signals or Signals(), str(told.program), told.program.parent)


async def test_an_approval_that_is_waited_for_is_told_once_with_the_command_that_decides(ledger_fixture, told):
    signals = Signals()
    async with anyio.create_task_group() as group:
        group.start_soon(notices(ledger_fixture, told, signals).run)
        await anyio.wait_all_tasks_blocked()
        request = await ledger_fixture.awaits(NEED)
        signals.wake(PARKED_CHANGED)
        await until(lambda: told.all)
        other = await ledger_fixture.awaits(NEED, request=await ledger_fixture.deploy("0.13.5"))
        signals.wake(PARKED_CHANGED)
        await until(lambda: len(told.all) > 1)
        group.cancel_scope.cancel()

    assert [one["request"] for one in told.all] == [request.id, other.id]
    first = told.all[0]
    assert (first["about"], first["by"], first["circle"], first["action"]) == ("approval", "docs", "docs", "deploy")
    assert first["decide"] == f"infra-mcp approve {request.id} {EFFECT}"


async def test_a_server_runs_the_program_that_its_environment_names(told, tmp_path, monkeypatch):
    register(monkeypatch)
    ground = Ground(tmp_path / "ground")
    ground.make(APPROVAL)
    monkeypatch.setenv("INFRA_MCP_NOTICE", str(told.program))
    async with ground.engine() as engine:
        request = await ground.ask(engine)
        await until(lambda: told.all)

    ((about, which, digest),) = [(one["about"], one["request"], one["effect_digest"]) for one in told.all]
    assert (about, which, digest) == ("approval", request.id, request.effect_digest)


async def test_another_effect_of_the_same_request_is_told_anew(ledger_fixture, told):
    tell = notices(ledger_fixture, told)
    request = await ledger_fixture.awaits(NEED)
    await tell.look()
    await tell.look()
    await ledger_fixture.awaits(NEED, effect="sha256:" + "f" * 64, request=request)
    await tell.look()

    assert [one["effect_digest"] for one in told.all] == [EFFECT, "sha256:" + "f" * 64]


async def test_a_request_that_a_person_must_look_at_is_told_and_one_of_before_the_start_is_not(ledger_fixture, told):
    await ledger_fixture.ends(await ledger_fixture.deploy("0.13.1"), State.NEEDS_OPERATOR)
    signals = Signals()
    async with anyio.create_task_group() as group:
        group.start_soon(notices(ledger_fixture, told, signals).run)
        await anyio.wait_all_tasks_blocked()
        request = await ledger_fixture.deploy("0.13.2")
        await ledger_fixture.ends(request, State.NEEDS_OPERATOR)
        await until(lambda: signals.wake(PARKED_CHANGED) or told.all)
        group.cancel_scope.cancel()

    ((about, which),) = [(one["about"], one["request"]) for one in told.all]
    assert (about, which) == ("look", request.id)


@pytest.mark.promise("secrets.nowhere")
async def test_no_secret_reaches_the_program(ledger_fixture, told, monkeypatch):
    monkeypatch.setenv("INFRA_MCP_TOKEN", "imcp_of-the-server")
    ledger_fixture.ledger.masker.learn("canary-of-the-notice")
    told.program.write_text(f'#!/bin/sh\n{{ cat; env; }} >> "{told.file}"\n', encoding="utf-8")
    request = await ledger_fixture.deploy(reason="use canary-of-the-notice now")
    await ledger_fixture.awaits(NEED, request=request)
    await notices(ledger_fixture, told).look()

    text = told.file.read_text("utf-8")
    assert request.id in text
    assert "canary-of-the-notice" not in text
    assert "imcp_of-the-server" not in text


@pytest.mark.parametrize("end", ["exit 3", "kill -9 $$"])
async def test_a_program_that_fails_is_named_in_the_log_and_the_next_notice_is_given(
    ledger_fixture, tmp_path, caplog, end
):
    told = Told(tmp_path, end)
    tell = notices(ledger_fixture, told)
    await ledger_fixture.awaits(NEED)
    await tell.look()
    await ledger_fixture.awaits(NEED, request=await ledger_fixture.deploy("0.13.5"))
    await tell.look()

    assert len(told.all) == 2
    assert str(told.program) in caplog.text
    assert "no" in caplog.text


async def test_a_program_that_is_not_there_is_named_in_the_log(ledger_fixture, tmp_path, caplog):
    told = Told(tmp_path)
    told.program.unlink()
    await ledger_fixture.awaits(NEED)
    await notices(ledger_fixture, told).look()

    assert "cannot be started" in caplog.text
    assert DOCS.name not in caplog.text


async def _stuck(at, version="0.13.1", keys=("app|docs", "file|site.yaml"), state=State.NEEDS_OPERATOR):
    """A deploy that held these keys, and its end."""
    request = await at.deploy(version)
    await at.ledger.record(request.id, State.PLANNED, "planned", {}, record=Record(keys=keys).kept())
    await at.ends(request, state)
    return request


@pytest.mark.promise("web.needs-you")
async def test_what_a_request_left_needs_a_person_until_one_says_what_they_did(ledger_fixture):
    ledger = ledger_fixture.ledger
    request = await _stuck(ledger_fixture)
    assert [one.id for one in await ledger.unresolved(9)] == [request.id]

    await ledger.resolve(request.id, PAT, "set back by hand, see ticket 7")

    assert await ledger.unresolved(9) == []
    event = (await ledger.trail(request.id))[-1]
    assert (event.kind, event.peer, event.text, event.state) == (
        "resolved",
        "pat",
        "set back by hand, see ticket 7",
        None,
    )
    assert (await ledger.search("ticket 7", circle="docs")).events[0].seq == event.seq
    assert (await ledger.request(request.id)).state is State.NEEDS_OPERATOR
    assert (await ledger.verify([])).consistent


@pytest.mark.promise("web.needs-you")
@pytest.mark.parametrize(
    ("version", "keys", "state", "settled"),
    [
        ("0.13.1", ("app|docs", "file|site.yaml"), State.LANDED, True),
        ("0.13.2", ("app|docs", "file|site.yaml"), State.LANDED, False),  # it says nothing of what the first one left
        ("0.13.1", ("app|docs", "file|elsewhere.yaml"), State.LANDED, False),  # the app has moved: its old objects stay
        ("0.13.1", ("app|docs", "file|site.yaml"), State.FAILED, False),
        ("0.13.1", ("app|docs", "file|site.yaml"), State.NEEDS_OPERATOR, False),
    ],
)
async def test_only_the_same_change_landed_on_the_same_files_and_objects_makes_a_look_needless(
    ledger_fixture, version, keys, state, settled
):
    before = await _stuck(ledger_fixture, "0.13.1", keys, State.LANDED)
    request = await _stuck(ledger_fixture)
    assert before.id != request.id, "one that landed earlier proves nothing"
    assert await ledger_fixture.ledger.unresolved(1, request.id)

    await _stuck(ledger_fixture, version, keys, state)

    assert bool(await ledger_fixture.ledger.unresolved(1, request.id)) is not settled


async def test_only_what_needs_a_person_is_resolved_and_once(ledger_fixture):
    ledger, landed = ledger_fixture.ledger, await _stuck(ledger_fixture, state=State.LANDED)
    stuck = await _stuck(ledger_fixture, "0.13.3")
    await ledger.resolve(stuck.id, PAT, "seen")
    for request, code in (
        (landed.id, "invalid-argument"),
        (stuck.id, "invalid-argument"),
        ("req-none", "not-found"),
    ):
        with pytest.raises(InfraError) as refused:
            await ledger.resolve(request, PAT, "seen again")
        assert refused.value.code == code
    assert [one.kind for one in await ledger.trail(landed.id)].count("resolved") == 0
    assert [one.kind for one in await ledger.trail(stuck.id)].count("resolved") == 1
