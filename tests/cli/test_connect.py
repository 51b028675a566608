"""`infra-mcp connect` as hosts run it: the console script, over its standard input and output, in both eras."""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import asynccontextmanager

import anyio
import pytest
from approval_server import Host as Person
from approval_server import approval_server, waiting
from hosts import MODERN, client, environment, host, repository
from running_server import running_server

pytestmark = [pytest.mark.anyio, pytest.mark.process]
ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])
# What a start must not pay for: each takes longer than all that is needed.
DEAR = {"argparse", "asyncio", "dataclasses", "inspect", "logging", "pathlib", "subprocess", "typing"}


@asynccontextmanager
async def at_home(tmp_path, **options):
    """A server in this process, and the environment of a host in its repository."""
    repository(tmp_path / "repo")
    async with running_server(tmp_path, "unix", **options) as at:
        yield at, tmp_path / "repo", environment(tmp_path / "state")


@pytest.mark.promise("connect.fast")
async def test_the_splice_imports_the_standard_library_only_and_little_of_it(tmp_path):
    async with at_home(tmp_path) as (_, repo, env):
        script = (
            "import sys; sys.argv[1:] = ['connect']; from infra_mcp.cli.main import main; code = main();"
            "print(code, sorted(sys.modules), file=sys.stderr)"
        )
        frame = {"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": MODERN}}
        argv = [sys.executable, "-S", "-c", script]  # -S: nothing of the installation has been imported before
        with anyio.fail_after(60):
            process = await anyio.open_process(argv, env=env, cwd=repo)
            async with process:
                await process.stdin.send(json.dumps(frame).encode() + b"\n")
                answer = json.loads(await process.stdout.receive(1 << 20))
                await process.stdin.aclose()
                said = b"".join([part async for part in process.stderr]).decode()
        code, _, listed = said.partition(" ")
        imported = {name.partition(".")[0] for name in json.loads(listed.replace("'", '"'))}

        assert "result" in answer
        assert code == "0"
        assert imported <= set(sys.stdlib_module_names) | {"infra_mcp", "__main__"}
        assert not imported & DEAR


@ERAS
@pytest.mark.promise("connect.fast")
@pytest.mark.promise("mcp.both-eras")
async def test_calls_and_their_progress_pass_in_both_eras(tmp_path, mode):
    async with at_home(tmp_path, held=True) as (at, repo, env):
        told = []

        async def progress(passed, total, message):  # noqa: ARG001 - what the SDK calls it with
            told.append(message)
            at.engine.gate.set()  # it ends only after a word of how far it is

        with anyio.fail_after(60):
            async with client(repo, env | {"INFRA_MCP_TOKEN": at.tokens["docs"]}, mode=mode) as made:
                names = {tool.name for tool in (await made.list_tools()).tools}
                done = await made.call_tool("deploy", {"app": "docs", "version": "1"}, progress_callback=progress)

        assert {"ask", "deploy"} <= names
        assert done.structured_content["state"] == "landed"
        assert told
        assert at.engine.submitted[0].caller.name == "docs"


@ERAS
@pytest.mark.promise("connect.fast")
async def test_a_call_the_host_gives_up_on_is_cancelled_at_the_server(tmp_path, mode):
    async with at_home(tmp_path, held=True) as (at, repo, env):
        waiting, cancelled = anyio.Event(), anyio.Event()
        wait = at.engine.wait

        async def watched(request_id, seconds, seen):
            if seconds:
                waiting.set()
            try:
                return await wait(request_id, seconds, seen)
            except anyio.get_cancelled_exc_class():
                cancelled.set()
                raise

        at.engine.wait = watched
        with anyio.fail_after(60):
            async with (
                client(repo, env | {"INFRA_MCP_TOKEN": at.tokens["docs"]}, mode=mode) as made,
                anyio.create_task_group() as group,
            ):
                group.start_soon(made.call_tool, "deploy", {"app": "docs", "version": "1"})
                await waiting.wait()
                group.cancel_scope.cancel()
            await cancelled.wait()
        at.engine.gate.set()


@ERAS
@pytest.mark.promise("connect.fast")
async def test_a_question_to_the_person_at_the_host_and_the_answer_pass(tmp_path, monkeypatch, mode):
    """Of the 2025 era it is a request of the server's own, of the 2026 era part of an answer."""
    repository(tmp_path / "repo")
    async with approval_server(tmp_path, monkeypatch) as at:
        request, person = await waiting(at), Person()
        env = environment(tmp_path / "state")
        with anyio.fail_after(60):
            async with client(
                tmp_path / "repo", env, "--attend", "infra", mode=mode, elicitation_callback=person.ask
            ) as made:
                result = await made.call_tool("approve", {"request_id": request.id})

    assert result.structured_content["state"] == "landed"
    assert request.effect_digest in person.shown[0].message


