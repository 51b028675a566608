"""Changes from the shell: an option for each field, waiting or not, and nothing twice."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from running_server import POLICY
from shell import Shell, distinct, shell

from infra_mcp.cli.change import COMMON, flag
from infra_mcp.cli.following import AT_THE_FORGE, PARKED, WORKING
from infra_mcp.cli.main import main, parser
from infra_mcp.errors import InfraError
from infra_mcp.model.actions import ACTIONS
from infra_mcp.model.outcome import Receipt
from infra_mcp.model.request import FOR_PEOPLE, OPEN, State
from infra_mcp.server.tools.change import Options

pytestmark = pytest.mark.process


def options_of(verb):
    (verbs,) = [one for one in parser()._actions if isinstance(one, argparse._SubParsersAction)]
    return {one.dest for one in verbs.choices[verb]._actions}


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_has_a_verb_and_every_field_an_option(action):
    model = ACTIONS[action]
    options = {
        flag(action, name)[2:].replace("-", "_") for name in set(model.model_fields) - {"action", *model.positional}
    }

    assert {*options, *model.positional} <= options_of(action.replace("_", "-"))
    assert not set(model.model_fields) & COMMON


def test_the_first_options_of_all_keep_their_names():
    first = {"pull_secret", "label", "quota", "limit", "default_deny", "owner", "cluster", "namespace"}

    assert first <= options_of("provision-namespace")
    assert {"app", "version", "on_failure", "cluster"} <= options_of("deploy")
    assert set(Options.model_fields) == COMMON


@pytest.mark.anyio
@pytest.mark.promise("cli.same-path")
async def test_options_become_the_fields_of_the_action(tmp_path):
    async with shell(tmp_path) as (at, run):
        labels = ["--label", "team=docs", "--label", "tier=a", "--owner", "docs", "--reason", "why"]
        bounds = ["--quota", "pods=3", "--quota", "cpu=4", "--limit", "memory=1Gi", "--default-deny"]
        words = ["docs-a", "--pull-secret", "X", "--cluster", "sandbox", *labels, *bounds]
        made = await run("provision-namespace", *words, token=at.tokens["docs"])
        deployed = await run("deploy", "docs", "0.10", "--on-failure", "hold", token=at.tokens["docs"])
        plain = await run("deploy", "docs", "0.11", token=at.tokens["docs"])

        assert (made.code, deployed.code, plain.code) == (3, 0, 0), (made, deployed, plain)  # no such limits granted
        first, second, third = distinct(at)
        assert first.action.model_dump(exclude_none=True) == {
            "action": "provision_namespace",
            "namespace": "docs-a",
            "pull_secrets": ("X",),
            "labels": {"team": "docs", "tier": "a"},
            "quota": {"pods": 3, "cpu": "4"},
            "limits": {"memory": "1Gi"},
            "default_deny": True,
            "owner": "docs",
            "cluster": "sandbox",
        }
        assert first.reason == "why"
        assert second.action.model_dump(exclude_none=True) == {
            "action": "deploy",
            "app": "docs",
            "version": "0.10",
            "on_failure": "hold",
        }
        assert third.action.on_failure is None


@pytest.mark.anyio
@pytest.mark.parametrize(
    "words",
    [
        ("provision-namespace", "docs-a", "--label", "team"),
        ("provision-namespace", "docs-a", "--quota", "cpu=1", "--quota", "cpu=2"),
        ("provision-namespace", "docs-a", "--quota", "disk=1"),
        ("provision-namespace", "Docs"),
        ("deploy", "docs", "a b"),
        ("deploy", "docs", "1", "--wait", "-1"),
        ("deploy", "docs", "1", "--wait", "nan"),
        ("deploy", "docs", "1", "--idempotency-key", "a b"),
        ("deploy", "docs", "1", "--wai", "3"),
        ("deploy", "docs", "1", "--summary", "/no/such/folder/file"),
    ],
)
async def test_what_is_not_well_formed_exits_with_2_and_changes_nothing(tmp_path, words):
    async with shell(tmp_path) as (at, run):
        done = await run(*words, token=at.tokens["docs"])

        assert done.code == 2, done
        assert at.engine.submitted == []


@pytest.mark.anyio
async def test_without_waiting_what_was_taken_in_exits_with_0_and_its_id(tmp_path):
    async with shell(tmp_path, held=True) as (at, run):
        token = at.tokens["docs"]
        taken = await run("deploy", "docs", "1", "--no-wait", "--json", token=token)
        asked = await run("ask", "I need a namespace 'docs-b'", "--no-wait", token=token)
        refused = await run("deploy", "docs", "1", "--no-wait", "--idempotency-key", "a b", token=token)
        waited = await run("deploy", "docs", "1", "--wait", "0.1", token=token)

        assert (taken.code, asked.code, refused.code, waited.code) == (0, 0, 2, 6), (taken, asked, refused, waited)
        assert taken.json["state"] in WORKING
        assert taken.json["request"].startswith("req-")
        assert re.fullmatch(r"ask-\w+", asked.out.strip())


@pytest.mark.anyio
async def test_what_waits_for_an_approval_is_not_waited_for_and_exits_with_4(tmp_path):
    async with shell(tmp_path, held=True) as (at, run):
        token = at.tokens["docs"]
        started = await run("deploy", "docs", "1", "--no-wait", "--json", "--idempotency-key", "k", token=token)
        request = started.json["request"]
        await at.engine.ledger.record(
            request, State.AWAITING_APPROVAL, "awaiting-approval", {}, effect_digest="sha256:" + "d" * 64
        )
        found = [
            await run("deploy", "docs", "1", "--idempotency-key", "k", "--json", token=token),
            await run("deploy", "docs", "1", "--idempotency-key", "k", "--json", "--no-wait", token=token),
            await run("request", "watch", request, "--json", token=token),
            await run("request", "show", request, "--json", token=token),
        ]

        assert [one.code for one in found] == [4] * 4, found
        assert {one.json["state"] for one in found} == {"awaiting_approval"}
        assert "infra-mcp approve" in found[0].json["next"]


def test_the_states_that_are_waited_for_are_the_open_ones_but_that_which_needs_people():
    assert {State(one) for one in WORKING} == OPEN - FOR_PEOPLE
    assert {State(one) for one in (PARKED, *AT_THE_FORGE)} == FOR_PEOPLE


@pytest.mark.anyio
@pytest.mark.promise("intake.dedupe")
async def test_a_key_that_was_used_gives_the_first_result_and_another_change_under_it_is_refused(tmp_path):
    async with shell(tmp_path) as (at, run):
        token = at.tokens["docs"]
        words = ("--idempotency-key", "release-7", "--json")
        first = await run("deploy", "docs", "1", *words, token=token)
        again = await run("deploy", "docs", "1", *words, token=token)
        other = await run("deploy", "docs", "2", *words, token=token)
        without = await run("deploy", "docs", "1", "--json", token=token)

        assert first.json["request"] == again.json["request"] != without.json["request"]
        assert first.json["idempotency_key"] == "release-7"
        assert (other.code, other.json["code"]) == (2, "idempotency-conflict")
        assert "idempotency_key" not in without.json


@pytest.mark.anyio
async def test_a_failed_end_is_told_on_stderr_with_its_code(tmp_path):
    def script(request):
        error = InfraError("not-landed", "It does not come up.").as_dict()
        return Receipt(request=request.id, state=State.ROLLED_BACK, message="Back.", action="deploy", error=error)

    async with shell(tmp_path, script=script) as (at, run):
        done = await run("deploy", "docs", "1", token=at.tokens["docs"])

        assert done.code == 1, done
        assert "not-landed: Back." in done.err
        assert done.out == ""


@asynccontextmanager
async def scripted(run, script):
    """A server of our own making on the socket: one connection for each list of answers, and what it was sent."""
    heard = []
    left = list(script)
    ended = anyio.Event()

    async def serve(stream):
        async with stream:
            lines = BufferedByteReceiveStream(stream)
            for answer in [{}, *left.pop(0)]:
                frame = json.loads(await lines.receive_until(b"\n", 1 << 20))
                heard.append(frame)
                told = {"jsonrpc": "2.0", "id": frame["id"], "result": {"structuredContent": answer}}
                await stream.send(json.dumps(told).encode() + b"\n")
        if not left:
            ended.set()

    place = run.folder / "state" / "run"
    place.mkdir(parents=True, mode=0o700)
    await anyio.run_process(["git", "init", "-q", str(run.folder / "repo")])
    async with await anyio.create_unix_listener(place / "infra.sock") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        yield heard
        await ended.wait()
        group.cancel_scope.cancel()


@pytest.mark.anyio
@pytest.mark.promise("recover.reobserve")
async def test_a_server_that_goes_away_is_looked_for_and_asked_again_under_the_same_key(tmp_path):
    queued, landed = {"request": "req-1", "state": "queued"}, {"request": "req-1", "state": "landed", "exit": 0}
    async with scripted(run := Shell(tmp_path), [[queued], [queued], [landed]]) as heard:
        done = await run("deploy", "docs", "1", "--json")

    assert done.code == 0, done
    assert done.json["state"] == "landed"
    calls = [frame["params"]["arguments"] for frame in heard if frame["method"] == "tools/call"]
    assert len({call["idempotency_key"] for call in calls}) == 1
    assert [call["wait_seconds"] > 0 for call in calls] == [False, True, True]


@pytest.mark.anyio
async def test_an_ask_is_not_sent_twice_when_its_answer_is_lost(tmp_path):
    async with scripted(run := Shell(tmp_path), [[]]) as heard:
        done = await run("ask", "hello", "--json")

    assert (done.code, done.json["code"]) == (6, "server-unreachable")
    assert [frame["method"] for frame in heard] == ["infra/hello"]


@pytest.mark.anyio
@pytest.mark.fault("f17")
async def test_a_null_in_a_json_file_or_argument_is_the_field_left_out(tmp_path):
    nulls = {"on_failure": None, "reason": None, "idempotency_key": None, "dry_run": None, "wait_seconds": None}
    (tmp_path / "change.json").write_text(json.dumps({"action": None, "app": "docs", "version": "1"} | nulls))
    (tmp_path / "plain.json").write_text(json.dumps({"app": "docs", "version": "1"}))
    async with shell(tmp_path) as (at, run):
        as_docs = {"token": at.tokens["docs"]}
        plain = await run(
            "run", "deploy", "--json-file", str(tmp_path / "plain.json"), "--run-id", "7", "--json", **as_docs
        )
        nulled = await run(
            "run", "deploy", "--json-file", str(tmp_path / "change.json"), "--run-id", "7", "--json", **as_docs
        )
        typed = await run(
            "run", "deploy", "app=docs", "version=1", "dry_run=null", "--run-id", "7", "--json", **as_docs
        )

        assert (plain.code, nulled.code, typed.code) == (0, 0, 0), (plain, nulled, typed)
        assert plain.json["request"] == nulled.json["request"] == typed.json["request"]


@pytest.mark.anyio
async def test_several_settings_are_set_in_one_call(tmp_path):
    granted = POLICY.replace('"deploy"]', '"deploy", "configure"]')
    async with shell(tmp_path, policy=granted) as (at, run):
        words = ["docs", "--set", "replicas=4", "--set", "title=a=b c", "--environment", "production"]
        await run("configure", *words, token=at.tokens["docs"])

        (asked,) = distinct(at)
        assert asked.action.model_dump(exclude_none=True) == {
            "action": "configure",
            "app": "docs",
            "environment": "production",
            "settings": {"replicas": "4", "title": "a=b c"},
        }


def test_a_value_of_a_release_has_the_type_of_the_charts_own_and_true_false_and_null_are_no_text(tmp_path, capsys):
    files = {
        "charts/web/Chart.yaml": "apiVersion: v2\nname: web\nversion: 0.1.0\n",
        "charts/web/values.yaml": "replicas: 1\nenabled: true\nimage: {tag: 1.0.0}\n",
        "infra.toml": '[[tree.roots]]\npath = "helm"\ndelivery = "helm"\n[clusters.here]\ncontext = "here"\n'
        '[circles.docs]\nnamespaces = ["docs-*"]\n',
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@x", "commit", "-qm", "a"]):
        subprocess.run(["git", "-C", tmp_path, *words], check=True)
    given = ("image.tag=1.10", "replicas=3", "enabled=false", "debug=true", "gone=null", 'args=["a=b"]', "port=8080")
    words = [word for one in given for word in ("--set", one)]

    assert main(["preview", "helm-release", "docs-live", "site", "--chart", "./charts/web", *words, "--json",
                 "--repo", str(tmp_path)]) == 0  # fmt: skip

    (file,) = json.loads(capsys.readouterr().out)["files"]
    assert file["content"] == (
        "chart: ../../charts/web\nvalues:\n  args:\n    - a=b\n  debug: true\n  enabled: false\n  image:\n"
        '    tag: "1.10"\n  port: "8080"\n  replicas: 3\n'
    )
    assert main(["preview", "helm-release", "docs-live", "site", "--chart", "./charts/web", "--version", "0.1.0",
                 "--repo", str(tmp_path)]) == 2  # fmt: skip
    assert "no version for a chart of this repository" in capsys.readouterr().err
