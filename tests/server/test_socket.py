"""The socket's own frames: who a connection is, the methods no model sees, and lines that are not frames."""

from __future__ import annotations

import json
import stat
from contextlib import asynccontextmanager

import anyio
import pytest
from running_server import POLICY, running_server

from infra_mcp.errors import InfraError
from infra_mcp.policy.policy import digest_of
from infra_mcp.server.operator import METHODS
from infra_mcp.server.socket import MAX_LINE, MAX_PATH, check_path

pytestmark = pytest.mark.anyio

MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


class Wire:
    """Frames in, frames out."""

    def __init__(self, stream):
        self._stream = stream
        self._buffer = b""

    async def send(self, frame) -> None:
        line = frame if isinstance(frame, bytes) else json.dumps(frame).encode()
        await self._stream.send(line + b"\n")

    async def receive(self):
        while b"\n" not in self._buffer:
            with anyio.fail_after(30):
                self._buffer += await self._stream.receive()
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    async def ask(self, method, params=None, identity=1):
        await self.send({"jsonrpc": "2.0", "id": identity, "method": method, "params": params or {}})
        return await self.receive()

    async def ended(self) -> bool:
        with anyio.fail_after(30):
            try:
                return await self._stream.receive() == b""
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return True


@asynccontextmanager
async def wire(at):
    async with await anyio.connect_unix(at.socket) as stream:
        yield Wire(stream)


@pytest.mark.promise("auth.transport")
async def test_a_first_frame_with_a_token_makes_the_connection_that_peers(tmp_path):
    async with running_server(tmp_path, "unix") as at, wire(at) as line:
        hello = await line.ask("infra/hello", {"token": at.tokens["docs"]})

        assert hello["result"]["caller"] == {"name": "docs", "circle": "docs", "operator": False}


@pytest.mark.promise("auth.transport")
@pytest.mark.parametrize("token", ["imcp_nobody", "", 7, {"a": 1}, "ü" * 5])
async def test_a_wrong_token_ends_the_connection_and_is_not_repeated(tmp_path, token):
    async with running_server(tmp_path, "unix") as at, wire(at) as line:
        answer = await line.ask("infra/hello", {"token": token})

        assert answer["error"]["data"]["code"] == "unauthenticated"
        assert "imcp_nobody" not in json.dumps(answer)
        assert await line.ended()


@pytest.mark.promise("auth.transport")
async def test_identity_cannot_change_after_the_first_frame(tmp_path):
    async with running_server(tmp_path, "unix") as at, wire(at) as line:
        await line.ask("infra/hello", {"token": at.tokens["docs"]})
        again = await line.ask("infra/hello", {})
        listed = await line.ask("operator/peer.list")

        assert again["error"]["data"]["code"] == "not-found"
        assert listed["error"]["data"]["code"] == "policy-denied"


@pytest.mark.parametrize("who", ["docs", "host", "attendant"])
async def test_only_the_operator_has_the_operators_methods(tmp_path, who):
    async with running_server(tmp_path, "unix") as at:
        hello = {"docs": {"token": at.tokens["docs"]}, "host": {"host": True}, "attendant": {"attend": "infra"}}[who]
        for method in METHODS:
            if method.startswith("operator/"):
                async with wire(at) as line:
                    assert "result" in await line.ask("infra/hello", hello)
                    assert (await line.ask(method))["error"]["data"]["code"] == "policy-denied", method
        assert not at.service.stopping.is_set()


@pytest.mark.promise("auth.transport")
async def test_a_host_without_a_token_is_a_reader(tmp_path):
    async with running_server(tmp_path, "unix") as at, wire(at) as line:
        hello = await line.ask("infra/hello", {"host": True})
        given = {"name": "deploy", "arguments": {"app": "docs", "version": "1"}, "_meta": MODERN}
        changed = (await line.ask("tools/call", given))["result"]

        assert hello["result"]["caller"] == {"name": "reader", "circle": None, "operator": False}
        assert changed["isError"]
        assert changed["structuredContent"]["code"] == "policy-denied"


