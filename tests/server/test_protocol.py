"""Messages that MCP does not have are answered with an error, and the SDK's private parts are where we look.

What is right is what the specification says, of 2025-06-18 and of 2026-07-28: a request's id is a string or an integer
and not null; an unknown cursor is "invalid params"; who posts lists both media types.
"""

from __future__ import annotations

import importlib.metadata
import json

import anyio
import httpx2
import mcp.server
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp.server.mcpserver import MCPServer
from running_server import running_server

MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
BOTH = "application/json, text/event-stream"
ERAS = pytest.mark.parametrize("era", ["2025-06-18", "2026-07-28"])
INITIALIZE = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
LISTS = ["tools/list", "prompts/list", "resources/list", "resources/templates/list"]


def frame(era: str, method: str, **more) -> dict:
    params = more.pop("params", {}) | ({"_meta": MODERN} if era == "2026-07-28" else {})
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params} | more


async def post(at, web, era, content, headers=None) -> httpx2.Response:
    """One message over HTTP, in a session of its own where the era has sessions."""
    headers = {
        "Authorization": f"Bearer {at.tokens['docs']}",
        "Accept": BOTH,
        "Content-Type": "application/json",
    } | (headers or {})
    if era == "2026-07-28":
        headers |= {"MCP-Protocol-Version": era, "Mcp-Method": str(content.get("method", ""))}
    else:
        first = frame(era, "initialize", params=INITIALIZE)
        session = await web.post(at.url, content=json.dumps(first).encode(), headers=headers | {"Accept": BOTH})
        headers |= {"Mcp-Session-Id": session.headers["Mcp-Session-Id"], "MCP-Protocol-Version": era}
        begun = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        await web.post(at.url, content=json.dumps(begun).encode(), headers=headers | {"Accept": BOTH})
    return await web.post(at.url, content=json.dumps(content).encode(), headers=headers)


def message_of(answer) -> dict:
    """The one message in an answer, be it JSON or a stream."""
    text = answer.text
    if answer.headers["content-type"].startswith("text/event-stream"):
        (text,) = [line[5:] for line in text.splitlines() if line.startswith("data:") and line[5:].strip()]
    return json.loads(text)


async def over_socket(at, era, asked) -> dict:
    """What is answered to a frame, on a connection of its own."""
    first = [frame(era, "initialize", id="first", params=INITIALIZE)] if era == "2025-06-18" else []
    hello = {"jsonrpc": "2.0", "id": "hello", "method": "infra/hello", "params": {"token": at.tokens["docs"]}}
    async with await anyio.connect_unix(at.socket) as stream:
        for one in [hello, *first, asked]:
            await stream.send(json.dumps(one).encode() + b"\n")
        buffer = BufferedByteReceiveStream(stream)
        with anyio.fail_after(30):
            while (told := json.loads(await buffer.receive_until(b"\n", 1 << 20)))["id"] in {"hello", "first"}:
                pass
    return told


IDS = [None, True, False, 1.5, 1e400, [], {}, [1]]


@pytest.mark.anyio
@pytest.mark.fault("f19")
@ERAS
async def test_a_request_whose_id_is_no_id_gets_an_error_on_every_door(tmp_path, era):
    async with running_server(tmp_path) as at, httpx2.AsyncClient() as web:
        for identity in IDS:
            for method in ("tools/list", "ping", "notifications/cancelled"):
                asked = frame(era, method, id=identity)
                answer = await post(at, web, era, asked)
                assert answer.status_code == 400, (identity, method)
                assert message_of(answer)["error"]["code"] == -32600, (identity, method)
                told = await over_socket(at, era, asked)
                assert (told["error"]["code"], told["id"]) == (-32600, None), (identity, method)


@pytest.mark.anyio
@pytest.mark.fault("f19")
@pytest.mark.parametrize("identity", [0, -1, "", "1", 2**53])
@ERAS
async def test_every_string_and_every_integer_is_an_id_and_comes_back_as_it_was(tmp_path, era, identity):
    async with running_server(tmp_path) as at, httpx2.AsyncClient() as web:
        answer = await post(at, web, era, frame(era, "tools/list", id=identity))
        assert message_of(answer)["id"] == identity
        assert (await over_socket(at, era, frame(era, "tools/list", id=identity)))["id"] == identity


@pytest.mark.anyio
@pytest.mark.fault("f19")
@ERAS
async def test_a_notification_is_taken_without_an_answer(tmp_path, era):
    asked = frame(era, "notifications/cancelled", params={"requestId": 9})
    del asked["id"]
    async with running_server(tmp_path) as at, httpx2.AsyncClient() as web:
        assert (await post(at, web, era, asked)).status_code == 202


@pytest.mark.anyio
@pytest.mark.fault("f19")
@pytest.mark.parametrize("method", LISTS)
@ERAS
async def test_a_cursor_that_was_never_given_out_is_invalid(tmp_path, era, method):
    async with running_server(tmp_path) as at, httpx2.AsyncClient() as web:
        for cursor in ("bm8=", ""):
            asked = frame(era, method, params={"cursor": cursor})
            assert message_of(await post(at, web, era, asked))["error"]["code"] == -32602
            assert (await over_socket(at, era, asked))["error"]["code"] == -32602
        without = frame(era, method)
        assert "result" in message_of(await post(at, web, era, without))


@pytest.mark.anyio
@pytest.mark.fault("f19")
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream", "text/html", ""])
@ERAS
async def test_a_post_must_accept_both_media_types_and_the_error_lists_them(tmp_path, era, accept):
    async with running_server(tmp_path) as at, httpx2.AsyncClient() as web:
        refused = await post(at, web, era, frame(era, "tools/list"), {"Accept": accept})
        wild = await post(at, web, era, frame(era, "tools/list"), {"Accept": "*/*"})

        assert refused.status_code == 406
        assert "text/event-stream" in message_of(refused)["error"]["message"]
        assert wild.status_code == 200


def test_the_sdk_is_of_the_line_this_was_written_for():
    major, minor, *_ = importlib.metadata.version("mcp").split(".")

    assert int(major) == 2
    assert int(minor) >= 3


def test_the_low_level_server_is_where_we_look():
    assert isinstance(MCPServer("t", version="1")._lowlevel_server, mcp.server.Server)
