"""The judge has teeth: whatever a broken recovery could leave behind is found by it."""

import json
import shutil
import sqlite3
import subprocess

import pytest
from e2e.fault_injection import now, verdict
from e2e.kill_cases import DEPLOYMENTS

pytestmark = [pytest.mark.cluster, pytest.mark.anyio, pytest.mark.promise("recover.reobserve")]


def _sql(*statements):
    def change(ledger, _repo):
        connection = sqlite3.connect(ledger, isolation_level=None)
        triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for statement in [*(f'DROP TRIGGER "{name}"' for (name,) in triggers), *statements]:
            connection.execute(statement)
        connection.close()

    return change


def _git(*commands):
    def change(_ledger, repo):
        for words in commands:
            subprocess.run(["git", "-C", repo, *words], check=True, capture_output=True)

    return change


def _dirty(_ledger, repo):
    (repo / "README.md").write_text("half a merge", encoding="utf-8")


AGAIN = ("commit", "--allow-empty", "-q", "-C", "HEAD")
TAMPERED = {
    "has not ended": _sql("UPDATE requests SET state = 'applying', open = 1"),
    "the chain breaks at event 3": _sql("UPDATE events SET text = 'never mind' WHERE seq = 3"),
    "terminal events": _sql("UPDATE events SET state = 'landed' WHERE kind = 'planned'"),
    "has no receipt of its end": _sql("UPDATE requests SET receipt = NULL"),
    "does not carry the head": _sql("UPDATE requests SET receipt = json_set(receipt, '$.audit_head', 'f00')"),
    "has not one ack": _sql("DELETE FROM outbox"),
    "needs an operator": _sql(
        "UPDATE requests SET state = 'needs_operator', receipt = json_set(receipt, '$.state', 'needs_operator')"
    ),
    "the ledger does not know commit": _sql(
        "UPDATE requests SET commit_id = NULL, receipt = json_set(receipt, '$.commit', NULL)"
    ),
    "was written for": _sql("UPDATE requests SET state = 'refused'"),
    "which no ledger knows": _sql("UPDATE requests SET id = 'req-other'"),
    "has 2 commits": _git(AGAIN),
    "whose commit is not on the branch": _git(("reset", "-q", "--hard", "HEAD~1")),
    "is not as the branch": _dirty,
    "no longer on its branch": _git(("checkout", "-q", "--detach")),
}


async def test_the_judge_finds_what_a_broken_recovery_could_leave_behind(scenario, tmp_path_factory):
    since, paths = now(scenario), [DEPLOYMENTS.format(scenario.namespace)]
    block = json.dumps({"action": "deploy", "app": "docs", "version": "0.13.4"})
    reply = await scenario.ask(f"```infra\n{block}\n```")
    assert reply.ok, reply.text
    await scenario.stop()  # so that all of the ledger is in its one file
    assert await verdict(scenario, paths, since) == []

    home, missed = tmp_path_factory.mktemp("tampered"), {}
    for number, (words, change) in enumerate(TAMPERED.items()):
        ledger, repo = home / f"{number}.sqlite3", home / f"{number}"
        shutil.copy(scenario.settings.state_dir / "ledger.sqlite3", ledger)
        shutil.copytree(scenario.repo, repo, symlinks=True)
        change(ledger, repo)
        found = await verdict(scenario, paths, since, ledger=str(ledger), repo=str(repo))
        if not any(words in fault for fault in found):
            missed[words] = found
    assert missed == {}

    live = scenario.live_object("deployment", "docs", scenario.namespace)
    mark = {"infra-mcp.dev/request": live["metadata"]["annotations"]["infra-mcp.dev/request"]}
    about = {"name": "docs", "namespace": scenario.namespace, "annotations": mark, "labels": {"twice": "yes"}}
    twice = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": about}
    manager = ("--server-side", "--force-conflicts", "--field-manager=infra-mcp")
    scenario.kubectl("apply", *manager, "-f", "-", stdin=json.dumps(twice), check=False)
    scenario.kubectl("-n", scenario.namespace, "label", "deployment/docs", "someone=else")
    found = await verdict(scenario, paths, since)
    assert any("left no mark" in fault or "2 times" in fault for fault in found), found
    assert await verdict(scenario, paths, since, others=True) != found
