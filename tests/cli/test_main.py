"""The command line against a running server: what it prints, how it exits, and what it does not import."""

from __future__ import annotations

import json
import subprocess
import sys

import anyio
import pytest
from running_server import POLICY
from server_process import wait_until
from shell import Shell, distinct, shell, stop_started

from infra_mcp.cli.main import parser
from infra_mcp.codes import CODES, Exit
from infra_mcp.errors import InfraError
from infra_mcp.model.outcome import Receipt
from infra_mcp.model.request import State
from infra_mcp.policy.policy import digest_of

pytestmark = pytest.mark.process

SEED = "I need a namespace 'docs-staging' with image-pull secret X"


@pytest.fixture
def alone(tmp_path) -> Shell:
    """A repository without a server."""
    subprocess.run(["git", "init", "-q", "-b", "main", tmp_path / "repo"], check=True)
    return Shell(tmp_path)


@pytest.mark.anyio
async def test_ask_waits_for_the_ack_and_shows_the_receipt(tmp_path):
    async with shell(tmp_path) as (at, run):
        done = await run("ask", SEED, token=at.tokens["docs"])
        as_json = await run("ask", SEED, "--json", token=at.tokens["docs"])

        assert done.code == 0, done
        assert "provision_namespace is done." in done.out
        assert "commit: " + "c" * 40 in done.out
        assert "audit head: " in done.out
        assert as_json.json["status"] == "resolved"
        assert as_json.json["state"] == "landed"


@pytest.mark.anyio
async def test_words_that_are_not_understood_exit_with_5(tmp_path):
    async with shell(tmp_path) as (at, run):
        done = await run("ask", "-", stdin=b"make it so", token=at.tokens["docs"])

        assert done.code == 5, done
        assert "can ask" in done.out


@pytest.mark.anyio
async def test_run_reads_fields_by_the_tools_own_types(tmp_path):
    async with shell(tmp_path) as (at, run):
        words = ("provision_namespace", "namespace=docs-a", "pull_secrets=X", 'quota={"pods": 3}', "default_deny=true")
        done = await run("run", *words, "--reason", "trial", "--idempotency-key", "k", token=at.tokens["docs"])
        version = await run("run", "deploy", "app=docs", "version=0.10", token=at.tokens["docs"])

        assert done.code == 0, done
        assert version.code == 0, version
        first, second = distinct(at)
        assert first.action.model_dump(exclude_defaults=True, exclude_none=True) == {
            "namespace": "docs-a",
            "pull_secrets": ("X",),
            "quota": {"pods": 3},
            "default_deny": True,
        }
        assert (first.reason, first.idempotency_key, first.channel) == ("trial", "k", "cli")
        assert second.action.version == "0.10"


@pytest.mark.anyio
async def test_run_takes_the_whole_action_as_json(tmp_path):
    async with shell(tmp_path) as (at, run):
        action = json.dumps({"action": "deploy", "app": "docs", "version": "1"}).encode()
        done = await run("run", "--json-file", "-", "--dry-run", "--json", stdin=action, token=at.tokens["docs"])
        other = await run("run", "provision_namespace", "--json-file", "-", stdin=action, token=at.tokens["docs"])
        broken = await run("run", "--json-file", "-", stdin=b"{", token=at.tokens["docs"])

        assert done.json["state"] == "previewed", done
        assert other.code == 2
        assert broken.code == 2
        assert len(distinct(at)) == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("state", "code", "expected"),
    [
        (State.LANDED, None, 0),
        (State.UNCHANGED, None, 0),
        (State.FAILED, "not-landed", 1),
        (State.ROLLED_BACK, "not-landed", 1),
        (State.REFUSED, "object-invalid", 1),
        (State.REFUSED, "policy-denied", 3),
        (State.REFUSED, "needs-approval", 4),
        (State.NEEDS_OPERATOR, "undo-incomplete", 7),
    ],
)
async def test_every_end_has_its_exit_code(tmp_path, state, code, expected):
    def script(request):
        error = InfraError(code, "Because.").as_dict() if code else None
        return Receipt(request=request.id, state=state, message="So it is.", action="deploy", error=error)

    async with shell(tmp_path, script=script) as (at, run):
        typed = await run("run", "deploy", "app=docs", "version=1", token=at.tokens["docs"])
        asked = await run("ask", SEED, "--json", token=at.tokens["docs"])

        assert (typed.code, asked.code) == (expected, expected), (typed, asked)


