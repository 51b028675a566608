"""The whole way from a shell: the command line's own process, a real server, and a real API server behind it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from server_process import wait_until
from shell import Shell, stop_started

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

SCRIPT = Path(__file__).parents[2] / "docs" / "ci" / "deploy.sh"
GUARDED = """
[[rules]]
id = "people"
match = {{ namespaces = ["{}"] }}
require = {{ approvals = 1, by = "operator" }}
"""


@pytest.fixture
def run(scenario):
    """A shell in the scenario's repository."""
    return Shell(scenario.home, scenario.repo.name)


@pytest.fixture
def pipeline(scenario, run):
    """A pipeline's machine: the command on its path, the server by URL, and nothing of the repository's."""
    (scenario.home / "bin").mkdir()
    command = scenario.home / "bin" / "infra-mcp"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m infra_mcp.cli.main "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    (scenario.home / "elsewhere").mkdir()
    made = Shell(scenario.home, "elsewhere", INFRA_MCP_URL=scenario.server.url, INFRA_MCP_TOKEN=scenario.tokens["docs"])
    return made.but(PATH=f"{scenario.home / 'bin'}:{run.env['PATH']}", RUN_ID="77")


@pytest.mark.promise("cli.same-path")
@pytest.mark.promise("intake.dedupe")
async def test_the_shell_example_deploys_once_however_often_the_run_is_tried(scenario, pipeline):
    first = await pipeline("docs", "0.13.4", argv=[str(SCRIPT)])
    commits = scenario.git("rev-list", "--count", "main").strip()
    again = await pipeline("docs", "0.13.4", argv=[str(SCRIPT)])

    assert first.code == 0, first
    assert "site:0.13.3' → '" in first.out  # the plan, before
    assert "idempotency key run/77/" in first.err
    assert again.code == 0, again
    assert scenario.image() == "registry.example/docs/site:0.13.4"
    assert scenario.git("rev-list", "--count", "main").strip() == commits
    assert set(re.findall(r"commit (\w{40})", first.out)) == {scenario.git("rev-parse", "main").strip()}
    (deployed,) = scenario.rows("select door, caller from requests where dry_run = 0")
    assert deployed == {"door": "cli", "caller": "docs"}


@pytest.mark.promise("cli.same-path")
@pytest.mark.promise("verify.rollback")
async def test_what_does_not_come_up_fails_the_pipeline_with_its_cause_and_is_taken_back(scenario, pipeline):
    summary = scenario.home / "summary.md"
    words = ("deploy", "docs", "0.13.5-unpullable", "--summary", str(summary))
    failed = await pipeline(*words)

    assert failed.code == 1, failed
    assert "not-landed" in failed.err
    assert "Rolled back" in failed.err
    assert scenario.image() == "registry.example/docs/site:0.13.3"
    assert "### infra-mcp deploy docs 0.13.5-unpullable: failed" in summary.read_text(encoding="utf-8")


@pytest.mark.promise("cli.same-path")
@pytest.mark.promise("intake.dedupe")
@pytest.mark.promise("seam.action")
@pytest.mark.promise("rollback.request")
async def test_each_action_of_a_pipeline_is_done_once_however_often_the_run_is_tried(scenario, pipeline):
    deployed = await pipeline("deploy", "docs", "0.13.4", "--run-id", "77", "--json")
    for words, says in (
        (("restart", "docs"), "docs restarted: "),
        (("scale", "docs", "3"), "docs scaled to 3: "),
        (("configure", "docs", "--set", "memory=128Mi"), "docs configured: "),
        (("rollback", deployed.json["request"]), "docs 0.13.3 runs again: "),
    ):
        first = await pipeline(*words, "--run-id", "77")
        made = scenario.live_object("deployment", "docs", scenario.namespace)["metadata"]["generation"]
        again = await pipeline(*words, "--run-id", "77")

        assert first.code == again.code == 0, (first, again)
        assert says in first.out
        assert says in again.out
        assert scenario.live_object("deployment", "docs", scenario.namespace)["metadata"]["generation"] == made
    assert scenario.rows("select door, caller from requests") == [{"door": "cli", "caller": "docs"}] * 5


