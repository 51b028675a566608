"""Open requests of the first edition, in whatever state it left them, come to their end under this one.

A server is killed at a point, what the ledger keeps of its open requests is written as the first edition kept it, and
the next server takes it up.
"""

import json
import signal
import sqlite3
from contextlib import closing
from functools import partial

import anyio
import pytest
from e2e.fault_injection import Point, kill, observe, undisturbed
from e2e.kill_cases import KILL_CASES
from e2e.scenario import Scenario

pytestmark = [pytest.mark.cluster, pytest.mark.anyio, pytest.mark.promise("seam.record", "recover.reobserve")]

OLD = "sha256:" + "0" * 64  # in the first edition's form: no effect has it now
POINTS = {
    "queued": ("deploy", Point("ledger.accept", "after")),
    "planned": ("deploy", Point("ledger.record", "after", 1)),
    "applying, no commit on the branch": ("deploy", Point("git.move", "before")),
    "applying, commit on the branch": ("deploy", Point("git.move", "after")),
    "applying, a namespace made": ("provision", Point("kube.create", "after")),
    "verifying": ("deploy", Point("ledger.finish", "before")),
    "rolling back, before the revert": ("undo", Point("git.move", "before", 2)),
    "rolling back, after the revert": ("undo", Point("git.move", "after", 2)),
    "rolling back, put back": ("undo", Point("kube.apply", "after", 2)),
}
RULE = """
[[rules]]
id = "one"
match = { apps = ["docs"] }
require = { approvals = 1, by = "operator", strength = "same-user" }
"""


def first_edition(record):
    """A record as the first edition kept it."""
    if "version" not in record:
        return record
    same = ("when", "digest", "cause", "former", "awaiting", "nonce")
    old = {name: record[name] for name in same if record.get(name)}
    for stage in record["stages"]:
        sets = [{key: one[key] for key in one if key != "kind"} for one in stage["edits"] if one["kind"] == "set"]
        old["edits"] = [json.dumps(one) for one in sets]
        old["created"] = [one["path"] for one in stage["edits"] if one["kind"] == "put"]
    for part in record["parts"]:
        old |= {"place": part["where"], "failure": part["on_failure"]}
        old["writes"] = [json.dumps(_write(one)) for one in part["written"]]
        if part["deadline"]:
            old["deadline"] = part["deadline"]
    if record.get("approved"):
        objects = {_key(key): mark for key, mark in record["approved"]["changes"].items()}
        old["approved"] = {"objects": objects, "files": record["approved"]["files"]}
    return old


def _write(one):
    target, undo = one["target"], one["undo"]
    ref = {"cluster": target["place"], "api_version": undo["api_version"], "kind": target["kind"].rpartition("/")[2]}
    ref |= {"namespace": target["scope"], "name": target["name"]}
    return {"ref": ref, "operation": one["operation"]} | {key: undo[key] for key in ("identity", "fields", "uid")}


def _key(key):
    _, place, scope, kind, name = key.split("|")
    group, _, kind = kind.rpartition("/")
    return f"{place}|{group}|{kind}|{scope}|{name}"


def downgrade(scenario, digest=None, *, ended=False):
    """Write what is kept of the open requests as the first edition did; their effects with another digest, if given.

    With `ended` also what is kept of those that have ended.
    """
    with closing(sqlite3.connect(scenario.settings.state_dir / "ledger.sqlite3")) as connection, connection:
        which = "" if ended else " WHERE receipt IS NULL"
        found = connection.execute(f"SELECT id, record FROM requests{which}").fetchall()
        for request, text in found:
            old = first_edition(json.loads(text))
            if digest and "digest" in old:
                old["digest"] = digest
            if digest and "awaiting" in old:
                old["awaiting"]["digest"] = digest
            connection.execute("UPDATE requests SET record = ? WHERE id = ?", (json.dumps(old), request))
            if digest:
                connection.execute("UPDATE requests SET effect_digest = ? WHERE id = ?", (digest, request))
                connection.execute("UPDATE approvals SET effect_digest = ? WHERE request = ?", (digest, request))
    assert found or scenario.requests() == []


@pytest.fixture
async def quiet(cluster_setup, tmp_path, anyio_backend):  # noqa: ARG001 - the loop it runs on
    """A scenario whose server is not running yet."""
    async with Scenario(cluster_setup, tmp_path, serve=False) as made:
        yield made


@pytest.mark.parametrize("state", POINTS)
async def test_an_open_request_of_the_first_edition_comes_to_its_end(quiet, state):
    name, at = POINTS[state]
    assert await kill(quiet, KILL_CASES[name], at, 1, between=downgrade) == []


@pytest.mark.promise("rollback.request")
async def test_what_the_first_edition_landed_is_rolled_back_by_this_one(quiet):
    before = quiet.manifest.read_text(encoding="utf-8")
    await quiet.start()
    made = await quiet.tool("deploy", app="docs", version="2.0.0")
    space = await quiet.tool("provision_namespace", namespace=quiet.fresh())
    assert (made.ok, space.ok) == (True, True)
    await quiet.stop()
    downgrade(quiet, ended=True)
    await quiet.start()

    back = await quiet.tool("rollback", request=made.data["request"])
    removal = await quiet.tool("rollback", request=space.data["request"])

    assert back.ok, back.text
    assert quiet.manifest.read_text(encoding="utf-8") == before
    assert quiet.image().endswith(":0.13.3")
    assert removal.data["code"] == "no-rollback", removal.text


async def _approved_until(scenario, effect):
    """A deploy that was parked and approved, and whose server was killed after an effect; its id."""
    reply = await scenario.tool("deploy", app="docs", version="2.0.0")
    request, digest = reply.data["request"], reply.data["effect_digest"]
    await scenario.stop()
    noted = str(scenario.home / "points")
    await scenario.start(partial(observe, noted, Point(effect, "after"), recovering=True))
    await undisturbed(partial(scenario.approve, request, digest))
    assert await scenario.gone(60) == -signal.SIGKILL
    downgrade(scenario, OLD)
    await scenario.start()
    return request


def _guarded(cluster_setup, home):
    scenario = Scenario(cluster_setup, home)
    scenario.policy = scenario.apps() + RULE
    return scenario


@pytest.mark.promise("approval.digest")
async def test_an_approval_given_before_does_not_carry_and_is_asked_for_again_with_the_reason(cluster_setup, tmp_path):
    async with _guarded(cluster_setup, tmp_path) as scenario:
        request = await _approved_until(scenario, "ledger.approval.give")
        with anyio.fail_after(60):
            while (row := scenario.requests()[-1])["effect_digest"] == OLD:  # noqa: ASYNC110 - another process's news
                await anyio.sleep(0.02)
        asked = [event for event in scenario.events(request) if event["kind"] == "approval-needed"]
        assert (row["state"], scenario.image()) == ("awaiting_approval", "registry.example/docs/site:0.13.3")
        assert OLD in asked[-1]["text"]
        assert "no longer" in asked[-1]["text"]

        await scenario.approve(request, row["effect_digest"])
        (ended,) = await scenario.settled()
    assert ended["state"] == "landed", ended["receipt"]


@pytest.mark.promise("approval.digest")
async def test_what_had_begun_goes_on_under_what_was_approved_then(cluster_setup, tmp_path):
    async with _guarded(cluster_setup, tmp_path) as scenario:
        await _approved_until(scenario, "git.move")
        (ended,) = await scenario.settled()
        assert ended["state"] == "landed", ended["receipt"]
        assert scenario.image() == "registry.example/docs/site:2.0.0"
