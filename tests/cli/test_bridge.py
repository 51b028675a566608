"""`infra-mcp connect --url`: stdio on the host's side, streamable HTTP on the server's, in both eras."""

from __future__ import annotations

import http.server
import json
import threading
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest
from anyio import to_thread
from approval_server import Host as Person
from approval_server import approval_server, waiting
from hosts import MODERN, client, environment, host, repository
from running_server import POLICY, running_server
from server_process import start_server

from infra_mcp.cli.client import connect
from infra_mcp.proof import prove, which_and_key
from infra_mcp.settings import Settings

pytestmark = [pytest.mark.anyio, pytest.mark.process]
ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])


@asynccontextmanager
async def elsewhere(tmp_path, peer="docs", **options):
    """A server, and the environment of a host that is nowhere near its repository."""
    (tmp_path / "away").mkdir()
    async with running_server(tmp_path, **options) as at:
        yield at, tmp_path / "away", environment(tmp_path / "nothing", INFRA_MCP_TOKEN=at.tokens[peer])


@ERAS
@pytest.mark.promise("connect.fast")
@pytest.mark.promise("mcp.both-eras")
async def test_calls_and_their_progress_pass_in_both_eras(tmp_path, mode):
    async with elsewhere(tmp_path, held=True) as (at, away, env):
        told = []

        async def progress(passed, total, message):  # noqa: ARG001 - what the SDK calls it with
            told.append(message)
            at.engine.gate.set()

        with anyio.fail_after(60):
            async with client(away, env, "--url", at.url, mode=mode) as made:
                names = {tool.name for tool in (await made.list_tools()).tools}
                done = await made.call_tool("deploy", {"app": "docs", "version": "1"}, progress_callback=progress)

        assert {"ask", "deploy"} <= names
        assert done.structured_content["state"] == "landed"
        assert told
        assert at.engine.submitted[0].caller.name == "docs"


@ERAS
@pytest.mark.promise("connect.fast")
async def test_a_call_the_host_gives_up_on_is_cancelled_at_the_server(tmp_path, mode):
    async with elsewhere(tmp_path, held=True) as (at, away, env):
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
            async with client(away, env, "--url", at.url, mode=mode) as made:
                async with anyio.create_task_group() as group:
                    group.start_soon(made.call_tool, "deploy", {"app": "docs", "version": "1"})
                    await waiting.wait()
                    group.cancel_scope.cancel()
                await cancelled.wait()
                assert not (await made.call_tool("whoami", {})).is_error
        at.engine.gate.set()


@ERAS
@pytest.mark.promise("connect.fast")
async def test_a_question_to_the_person_at_the_host_and_the_answer_pass(tmp_path, monkeypatch, mode):
    async with approval_server(tmp_path, monkeypatch, "both") as at:
        request, person = await waiting(at), Person()
        env = environment(tmp_path / "nothing", INFRA_MCP_TOKEN=at.tokens["olga"], INFRA_MCP_URL=at.url)
        with anyio.fail_after(60):
            async with client(tmp_path, env, mode=mode, elicitation_callback=person.ask) as made:
                result = await made.call_tool("approve", {"request_id": request.id})

    assert result.structured_content["state"] == "landed"
    assert request.effect_digest in person.shown[0].message


async def test_slow_calls_hold_up_no_others(tmp_path):
    async with elsewhere(tmp_path, held=True) as (at, away, env), host(away, env, "--url", at.url) as line:
        slow = {"name": "deploy", "arguments": {"app": "docs", "version": "1", "wait_seconds": 60}, "_meta": MODERN}
        await line.send({"jsonrpc": "2.0", "id": "slow", "method": "tools/call", "params": slow})
        with anyio.fail_after(30):
            await at.engine.asked.wait()
        quick = await line.call("whoami", "quick")
        at.engine.gate.set()
        done = await line.receive()

        assert quick["id"] == "quick"
        assert done["id"] == "slow"
        assert done["result"]["structuredContent"]["state"] == "landed"
        await line.close()
        assert await line.ended() == (0, "")


async def test_names_of_any_letters_pass(tmp_path):
    """A header repeats the tool's name; what a header cannot carry is encoded there."""
    async with elsewhere(tmp_path) as (at, away, env), host(away, env, "--url", at.url) as line:
        for number, name in enumerate(["naïve", "日本", " padded ", "=?base64?eA==?=", "a\nb"]):
            answer = await line.call(name, number)

            assert answer["id"] == number
            assert answer["result"]["structuredContent"]["code"] == "not-found"


