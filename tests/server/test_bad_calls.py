"""Calls nobody should make, and arguments of every wrong shape, by tool, ask and command line, on the real wire.

Each ends in a refusal with a code or a protocol error, changes nothing, repeats nothing, leaves a row where it would
have changed something, and the next call is served.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager, suppress

import anyio
import httpx2
import pytest
from running_server import running_server
from shell import shell

from infra_mcp.codes import CODES
from infra_mcp.mesh.limits import ROWS
from infra_mcp.model.request import State
from infra_mcp.server.socket import MAX_LINE

pytestmark = [pytest.mark.anyio, pytest.mark.bad_input("4"), pytest.mark.bad_input("5")]

MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
INITIALIZE = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
MODES = pytest.mark.parametrize("mode", ["auto", "legacy"])
DEPLOY = {"app": "docs", "version": "1"}
SECRET = "hunter2-IS-SECRET"
# Group 5. Fields of provision_namespace; with what is wrong in each.
SHAPES = [
    {"namespace": "docs-a", "dryRun": True},
    {"namespace": "docs-a", "context": SECRET},
    {"namespace": "docs-a", f"{SECRET} and more": 1},
    {"namespace": 3},
    {"namespace": True},
    {"namespace": {"a": SECRET}},
    {"namespace": [SECRET]},
    {"namespace": None},
    {},
    {"namespace": "docs-a", "labels": SECRET},
    {"namespace": "docs-a", "labels": {"a": {"b": {"c": SECRET}}}},
    {"namespace": "docs-a", "pull_secrets": {"X": 1}},
    {"namespace": "docs-a", "quota": {"pods": "3"}},
    {"namespace": "docs-a", "quota": {"pods": 1e9}},
    {"namespace": "docs-a", "quota": {"pods": -1}},
    {"namespace": "docs-a", "quota": {"pods": 2**63}},
    {"namespace": "docs-a", "quota": {"cpu": 1}},
    {"namespace": "docs-a", "default_deny": "yes"},
    {"namespace": "docs-a", "default_deny": 1},
    {f"key{n}": n for n in range(10_000)},
    {"namespace": "docs-a", "labels": {f"k{n}": "v" for n in range(10_000)}},
    {"namespace": "d" * 60_000},
]
REFUSED = {"invalid-argument", "unknown-argument"}


class Wire:
    """Frames over the unix socket, written as they are."""

    def __init__(self, stream):
        self._stream = stream
        self._buffer = b""

    async def send(self, frame) -> None:
        await self._stream.send((frame if isinstance(frame, bytes) else json.dumps(frame).encode()) + b"\n")

    async def receive(self):
        with anyio.fail_after(30):
            while b"\n" not in self._buffer:
                self._buffer += await self._stream.receive(1 << 20)
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    async def call(self, name, arguments, identity):
        params = {"name": name, "arguments": arguments, "_meta": MODERN}
        await self.send({"jsonrpc": "2.0", "id": identity, "method": "tools/call", "params": params})

    async def answers(self, identity):
        """The result with this id; others before it are dropped."""
        while (frame := await self.receive()).get("id") != identity:
            pass
        return frame


@asynccontextmanager
async def wire(at, peer="docs"):
    async with await anyio.connect_unix(at.socket) as stream:
        line = Wire(stream)
        hello = {"jsonrpc": "2.0", "id": "hello", "method": "infra/hello", "params": {"token": at.tokens[peer]}}
        await line.send(hello)
        await line.answers("hello")
        yield line


async def rows(at) -> int:
    return (await at.engine.ledger.search("call-refused", circle=None, limit=1)).total


# -- group 4: calls
async def test_a_flood_of_invalid_calls_leaves_a_bounded_number_of_rows_and_harms_no_other_caller(tmp_path):
    async with (
        running_server(tmp_path, "unix") as at,
        at.unix("docs", "auto") as flood,
        at.unix("shop", "auto") as other,
    ):
        results = [await flood.call_tool("deploy", {"app": number}) for number in range(2 * ROWS)]

        assert all(result.is_error for result in results)
        assert ROWS <= await rows(at) < 2 * ROWS
        before = await rows(at)
        assert (await other.call_tool("deploy", {"app": 1})).is_error
        assert await rows(at) == before + 1, "another peer's are noted as ever"


@MODES
@pytest.mark.promise("mcp.errors")
@pytest.mark.parametrize("channel", ["http", "unix"])
async def test_unknown_and_forbidden_tools_are_refused_and_leave_a_row(tmp_path, channel, mode):
    async with running_server(tmp_path, channel) as at, getattr(at, channel)("shop", mode) as client:
        for number, (name, arguments, code) in enumerate(
            [
                ("deploy", DEPLOY, "policy-denied"),
                ("Deploy", DEPLOY, "not-found"),
                ("DEPLOY", DEPLOY, "not-found"),
                ("deploy ", DEPLOY, "not-found"),
                ("provision-namespace", {"namespace": "shop-a"}, "not-found"),
                ("mcp__infra__deploy", DEPLOY, "not-found"),
                (SECRET, {SECRET: SECRET}, "not-found"),
                ("approve", {"request_id": "req-000000000000"}, "policy-denied"),
                ("operator/shutdown", {}, "not-found"),
            ],
            start=1,
        ):
            result = await client.call_tool(name, arguments)
            told = result.structured_content.get("error", result.structured_content)

            assert result.is_error, name
            assert told["code"] == code, name
            assert told["next"]
            assert SECRET not in str(result)
            # a row, or a request of its own that policy refused
            assert await rows(at) + len(at.engine.submitted) == number
        assert not (await client.call_tool("whoami", {})).is_error
        assert {one.state for one in await at.engine.ledger.recent(None, 10)} == {State.REFUSED}


async def test_methods_in_another_case_and_calls_before_initialize_are_protocol_errors(tmp_path):
    async with running_server(tmp_path, "unix") as at, wire(at) as line:
        early = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "deploy", "arguments": DEPLOY}}
        await line.send(early)
        assert "error" in await line.answers(1)
        await line.send({"jsonrpc": "2.0", "id": 2, "method": "initialize", "params": INITIALIZE})
        assert "result" in await line.answers(2)
        await line.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        for identity, method in enumerate(("Tools/Call", "TOOLS/LIST", "tools/call ", "tools\\call"), start=3):
            await line.send({**early, "id": identity, "method": method})
            assert (await line.answers(identity))["error"]["code"] == -32601
        await line.send({**early, "id": 9})

        assert (await line.answers(9))["result"]["isError"] is False
        assert len(at.engine.submitted) == 1


async def test_a_call_over_http_without_a_session_in_the_old_era_is_refused(tmp_path):
    async with running_server(tmp_path) as at, httpx2.AsyncClient() as web:
        headers = {
            "Authorization": f"Bearer {at.tokens['docs']}",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": "2025-06-18",
        }
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "deploy", "arguments": DEPLOY}}
        for extra, status in (({}, 400), ({"Mcp-Session-Id": "0" * 32}, 404)):
            answer = await web.post(at.url, json=body, headers=headers | extra)
            assert answer.status_code == status
        assert at.engine.submitted == []
        async with at.http("docs") as client:
            assert not (await client.call_tool("whoami", {})).is_error


async def test_two_requests_with_one_id_are_never_both_carried_out(tmp_path):
    async with running_server(tmp_path, "unix", held=True) as at, wire(at) as line:
        await line.call("deploy", DEPLOY | {"wait_seconds": 30}, 5)
        with anyio.fail_after(30):
            await at.engine.asked.wait()
        await line.call("deploy", {"app": "docs", "version": "2"}, 5)
        refused = await line.receive()
        at.engine.gate.set()
        first = await line.answers(5)
        await line.call("whoami", {}, 5)

        assert refused["error"]["code"] == -32600
        assert refused["id"] is None
        assert first["result"]["structuredContent"]["state"] == "landed"
        assert [one.action.version for one in at.engine.submitted] == ["1"]
        assert not (await line.answers(5))["result"]["isError"]


@pytest.mark.process
@pytest.mark.promise("intake.dedupe")
async def test_a_key_with_other_arguments_is_refused_by_every_way_in(tmp_path):
    async with shell(tmp_path, "both") as (at, run):
        key = {"idempotency_key": "pipeline-7"}
        async with at.http("docs") as client:
            first = await client.call_tool("deploy", DEPLOY | key)
            by_tool = await client.call_tool("deploy", DEPLOY | key | {"version": "2"})
            block = json.dumps({"action": "deploy", "app": "docs", "version": "3", **key})
            asked = await client.call_tool("ask", {"peer_name": "infra", "query": f"```infra\n{block}\n```"})
            by_ask = await client.call_tool("wait_on_ack", {"correlation_id": asked.content[0].text})
        by_cli = await run("deploy", "docs", "4", "--idempotency-key", "pipeline-7", "--json", token=at.tokens["docs"])

        assert first.structured_content["state"] == "landed"
        assert by_tool.structured_content["code"] == "idempotency-conflict"
        assert by_ask.structured_content["reply"].startswith("idempotency-conflict: ")
        assert by_ask.structured_content["exit"] == int(CODES["idempotency-conflict"].exit)
        assert (by_cli.code, by_cli.json["code"]) == (2, "idempotency-conflict")
        versions = [one.action.version for one in at.engine.submitted]
        landed = await at.engine.ledger.recent(None, 10)
        assert {one.action.version for one in landed} == {"1"}, versions


# -- group 5: arguments
@MODES
@pytest.mark.parametrize("channel", ["http", "unix"])
@pytest.mark.promise("intake.typed")
@pytest.mark.promise("mcp.errors")
async def test_wrong_arguments_of_a_tool_are_refused_by_name_and_rule(tmp_path, channel, mode):
    async with running_server(tmp_path, channel) as at, getattr(at, channel)("docs", mode) as client:
        for number, fields in enumerate(SHAPES, start=1):
            result = await client.call_tool("provision_namespace", fields)

            assert result.is_error, number
            assert result.structured_content["code"] in REFUSED, number
            assert len(result.content[0].text) < 2_000, number
            assert SECRET not in str(result), number
            assert not (await client.call_tool("whoami", {})).is_error, number
            assert await rows(at) == number
        assert at.engine.submitted == []


@pytest.mark.promise("intake.typed")
async def test_wrong_arguments_in_an_ask_are_refused_in_its_ack(tmp_path):
    async with running_server(tmp_path, "unix") as at, at.unix("docs") as client:
        for number, fields in enumerate(SHAPES):
            query = f"```infra\n{json.dumps({'action': 'provision_namespace', **fields})}\n```"
            asked = await client.call_tool("ask", {"peer_name": "infra", "query": query})
            if len(query.encode()) > 65_536:
                assert asked.structured_content["code"] == "invalid-argument", number
                continue
            ack = await client.call_tool("wait_on_ack", {"correlation_id": asked.content[0].text})
            assert ack.structured_content["status"] == "resolved", number
            assert ack.structured_content["reply"].partition(":")[0] in REFUSED, number
            assert ack.structured_content["exit"] == 2, number
            assert SECRET not in ack.structured_content["reply"], number
        assert at.engine.submitted == []
        assert not (await client.call_tool("whoami", {})).is_error


@pytest.mark.process
@pytest.mark.promise("intake.typed")
async def test_wrong_arguments_on_the_command_line_are_refused_with_exit_2(tmp_path):
    async with shell(tmp_path) as (at, run):
        for words in (
            ["run", "provision_namespace", "namespace=docs-a", "dryRun=true"],
            ["run", "provision_namespace", "namespace=docs-a", f"context={SECRET}"],
            ["run", "provision_namespace", 'namespace={"a": 1}'],
            ["run", "provision_namespace"],
            ["run", "provision_namespace", "namespace=docs-a", 'quota={"pods": "3"}'],
            ["run", "provision_namespace", "namespace=docs-a", 'quota={"pods": -1}'],
            ["run", "provision_namespace", "namespace=docs-a", 'quota={"pods": 9223372036854775808}'],
            ["run", "provision_namespace", "namespace=docs-a", "labels=[1]"],
            ["run", "provision_namespace", f"namespace={'d' * 60_000}"],
            ["run", "Deploy", "app=docs", "version=1"],
            ["run", SECRET, "a=1"],
            ["provision-namespace", "docs-a", "--dryRun"],
            ["provision-namespace", "docs-a", "--quota", "pods=many"],
            ["deploy", "docs"],
        ):
            done = await run(*words, token=at.tokens["docs"])

            assert done.code == 2, (words, done)
            assert done.out == ""
            assert "Traceback" not in done.err
        assert at.engine.submitted == []
        assert (await run("status", token=at.tokens["docs"])).code == 0


NUMBERS = ["NaN", "Infinity", "-Infinity", "1e400", "-1", "1e9", "9223372036854775808", '"3"', "[]"]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.promise("intake.typed")
async def test_numbers_that_are_none_are_refused_as_they_stand_on_the_wire(tmp_path, number):
    async with running_server(tmp_path) as at:
        arguments = '{"app": "docs", "version": "1", "wait_seconds": ' + number + "}"
        params = '{"name": "deploy", "arguments": ' + arguments + ', "_meta": ' + json.dumps(MODERN) + "}"
        text = '{"jsonrpc": "2.0", "id": 4, "method": "tools/call", "params": ' + params + "}"
        async with wire(at) as line:
            await line.send(text.encode())
            answer = await line.receive()
            assert "error" in answer or answer["result"]["structuredContent"]["code"] == "invalid-argument"
            await line.call("whoami", {}, 7)
            assert not (await line.answers(7))["result"]["isError"]
        async with httpx2.AsyncClient() as web:
            headers = {
                "Authorization": f"Bearer {at.tokens['docs']}",
                "Accept": "application/json, text/event-stream",
                "Content-Type": "application/json",
                "MCP-Protocol-Version": "2026-07-28",
                "Mcp-Method": "tools/call",
                "Mcp-Name": "deploy",
            }
            answer = await web.post(at.url, content=text.encode(), headers=headers)
            assert answer.status_code == 400 or '"invalid-argument"' in answer.text
            assert (await web.get(at.url.replace("/mcp", "/healthz"))).status_code == 200
        assert at.engine.submitted == []


@pytest.mark.promise("secrets.nowhere")
async def test_eight_mebibytes_in_one_argument_are_refused_and_the_next_connection_is_served(tmp_path):
    huge = SECRET + "x" * (MAX_LINE + (1 << 20))
    async with running_server(tmp_path) as at:
        async with wire(at) as line:
            with suppress(anyio.BrokenResourceError):  # it need not be read to its end
                await line.call("deploy", {"app": "docs", "version": huge}, 1)
            told = await line.receive()
            assert told["error"]["code"] == -32600
            assert SECRET not in str(told)
            with pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)):
                await line.receive()
        async with httpx2.AsyncClient(timeout=30) as web:
            headers = {"Authorization": f"Bearer {at.tokens['docs']}", "Accept": "application/json, text/event-stream"}
            params = {"name": "deploy", "arguments": {"app": "docs", "version": huge}, "_meta": MODERN}
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
            for version in ("2026-07-28", "2025-06-18"):
                answer = await web.post(at.url, json=body, headers=headers | {"MCP-Protocol-Version": version})
                assert answer.status_code == 413
                assert SECRET not in answer.text
        for channel in ("http", "unix"):
            async with getattr(at, channel)("docs") as client:
                assert not (await client.call_tool("whoami", {})).is_error
        assert at.engine.submitted == []