@pytest.mark.anyio
async def test_a_wait_that_runs_out_exits_with_6_and_the_request_can_be_shown_and_cancelled(tmp_path):
    async with shell(tmp_path, held=True) as (at, run):
        token = at.tokens["docs"]
        started = await run("run", "deploy", "app=docs", "version=1", "--wait", "0", "--json", token=token)
        asked = await run("ask", SEED, "--wait", "0", token=token)
        request = started.json["request"]
        shown = await run("request", "show", request, token=token)
        cancelled = await run("request", "cancel", request, token=token)
        late = await run("request", "cancel", request, token=token)
        listed = await run("request", "list", token=token)
        trail = await run("audit", "show", request, token=token)

        assert (started.code, asked.code, shown.code) == (6, 6, 6)
        assert cancelled.code == 0, cancelled
        assert late.code == 2
        assert "too-late" in late.err
        assert request in listed.out
        assert "cancelled" in trail.out


@pytest.mark.anyio
async def test_the_operator_looks_but_changes_nothing(tmp_path):
    async with shell(tmp_path) as (_, run):
        refused = await run("run", "deploy", "app=docs", "version=1")
        found = await run("audit", "search", "refused")
        status = await run("status", "--json")

        assert refused.code == 3, refused
        assert found.code == 0
        assert status.json["server"]["working"] is True


@pytest.mark.anyio
async def test_peers_are_managed_through_the_running_server(tmp_path):
    async with shell(tmp_path) as (at, run):
        added = await run("peer", "add", "site", "--circle", "docs")
        renewed = await run("peer", "token", "site", "--json")
        as_peer = await run("peer", "list", token=at.tokens["docs"])
        listed = await run("peer", "list")
        removed = await run("peer", "remove", "site")

        assert added.out.strip().startswith("imcp_"), added
        assert (await run("status", token=added.out.strip())).code == 3
        assert as_peer.code == 3
        assert "site  circle docs  tokens: 1" in listed.out
        assert removed.code == 0
        assert (await run("status", token=renewed.json["token"])).code == 3


@pytest.mark.anyio
@pytest.mark.promise("policy.accepted")
async def test_a_changed_policy_is_shown_and_accepted_by_its_digest(tmp_path):
    async with shell(tmp_path) as (at, run):
        at.engine.settings.policy_file.write_text(POLICY + "\n# more\n", encoding="utf-8")
        asked = await run("policy", "accept")
        wrong = await run("policy", "accept", "--digest", "sha256:" + "0" * 64)
        diff = await run("policy", "diff")
        before = at.engine.policy.current().digest
        accepted = await run("policy", "accept", "--yes", "--json")
        again = await run("policy", "accept", "--yes")
        shown = await run("policy", "show", "--json")

        assert asked.code == 3  # nobody at a terminal said yes
        assert wrong.code == 3
        assert "+# more" in diff.out
        assert accepted.json["in_force"] != before
        assert again.code == 0
        assert shown.json["in_force"] == accepted.json["in_force"]
        assert (await run("policy", "accept", "--yes", token=at.tokens["docs"])).code == 3


@pytest.mark.anyio
@pytest.mark.promise("policy.accepted")
async def test_a_policy_that_grants_what_came_later_is_shown_and_accepted_again_though_the_file_is_the_same(tmp_path):
    async with shell(tmp_path) as (at, run):
        text = POLICY.replace('"deploy"', '"deploy", "scale"')
        at.engine.settings.policy_file.write_text(text, encoding="utf-8")
        await at.engine.ledger.accept_policy(digest_of(text), text, "operator")  # as the first edition did
        await at.engine.policy.refresh()
        shown = await run("policy", "show")
        diff = await run("policy", "diff")
        asked = await run("policy", "accept")
        accepted = await run("policy", "accept", "--yes")
        after = await run("policy", "diff", "--json")
        again = await run("policy", "accept", "--yes")

        waits = "granted, and in force once the policy is accepted again: scale"
        assert waits in shown.out
        told = [one for one in diff.out.splitlines() if not one.startswith("remark: ")]
        assert told == ["infra.toml is what is in force.", waits]
        assert (asked.code, waits in asked.err) == (3, True)
        assert accepted.code == 0, accepted
        assert digest_of(text) in accepted.out
        assert (after.json["waiting"], after.json["pending"]) == ([], None)
        assert "in force already" in again.out