@pytest.mark.promise("auth.transport")
@pytest.mark.parametrize(
    ("who", "name"), [("token", "docs"), ("file", "docs"), ("nobody", "reader"), ("attends", "infra")]
)
async def test_a_host_is_whom_its_start_says(tmp_path, who, name):
    async with at_home(tmp_path) as (at, repo, env):
        words = []
        if who == "token":
            env["INFRA_MCP_TOKEN"] = at.tokens["docs"]
        elif who == "file":
            (tmp_path / "token").write_text(at.tokens["docs"] + "\n", encoding="utf-8")
            words = ["--token-file", str(tmp_path / "token")]
        elif who == "attends":
            env["INFRA_MCP_TOKEN"] = at.tokens["docs"]  # of another command in the same shell
            words = ["--attend=infra"]
        async with host(repo, env, *words) as line:
            shown = (await line.call("whoami"))["result"]["content"][0]["text"]
            listed = await line.ask("operator/peer.list")

        assert shown.splitlines()[1].split("\t")[1] == name
        assert listed["error"]["data"]["code"] == "policy-denied"


@pytest.mark.parametrize(
    ("words", "code", "exits"),
    [
        (["--attend", "shop"], "not-found", 2),
        (["--attend", "infra", "--token-file", "none"], "invalid-argument", 2),
        (["--attend", "infra", "--url", "https://infra.example/mcp"], "invalid-argument", 2),
        (["--url", "https://infra.example/mcp", "--repo", "."], "invalid-argument", 2),
        (["--token-file", "none"], "setup-failed", 6),
        (["--repo", "none"], "setup-failed", 6),
    ],
)
async def test_a_start_that_cannot_be_says_why_and_what_next(tmp_path, words, code, exits):
    async with at_home(tmp_path) as (_, repo, env), host(repo, env, *words) as line:
        ended, said = await line.ended()

    assert (ended, said.partition(":")[0]) == (exits, code)
    assert len(said.splitlines()) == 2


async def test_a_token_that_is_none_is_refused_and_not_repeated(tmp_path):
    async with at_home(tmp_path) as (_, repo, env), host(repo, env | {"INFRA_MCP_TOKEN": "imcp_wrong"}) as line:
        code, said = await line.ended()

    assert code == 3
    assert said.startswith("unauthenticated: ")
    assert "imcp_wrong" not in said


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["--help"], 0), (["--repo", ".", "--repo", "."], 0), (["--attend"], 2), (["--nothing"], 2), (["more"], 2)],
)
async def test_what_is_not_plain_is_for_the_parser(tmp_path, words, expected):
    async with at_home(tmp_path) as (_, repo, env), host(repo, env, *words) as line:
        await line.close()
        code, said = await line.ended()

    assert code == expected, said


async def test_a_host_that_closes_its_end_ends_it_and_only_it(tmp_path):
    async with at_home(tmp_path) as (_, repo, env), host(repo, env) as other:
        async with host(repo, env) as line:
            await line.call("whoami")
            await line.close()

            assert await line.ended() == (0, "")
        assert "result" in await other.call("whoami")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_and_not_the_server(tmp_path, number):
    async with at_home(tmp_path) as (_, repo, env), host(repo, env) as other:
        async with host(repo, env) as line:
            await line.call("whoami")
            os.kill(line.process.pid, number)

            assert await line.ended() == (-number, "")
        assert "result" in await other.call("whoami")


async def test_the_rights_of_a_revoked_token_end_at_once(tmp_path):
    async with at_home(tmp_path) as (at, repo, env), host(repo, env | {"INFRA_MCP_TOKEN": at.tokens["docs"]}) as line:
        before = await line.call("whoami")
        await at.engine.ledger.revoke_tokens("docs")
        after = await line.call("whoami")

    assert not before["result"].get("isError")
    assert after["result"]["structuredContent"]["code"] == "unauthenticated"


@pytest.mark.promise("attend.claim")
async def test_an_attending_session_leaves_the_desk_when_its_host_dies(tmp_path):
    async with at_home(tmp_path) as (at, repo, env):
        async with host(repo, env, "--attend", "infra") as line:
            await line.call("whoami")
            assert at.service.attendants._sessions
            line.process.kill()
            await line.ended()
        with anyio.fail_after(20):
            while at.service.attendants._sessions:  # noqa: ASYNC110 - another process's death shows in no event of ours
                await anyio.sleep(0.01)
