"""A pipeline's run as the key: running it again changes nothing, a new run does, and it says so."""

from __future__ import annotations

import re

import pytest
from pydantic import TypeAdapter
from shell import distinct, shell

from infra_mcp.cli.pipeline import key_for
from infra_mcp.errors import InfraError
from infra_mcp.model.names import IdempotencyKey
from infra_mcp.model.outcome import Receipt
from infra_mcp.model.request import State

GITHUB = {"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "a/docs", "GITHUB_RUN_ID": "77", "GITHUB_JOB": "deploy"}
GITLAB = {"GITLAB_CI": "true", "CI_PROJECT_PATH": "a/docs", "CI_PIPELINE_ID": "77", "CI_JOB_NAME": "deploy: [eu, 1]"}
FIELDS = {"app": "docs", "version": "1"}


@pytest.fixture(autouse=True)
def _no_pipeline(monkeypatch):
    """The tests themselves may run in one."""
    for name in (*GITHUB, *GITLAB):
        monkeypatch.delenv(name, raising=False)


def key(fields=FIELDS, action="deploy", given=None, run_id=None, *, once=False):
    return key_for(action, fields, given=given, run_id=run_id, once=once)


@pytest.mark.process
@pytest.mark.anyio
@pytest.mark.promise("intake.dedupe")
@pytest.mark.parametrize("system", [GITHUB, GITLAB], ids=["github", "gitlab"])
async def test_a_pipeline_that_is_run_again_deploys_once_and_a_new_one_anew(tmp_path, system):
    async with shell(tmp_path) as (at, plain):
        token, run = at.tokens["docs"], plain.but(**system)
        first = await run("deploy", "docs", "1", token=token)
        again = await run.but(GITHUB_RUN_ATTEMPT="2")("deploy", "docs", "1", "--json", token=token)
        other = await run("deploy", "docs", "2", "--json", token=token)
        new = await run.but(GITHUB_RUN_ID="78", CI_PIPELINE_ID="78")("deploy", "docs", "1", "--json", token=token)

        requests = {one.json["request"] for one in (again, other, new)}
        assert again.json["request"] in first.out
        assert len(requests) == 3
        assert len(distinct(at)) == 3
        shown = re.search(r"idempotency key (\S+) \(from (GITHUB_RUN_ID|CI_PIPELINE_ID)", first.err)
        assert shown is not None, first
        assert again.json["idempotency_key"] == shown[1]


@pytest.mark.process
@pytest.mark.anyio
async def test_a_run_that_failed_gives_that_again_and_says_how_to_try_anew(tmp_path):
    def script(request):
        error = InfraError("not-landed", "It does not come up.").as_dict()
        return Receipt(request=request.id, state=State.ROLLED_BACK, message="Back.", action="deploy", error=error)

    async with shell(tmp_path, script=script) as (at, plain):
        token, run = at.tokens["docs"], plain.but(**GITHUB)
        done = [await run("deploy", "docs", "1", token=token) for _ in range(2)]
        given = await run("deploy", "docs", "1", "--run-id", "77-2", token=token)
        own = await run("deploy", "docs", "1", "--idempotency-key", "mine", token=token)

        assert [one.code for one in (*done, given, own)] == [1] * 4
        assert len(distinct(at)) == 3
        assert all("start a new run" in one.err for one in (*done, given))
        assert "start a new run" not in own.err


@pytest.mark.process
@pytest.mark.anyio
async def test_a_plan_is_made_anew_in_every_attempt(tmp_path):
    async with shell(tmp_path) as (at, plain):
        run = plain.but(**GITHUB)
        plans = [await run("deploy", "docs", "1", "--dry-run", "--json", token=at.tokens["docs"]) for _ in range(2)]
        raw = await run("run", "deploy", "app=docs", "version=1", "dry_run=true", "--json", token=at.tokens["docs"])

        assert len({one.json["request"] for one in (*plans, raw)}) == 3


def test_the_key_stands_for_system_project_run_job_action_and_fields(monkeypatch):
    keys = set()
    for change in ({}, {"GITHUB_RUN_ID": "78"}, {"GITHUB_JOB": "other"}, {"GITHUB_REPOSITORY": "a/b"}):
        for name, value in (GITHUB | change).items():
            monkeypatch.setenv(name, value)
        keys |= {key().value, key({"app": "docs", "version": "2"}).value, key(action="other").value}

    assert len(keys) == 4 * 3
    assert key().value == key(dict(reversed(FIELDS.items()))).value
    monkeypatch.setenv("GITHUB_RUN_ATTEMPT", "2")
    assert key().value in keys


def test_what_is_given_goes_before_what_is_found(monkeypatch):
    for name, value in (GITHUB | GITLAB).items():
        monkeypatch.setenv(name, value)

    assert key(given="mine", run_id="7").value == "mine"
    assert key(run_id="7").value.startswith("run/7/")
    assert key().value.startswith("github/77/")
    assert key(run_id="7").value == key(run_id="7").value != key(run_id="8").value


def test_outside_a_pipeline_each_command_has_a_key_of_its_own():
    assert key().value != key().value
    assert not key().derived
    assert not key().source


@pytest.mark.parametrize("run", ["77", "a b/ü:x", "-" * 300, "../../etc", "\n", ""])
def test_a_key_is_always_one(run):
    TypeAdapter(IdempotencyKey).validate_python(key(run_id=run).value)