@pytest.mark.anyio
@pytest.mark.promise("process.one-owner")
async def test_without_a_server_a_command_starts_one_and_says_so(alone):
    try:
        done = await alone("status", "--json")
        again = await alone("request", "list")

        assert done.code == 0, done
        assert "starting one" in done.err
        assert str(alone.folder / "state" / "server.log") in done.err
        assert done.json["server"]["started"] == "on demand"
        assert again.code == 0, again
        assert again.err == ""
    finally:
        stop_started(alone.folder / "state")
        wait_until(lambda: not (alone.folder / "state" / "run" / "infra.sock").exists(), what="the server's end")


@pytest.mark.anyio
async def test_peers_and_policy_can_be_set_up_before_the_first_server(alone):
    (alone.folder / "repo" / "infra.toml").write_text(POLICY, encoding="utf-8")
    added = await alone("peer", "add", "site", "--circle", "docs")
    accepted = await alone("policy", "accept", "--yes")
    listed = await alone("peer", "list", "--json")
    as_peer = await alone("peer", "list", token=added.out.strip())
    verified = await alone("audit", "verify", "--json")

    assert added.out.strip().startswith("imcp_"), added
    assert "circle docs" in accepted.out, accepted
    assert [peer["name"] for peer in listed.json["peers"]] == ["site"]
    assert as_peer.code == 3
    assert verified.json["consistent"], verified
    assert added.out.strip() not in (alone.folder / "state" / "ledger.sqlite3").read_bytes().decode("latin-1")


@pytest.mark.anyio
async def test_outside_a_repository_a_command_says_so(tmp_path):
    (tmp_path / "repo").mkdir()
    done = await Shell(tmp_path, GIT_CEILING_DIRECTORIES=str(tmp_path))("status")

    assert done.code == 6
    assert "--repo" in done.err


@pytest.mark.anyio
@pytest.mark.parametrize(
    "words", [["status"], ["request", "list"], ["approve", "req-1", "sha256:" + "0" * 64], ["audit", "head"]]
)
async def test_a_client_command_imports_the_standard_library_only(tmp_path, words):
    async with shell(tmp_path) as (_, run):
        script = (
            f"import sys; from infra_mcp.cli.main import main; before = set(sys.modules); code = main({words});"
            "known = set(sys.stdlib_module_names) | {'infra_mcp', '__main__', '__mp_main__'};"
            "print('FOREIGN', sorted({name.partition('.')[0] for name in sys.modules} - known))"
        )
        argv = [sys.executable, "-S", "-c", script]
        done = await anyio.run_process(argv, env=run.env, cwd=run.folder / "repo", check=False)

        assert done.stdout.decode().splitlines()[-1] == "FOREIGN []", done


@pytest.mark.parametrize("needed", ["server.offline", "engine.check", "engine.repositories"])
def test_a_command_that_works_without_a_server_does_not_import_the_engine(needed):
    script = f"import sys, infra_mcp.{needed}; print('ENGINE', 'infra_mcp.engine.engine' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert done.stdout == "ENGINE False\n", done


@pytest.mark.anyio
async def test_a_token_comes_from_a_file_and_never_from_an_argument(tmp_path):
    async with shell(tmp_path) as (at, run):
        file = tmp_path / "token"
        file.write_text(at.tokens["docs"] + "\n", encoding="utf-8")
        known = await run("request", "list", "--token-file", str(file), "--json")
        missing = await run("request", "list", "--token-file", str(tmp_path / "none"))
        wrong = await run("request", "list", token="imcp_wrong")

        assert known.code == 0, known
        assert missing.code == 6
        assert wrong.code == 3
        assert "imcp_wrong" not in wrong.out + wrong.err


def walk(tree, name=()):
    """Every command with its options."""
    import argparse  # noqa: PLC0415 - only to look at its parts

    yield name, tree
    for action in tree._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, inner in action.choices.items():
                yield from walk(inner, (*name, word))


def test_no_option_takes_a_token_and_every_command_explains_itself():
    for name, tree in walk(parser()):
        assert tree.description, name
        for action in tree._actions:
            assert "--token" not in action.option_strings
            assert action.help or not action.option_strings, (name, action)


def test_exit_codes_are_those_of_the_errors():
    assert {code.value for code in Exit} == set(range(8))
    assert all(info.exit in set(Exit) for info in CODES.values())