@pytest.mark.promise("auth.transport")
async def test_an_attending_session_is_the_infra_peer_without_rights_and_each_is_another(tmp_path):
    async with running_server(tmp_path, "unix") as at, wire(at) as first, wire(at) as second:
        callers = [(await line.ask("infra/hello", {"attend": "infra"}))["result"]["caller"] for line in (first, second)]

        for caller in callers:
            assert (caller["name"], caller["circle"], caller["operator"]) == ("infra", None, False)
            assert caller["attendant"]
        assert callers[0]["session"] != callers[1]["session"]
        given = {"name": "deploy", "arguments": {"app": "docs", "version": "1"}, "_meta": MODERN}
        assert (await first.ask("tools/call", given))["result"]["isError"]


@pytest.mark.parametrize(
    ("hello", "code"),
    [
        ({"attend": "shop"}, "not-found"),
        ({"attend": ""}, "not-found"),
        ({"attend": ["infra"]}, "not-found"),
        ({"attend": "infra", "token": "imcp_x"}, "invalid-argument"),
        ({"host": "yes"}, "invalid-argument"),
        ({"host": 1}, "invalid-argument"),
    ],
)
async def test_an_invalid_first_frame_ends_the_connection(tmp_path, hello, code):
    async with running_server(tmp_path, "unix") as at, wire(at) as line:
        answer = await line.ask("infra/hello", hello)

        assert answer["error"]["data"]["code"] == code
        assert "shop" not in json.dumps(answer)
        assert await line.ended()


class AttendantSessions:
    """Notes who sits and who left."""

    def __init__(self):
        self.sitting, self.left = [], anyio.Event()

    @asynccontextmanager
    async def attend(self, caller):
        self.sitting.append(caller.session)
        try:
            yield
        finally:
            self.sitting.remove(caller.session)
            self.left.set()


@pytest.mark.promise("attend.claim")
async def test_a_session_attends_as_long_as_its_connection_lasts(tmp_path):
    async with running_server(tmp_path, "unix") as at:
        at.service.attendants = attendants = AttendantSessions()
        async with wire(at) as line, wire(at) as host:
            hello = await line.ask("infra/hello", {"attend": "infra"})
            await host.ask("infra/hello", {"host": True})
            await line.ask("infra/requests")

            assert attendants.sitting == [hello["result"]["caller"]["session"]]
        with anyio.fail_after(30):
            await attendants.left.wait()
        assert attendants.sitting == []