@pytest.mark.promise("http.tokens")
@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://infra.example/mcp", "invalid-argument"),
        ("http://10.0.0.1:8420/mcp", "invalid-argument"),
        ("https://docs:secret@infra.example/mcp", "invalid-argument"),
        ("ftp://127.0.0.1/mcp", "invalid-argument"),
        ("127.0.0.1:8420", "invalid-argument"),
    ],
)
async def test_a_url_that_no_token_may_be_sent_to_is_refused(tmp_path, url, code):
    async with host(tmp_path, environment(tmp_path, INFRA_MCP_TOKEN="imcp_x"), "--url", url) as line:
        ended, said = await line.ended()

    assert (ended, said.partition(":")[0]) == (2, code)
    assert "imcp_x" not in said
    assert "secret" not in said


async def test_without_a_token_there_is_no_way_in(tmp_path):
    async with host(tmp_path, environment(tmp_path), "--url", "http://127.0.0.1:1/mcp") as line:
        ended, said = await line.ended()

    assert (ended, said.partition(":")[0]) == (3, "unauthenticated")


@pytest.mark.promise("http.tokens")
async def test_a_wrong_token_and_a_server_that_is_not_there_are_told_to_host_and_person(tmp_path):
    async with elsewhere(tmp_path) as (at, away, env):
        wrong = env | {"INFRA_MCP_TOKEN": "imcp_wrong"}
        for url, code in ((at.url, "unauthenticated"), ("http://127.0.0.1:1/mcp", "server-unreachable")):
            async with host(away, wrong, "--url", url) as line:
                answer = await line.call("whoami")
                await line.close()
                ended, said = await line.ended()

            assert answer["error"]["data"]["code"] == code
            assert said.startswith(f"{code}: ")
            assert ended == 0
            assert "imcp_wrong" not in said + json.dumps(answer)


@contextmanager
def web(status, headers):
    """An HTTP server that answers everything with this, and keeps what it was asked."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            _, key = which_and_key("imcp_x")
            nonce = parse_qs(urlsplit(self.path).query)["nonce"][0]
            body = json.dumps({"proof": prove(key, nonce)}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            asked.append(self.headers.get("Authorization"))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/mcp", asked
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.promise("http.tokens")
async def test_a_token_follows_no_redirect(tmp_path):
    with web(200, {}) as (other, other_asked), web(307, {"Location": other}) as (url, asked):
        async with host(tmp_path, environment(tmp_path, INFRA_MCP_TOKEN="imcp_x"), "--url", url) as line:
            answer = await line.call("whoami")

    assert answer["error"]["data"]["code"] == "server-unreachable"
    assert asked == ["Bearer imcp_x"]
    assert other_asked == []


async def test_a_token_passes_no_proxy(tmp_path):
    async with elsewhere(tmp_path) as (at, away, env):
        with web(200, {}) as (proxy, asked):
            env |= {"http_proxy": proxy, "HTTP_PROXY": proxy, "https_proxy": proxy, "ALL_PROXY": proxy}
            async with host(away, env, "--url", at.url) as line:
                assert not (await line.call("whoami"))["result"].get("isError")
        assert asked == []


@pytest.mark.promise("process.one-owner")
async def test_a_session_goes_on_with_the_next_server(tmp_path):
    """Of the 2025 era; in the 2026 era there is none to lose."""
    settings = Settings(
        repo=repository(tmp_path / "repo", POLICY), state_dir=tmp_path / "state", kubeconfig=tmp_path / "none"
    )
    first = await to_thread.run_sync(start_server, settings)
    port = int(first.url.split(":")[2].split("/")[0])

    def newcomer():
        with connect(settings, None) as made:
            return made.method("operator/peer.add", {"name": "docs", "circle": "docs"})["token"]

    env = environment(tmp_path / "nothing", INFRA_MCP_TOKEN=await to_thread.run_sync(newcomer))
    try:
        async with host(tmp_path, env, "--url", first.url) as line:
            await line.open_session()
            assert (await line.ask("tools/list", {}, 2))["result"]["tools"]
            await to_thread.run_sync(first.kill)
            gone = await line.ask("tools/list", {}, 3)
            second = await to_thread.run_sync(lambda: start_server(settings, port=port))
            try:
                again = await line.ask("tools/list", {}, 4)
                modern = await line.call("whoami", 5)
            finally:
                second.stop()
    finally:
        first.kill()

    assert (gone["id"], gone["error"]["data"]["code"]) == (3, "server-unreachable")
    assert again["id"] == 4
    assert again["result"]["tools"]
    assert modern["result"]["content"][0]["text"].splitlines()[1].split("\t")[1] == "docs"