@pytest.mark.promise("cli.same-path")
async def test_a_restart_and_a_scaling_that_policy_refuses_fail_the_command_with_their_code(scenario, run):
    refused = await run("scale", "docs", "11", token=scenario.tokens["docs"])
    others = await run("restart", "docs", token=scenario.tokens["shop"])

    assert (refused.code, others.code) == (3, 3), (refused, others)
    assert "At most 10 replicas" in refused.err
    assert scenario.requests() == [] or all(row["state"] == "refused" for row in scenario.requests())


@pytest.mark.promise("report.progress")
async def test_a_long_change_says_in_the_log_how_far_its_objects_are(scenario, run):
    done = await run("deploy", "docs", "0.14.0-slow", token=scenario.tokens["docs"])

    assert done.code == 0, done
    assert re.search(rf"{scenario.namespace}/deployment/docs: \d .*replicas", done.err), done


@pytest.mark.promise("audit.both-ways")
async def test_an_object_leads_to_its_request_and_that_to_the_commit_in_git(scenario, run):
    token = scenario.tokens["docs"]
    name = scenario.fresh()
    asked = await run("ask", f"I need a namespace '{name}'", "--json", token=token)
    found = await run("audit", "show", f"namespace/{name}", "--json")
    (request,) = found.json["requests"]
    back = await run("audit", "show", request["request"], "--json")

    assert asked.code == 0, asked
    assert request["request"] == asked.json["request"]
    assert (request["caller"], request["words"]) == ("docs", f"I need a namespace '{name}'")
    assert request["commit"] == scenario.git("rev-parse", "main").strip()
    assert f"Infra-Request: {request['request']}" in scenario.git("show", "-s", "--format=%B", request["commit"])
    assert f"namespace/{name}" in back.json["objects"]
    assert scenario.live_object("namespace", name) is not None


@pytest.mark.promise("approval.digest")
async def test_a_change_that_waits_for_people_is_approved_from_a_shell_and_then_made(scenario, run):
    await scenario.accept_policy(scenario.apps() + GUARDED.format(scenario.namespace))
    parked = await run("deploy", "docs", "0.13.4", "--json", token=scenario.tokens["docs"])
    request, digest = parked.json["request"], parked.json["effect_digest"]
    before = scenario.image()
    other = await run("approve", request, "sha256:" + "0" * 64, "--json")
    own = await run("approve", request, digest, "--json", token=scenario.tokens["docs"])
    approved = await run("approve", request, digest)
    with anyio.fail_after(120):
        landed = await run("request", "watch", request, "--json")

    assert (parked.code, parked.json["state"]) == (4, "awaiting_approval"), parked
    assert before == "registry.example/docs/site:0.13.3"
    assert (other.code, other.json["code"]) == (2, "approval-mismatch")
    assert (own.code, own.json["code"]) == (3, "policy-denied")
    assert approved.code == 0, approved
    assert (landed.code, landed.json["state"]) == (0, "landed"), landed
    assert scenario.image() == "registry.example/docs/site:0.13.4"


@pytest.mark.promise("recover.reobserve")
@pytest.mark.promise("process.one-owner")
async def test_a_server_that_is_killed_while_the_command_waits_changes_nothing_for_it(scenario, run):
    """The command starts the next server, which takes the request up, and tells its end."""
    here = run.but(INFRA_MCP_KUBECONFIG=str(scenario.settings.kubeconfig))
    try:
        async with here.start("deploy", "docs", "0.13.4", "--json", token=scenario.tokens["docs"]) as process:
            await anyio.to_thread.run_sync(wait_until, lambda: scenario.rows("select id from requests"), 60.0)
            await scenario.kill()
            with anyio.fail_after(120):
                err = b"".join([part async for part in process.stderr]).decode()
                out = b"".join([part async for part in process.stdout]).decode()
                code = await process.wait()
        assert code == 0, (out, err)
        assert '"state": "landed"' in out
        assert "starting one" in err
        assert scenario.image() == "registry.example/docs/site:0.13.4"
        assert len(scenario.rows("select id from requests")) == 1
    finally:
        stop_started(scenario.settings.state_dir)
        await anyio.to_thread.run_sync(wait_until, lambda: not scenario.settings.socket.exists(), 20.0)