async def test_two_open_requests_of_one_id_are_not_mixed_up(tmp_path):
    async with running_server(tmp_path, "unix", held=True) as at, wire(at) as line:
        await line.ask("infra/hello", {"token": at.tokens["docs"]})
        slow = {"name": "deploy", "arguments": {"app": "docs", "version": "1", "wait_seconds": 60}, "_meta": MODERN}
        await line.send({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": slow})
        with anyio.fail_after(30):
            await at.engine.asked.wait()
        quick = {"name": "whoami", "arguments": {}, "_meta": MODERN}
        refused = await line.ask("tools/call", quick, 7)
        other = await line.ask("tools/call", quick, "7")
        at.engine.gate.set()
        done = await line.receive()

        assert refused["id"] is None
        assert refused["error"]["code"] == -32600
        assert other["id"] == "7"
        assert done["id"] == 7
        assert done["result"]["structuredContent"]["state"] == "landed"
        assert (await line.ask("tools/call", quick, 7))["id"] == 7  # free again


async def test_at_a_stop_a_wait_is_answered_and_then_the_connection_ends(tmp_path):
    async with running_server(tmp_path, "unix", held=True) as at, wire(at) as line, wire(at) as idle:
        await line.ask("infra/hello", {"token": at.tokens["docs"]})
        await idle.ask("infra/hello", {"host": True})
        slow = {"name": "deploy", "arguments": {"app": "docs", "version": "1", "wait_seconds": 60}, "_meta": MODERN}
        await line.send({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": slow})
        with anyio.fail_after(30):
            await at.engine.asked.wait()
        at.service.stopping.set()
        answer = await line.receive()

        assert answer["id"] == 7
        assert answer["result"]["structuredContent"]["exit"] == 6
        assert await line.ended()
        assert await idle.ended()
        with pytest.raises((FileNotFoundError, ConnectionRefusedError)):
            await anyio.connect_unix(at.socket)


async def test_no_model_sees_an_operators_method(tmp_path):
    async with running_server(tmp_path) as at, at.http("docs") as client:
        assert not {tool.name for tool in (await client.list_tools()).tools} & set(METHODS)
        assert (await client.call_tool("operator/peer.list", {})).is_error


@pytest.mark.promise("secrets.nowhere")
async def test_the_operator_adds_a_peer_whose_token_is_shown_once(tmp_path):
    async with running_server(tmp_path, "unix") as at, wire(at) as line:
        made = (await line.ask("operator/peer.add", {"name": "site", "circle": "docs"}))["result"]
        listed = (await line.ask("operator/peer.list"))["result"]
        renewed = (await line.ask("operator/peer.token", {"name": "site"}))["result"]
        ledger = at.engine.ledger

        assert made["token"].startswith("imcp_")
        assert made["token"] not in json.dumps(listed)
        assert await ledger.caller_for_token(made["token"]) is None
        assert (await ledger.caller_for_token(renewed["token"])).name == "site"
        await line.ask("operator/peer.remove", {"name": "site"})
        assert await ledger.caller_for_token(renewed["token"]) is None


@pytest.mark.promise("intake.typed")
@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("operator/peer.add", {"name": "--x", "circle": "docs"}, "invalid-argument"),
        ("operator/peer.add", {"name": "a", "circle": "docs", "admin": True}, "unknown-argument"),
        ("operator/peer.add", {"name": "a"}, "invalid-argument"),
        ("operator/peer.add", {"name": "infra", "circle": "docs"}, "invalid-argument"),
        ("operator/peer.add", {"name": "infra", "operator": True}, "invalid-argument"),
        ("operator/peer.add", {"name": "operator", "operator": True}, "invalid-argument"),
        ("operator/peer.remove", {"name": "nobody"}, "not-found"),
        ("operator/policy.accept", {"digest": "sha256:1"}, "invalid-argument"),
        ("operator/policy.accept", {"digest": "sha256:" + "0" * 64}, "policy-not-accepted"),
        ("operator/audit.verify", {"heads": "x"}, "invalid-argument"),
        ("operator/no.such", {}, "not-found"),
        ("infra/requests", {"limit": 0}, "invalid-argument"),
        ("infra/trail", {"request_id": "req-0"}, "not-found"),
    ],
)
async def test_parameters_are_as_strict_as_arguments(tmp_path, method, params, code):
    async with running_server(tmp_path, "unix") as at, wire(at) as line:
        assert (await line.ask(method, params))["error"]["data"]["code"] == code


async def test_a_changed_policy_shows_as_pending_until_its_digest_is_accepted(tmp_path):
    async with running_server(tmp_path, "unix") as at, wire(at) as line:
        text = POLICY.replace('actions = ["provision_namespace"]', 'actions = ["provision_namespace", "deploy"]')
        at.engine.settings.policy_file.write_text(text, encoding="utf-8")
        shown = (await line.ask("operator/policy.show"))["result"]
        compared = (await line.ask("operator/policy.diff"))["result"]

        assert shown["in_force"] == digest_of(POLICY)
        assert shown["pending"] == digest_of(text)
        assert '+actions = ["provision_namespace", "deploy"]' in compared["diff"]
        accepted = (await line.ask("operator/policy.accept", {"digest": digest_of(text)}))["result"]
        assert accepted["in_force"] == digest_of(text)
        assert "deploy" in accepted["summary"]["circles"]["shop"]["actions"]


@pytest.mark.promise("read.scoped")
async def test_lists_and_trails_of_requests_are_the_circles_own(tmp_path):
    async with running_server(tmp_path, "unix") as at:
        async with at.unix("docs") as client:
            made = (await client.call_tool("deploy", {"app": "docs", "version": "1"})).structured_content["request"]
        seen = {}
        for peer in ("docs", "shop", None):
            async with wire(at) as line:
                await line.ask("infra/hello", {"token": at.tokens[peer]} if peer else {})
                seen[peer] = (
                    await line.ask("infra/requests"),
                    await line.ask("infra/trail", {"request_id": made}),
                )

        assert [one["request"] for one in seen["docs"][0]["result"]["requests"]] == [made]
        assert seen["docs"][1]["result"]["events"]
        assert seen["shop"][0]["result"]["requests"] == []
        assert seen["shop"][1]["error"]["data"]["code"] == "not-found"
        assert [one["request"] for one in seen[None][0]["result"]["requests"]] == [made]


@pytest.mark.parametrize(
    "line",
    [b"{", b"\xff\xfe", b"[1]", b'"x"', b"[" * 200_000, b'{"jsonrpc":"2.0","id":1}', b'{"method":5}', b"{}", b"\x00"],
)
async def test_a_line_that_is_no_frame_gets_an_error_and_the_next_one_is_served(tmp_path, line):
    async with running_server(tmp_path, "unix") as at, wire(at) as conversation:
        await conversation.ask("infra/hello")
        await conversation.send(line)
        refused = await conversation.receive()
        served = await conversation.ask("tools/call", {"name": "whoami", "arguments": {}, "_meta": MODERN}, 7)

        assert refused["error"]["code"] in {-32700, -32600}
        assert served["id"] == 7
        assert not served["result"].get("isError")


async def test_a_line_longer_than_the_bound_ends_that_connection_only(tmp_path):
    async with running_server(tmp_path, "unix") as at:
        async with wire(at) as line:
            await line.ask("infra/hello")
            try:
                await line.send(b"x" * (MAX_LINE + 65_537))
            except anyio.BrokenResourceError:
                pass  # it ended while we were still sending
            else:
                assert "longer than" in (await line.receive())["error"]["message"]
                assert await line.ended()
        async with wire(at) as line:
            assert "result" in await line.ask("infra/hello")


async def test_a_string_of_megabytes_is_refused_by_its_argument(tmp_path):
    async with running_server(tmp_path, "unix") as at, wire(at) as line:
        await line.ask("infra/hello", {"token": at.tokens["docs"]})
        big = {"name": "provision_namespace", "arguments": {"namespace": "x" * 7_000_000}, "_meta": MODERN}
        answer = (await line.ask("tools/call", big))["result"]

        assert answer["structuredContent"]["code"] == "invalid-argument"
        assert len(json.dumps(answer)) < 2_000


@pytest.mark.parametrize("tool", ["ask", "set_description", "provision_namespace", "\ud800"])
async def test_half_a_surrogate_pair_is_no_text_and_the_connection_lives(tmp_path, tool):
    async with running_server(tmp_path, "unix") as at, wire(at) as line:
        await line.ask("infra/hello", {"token": at.tokens["docs"]})
        names = ("query", "description", "namespace", "peer_name")
        given = {"name": tool, "arguments": dict.fromkeys(names, "infra \ud800"), "_meta": MODERN}
        for arguments in ({"query": "\ud800", "peer_name": "infra"}, given["arguments"], {"\ud800": 1}):
            answer = await line.ask("tools/call", {**given, "arguments": arguments})

            assert answer.get("error") or answer["result"]["isError"]
        served = await line.ask("tools/call", {"name": "whoami", "arguments": {}, "_meta": MODERN}, 7)
        assert not served["result"].get("isError")


async def test_a_call_before_initialize_in_the_old_era_is_refused_and_the_connection_lives(tmp_path):
    async with running_server(tmp_path, "unix") as at, wire(at) as line:
        early = await line.ask("tools/call", {"name": "whoami", "arguments": {}})
        start = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}
        started = await line.ask("initialize", start, 2)

        assert "error" in early
        assert started["result"]["protocolVersion"] == "2025-06-18"


async def test_the_socket_is_for_this_user_only_and_gone_after_a_stop(tmp_path):
    async with running_server(tmp_path, "unix") as at:
        assert stat.S_IMODE(at.socket.stat().st_mode) == 0o600
        assert stat.S_IMODE(at.socket.parent.stat().st_mode) == 0o700
    assert not at.socket.exists()


async def test_the_operator_stops_the_server(tmp_path):
    async with running_server(tmp_path, "unix") as at, wire(at) as line:
        assert (await line.ask("operator/shutdown"))["result"] == {"stopping": True}
        assert at.service.stopping.is_set()


def test_a_path_too_long_for_a_socket_is_refused_before_anything_starts(tmp_path):
    with pytest.raises(InfraError, match="longer than") as caught:
        check_path(tmp_path / ("x" * MAX_PATH))
    assert caught.value.code == "setup-failed"
