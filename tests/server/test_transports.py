"""Bad inputs over HTTP: who is let in, what is read, and whose session it is. The next call is always served."""

from __future__ import annotations

import gzip
import json
import socket
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import anyio
import httpx2
import pytest
from hosts import MODERN, OPENING
from running_server import running_server

from infra_mcp.server import http_guard

pytestmark = [pytest.mark.anyio, pytest.mark.bad_input("19")]

ACCEPT = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
NOW = ACCEPT | {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "whoami"}
THEN = ACCEPT | {"MCP-Protocol-Version": "2025-06-18"}
WHOAMI = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "whoami", "arguments": {}}}


def bearer(token) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def modern(frame):
    return frame | {"params": frame["params"] | {"_meta": MODERN}}


def said(answer):
    """The one frame of an answer, be it JSON or a stream."""
    if answer.headers["content-type"].startswith("text/event-stream"):
        (data,) = [line[5:] for line in answer.text.splitlines() if line.startswith("data:") and line[5:].strip()]
        return json.loads(data)
    return answer.json()


def me(answer):
    return said(answer)["result"]["content"][0]["text"].splitlines()[1].split("\t")[1]


@asynccontextmanager
async def web(tmp_path, **options):
    """A server and an HTTP client; afterwards the next call is served all the same."""
    async with running_server(tmp_path, **options) as at, httpx2.AsyncClient(timeout=30) as client:
        yield at, client
        answer = await client.post(at.url, json=modern(WHOAMI), headers=NOW | bearer(at.tokens["docs"]))
        assert me(answer) == "docs"


@pytest.mark.promise("http.tokens")
@pytest.mark.parametrize(
    ("extra", "status"), [({"Host": "evil.example"}, 421), ({"Origin": "http://evil.example"}, 403)]
)
@pytest.mark.parametrize("era", [NOW, THEN])
async def test_foreign_hosts_and_origins_are_turned_away(tmp_path, extra, status, era):
    async with web(tmp_path) as (at, client):
        answer = await client.post(at.url, json=modern(WHOAMI), headers=era | bearer(at.tokens["docs"]) | extra)

        assert answer.status_code == status


@pytest.mark.fault("w16")
@pytest.mark.parametrize("era", [NOW, THEN])
@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:evil.example", "localhost:80@evil.example", "[::1]:1.evil", "127.0.0.1:", "localhost:99999"],
)
async def test_hosts_and_origins_are_compared_whole(tmp_path, host, era):
    async with web(tmp_path) as (at, client):
        own = era | bearer(at.tokens["docs"])
        named = await client.post(at.url, json=modern(WHOAMI), headers=own | {"Host": host})
        came = await client.post(at.url, json=modern(WHOAMI), headers=own | {"Origin": f"http://{host}"})

        assert (named.status_code, came.status_code) == (421, 403)


@pytest.mark.fault("w16")
@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "localhost:9000", "[::1]:9000"])
async def test_this_machine_may_be_named_as_a_tunnel_or_a_page_on_it_names_it(tmp_path, host):
    async with web(tmp_path) as (at, client):
        host = host.format(port=at.url.split(":")[2].split("/")[0])
        extra = {"Host": host, "Origin": f"http://{host}"}
        answer = await client.post(at.url, json=modern(WHOAMI), headers=NOW | bearer(at.tokens["docs"]) | extra)

        assert me(answer) == "docs"


@pytest.mark.fault("w15")
@pytest.mark.parametrize("last", ["1", "0" * 32, "x" * 4_000])
async def test_a_stream_that_is_to_go_on_after_an_event_begins_anew(tmp_path, last):
    async with web(tmp_path) as (at, client):
        start = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": OPENING}
        own = THEN | bearer(at.tokens["docs"])
        session = (await client.post(at.url, json=start, headers=own)).headers["mcp-session-id"]
        again = own | {"Mcp-Session-Id": session, "Last-Event-ID": last}
        async with client.stream("GET", at.url, headers=again) as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")


@pytest.mark.promise("auth.transport")
@pytest.mark.parametrize("order", [("docs", "shop"), ("shop", "docs"), ("docs", "docs")])
async def test_two_authorization_headers_are_refused_whichever_comes_first(tmp_path, order):
    async with web(tmp_path) as (at, client):
        both = [("Authorization", f"Bearer {at.tokens[name]}") for name in order]
        answer = await client.post(at.url, json=modern(WHOAMI), headers=[*NOW.items(), *both])

        assert answer.status_code == 400
        assert "circle" not in answer.text


@pytest.mark.promise("auth.transport")
async def test_headers_of_a_proxy_do_not_identify_the_caller(tmp_path):
    spoofed = {
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-User": "shop",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "Forwarded": "for=127.0.0.1;host=evil.example;proto=https",
        "X-Real-IP": "127.0.0.1",
    }
    async with web(tmp_path) as (at, client):
        known = await client.post(at.url, json=modern(WHOAMI), headers=NOW | bearer(at.tokens["docs"]) | spoofed)
        nobody = await client.post(at.url, json=modern(WHOAMI), headers=NOW | spoofed)

        assert me(known) == "docs"
        assert nobody.status_code == 401
        assert "evil.example" not in str(nobody.headers) + nobody.text


async def test_slow_bodies_delay_no_other_call_and_are_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(http_guard, "BODY_SECONDS", 1.0)
    async with web(tmp_path) as (at, client):
        head = "".join(f"{name}: {value}\r\n" for name, value in (NOW | bearer(at.tokens["docs"])).items())
        port = int(at.url.split(":")[2].split("/")[0])
        slow = []
        for _ in range(50):
            stream = await anyio.connect_tcp("127.0.0.1", port)
            await stream.send(
                f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{head}Content-Length: 500\r\n\r\n{{".encode()
            )
            slow.append(stream)
        served = await client.post(at.url, json=modern(WHOAMI), headers=NOW | bearer(at.tokens["docs"]))

        assert me(served) == "docs"
        for stream in slow:
            answer = b""
            with anyio.fail_after(30):
                try:
                    while True:
                        answer += await stream.receive()
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    await stream.aclose()
            assert answer.startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("era", [NOW, THEN])
async def test_a_compressed_bomb_is_not_unpacked(tmp_path, era):
    bomb = gzip.compress(b'{"jsonrpc":"2.0","id":1,"method":"' + b"x" * 50_000_000 + b'"}')
    assert len(bomb) < 100_000
    async with web(tmp_path) as (at, client):
        headers = era | bearer(at.tokens["docs"]) | {"Content-Encoding": "gzip"}
        answer = await client.post(at.url, content=bomb, headers=headers)

        assert 400 <= answer.status_code < 500
        assert len(answer.content) < 1_000


async def test_a_body_of_megabytes_is_refused_by_its_length(tmp_path):
    async with web(tmp_path) as (at, client):
        big = modern(WHOAMI) | {"more": "x" * 8_000_000}
        answer = await client.post(at.url, json=big, headers=NOW | bearer(at.tokens["docs"]))

        assert answer.status_code == 413


@pytest.mark.promise("auth.transport")
async def test_a_session_is_its_peers_even_where_another_circle_has_a_peer_of_that_name(tmp_path):
    async with web(tmp_path) as (at, client):
        await at.engine.ledger.add_peer("docs", "shop")
        namesake = await at.engine.ledger.issue_token("docs", "shop")
        start = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": OPENING}
        opened = await client.post(at.url, json=start, headers=ACCEPT | bearer(at.tokens["docs"]))
        session = {"Mcp-Session-Id": opened.headers["mcp-session-id"]}
        for token in (at.tokens["shop"], namesake):
            stolen = await client.post(at.url, json=WHOAMI, headers=THEN | session | bearer(token))
            ended = await client.delete(at.url, headers=THEN | session | bearer(token))

            assert (stolen.status_code, ended.status_code) == (404, 404)
        own = await client.post(at.url, json=WHOAMI, headers=THEN | session | bearer(at.tokens["docs"]))
        assert me(own) == "docs"


async def test_a_call_before_initialize_is_refused(tmp_path):
    async with web(tmp_path) as (at, client):
        early = await client.post(at.url, json=WHOAMI, headers=THEN | bearer(at.tokens["docs"]))
        unknown = {"Mcp-Session-Id": "0" * 32}
        lost = await client.post(at.url, json=WHOAMI, headers=THEN | unknown | bearer(at.tokens["docs"]))

        assert early.status_code == 400
        assert lost.status_code == 404


async def test_two_requests_of_one_id_get_each_their_own_answer(tmp_path):
    async with web(tmp_path) as (at, client):
        answers = {}

        async def ask(peer):
            answers[peer] = me(await client.post(at.url, json=modern(WHOAMI), headers=NOW | bearer(at.tokens[peer])))

        async with anyio.create_task_group() as group:
            for peer in ("docs", "shop", "reader"):
                group.start_soon(ask, peer)

        assert answers == {"docs": "docs", "shop": "shop", "reader": "reader"}


async def test_bytes_that_are_not_http_end_only_their_connection(tmp_path):
    async with web(tmp_path) as (at, _):
        port = int(at.url.split(":")[2].split("/")[0])
        for junk in (b"\x16\x03\x01\x02\x00\x01\x00", b"GET /mcp\r\n\r\n", b"A" * 200_000, b"POST /mcp HTTP/9\r\n\r\n"):
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                with anyio.fail_after(30):
                    try:
                        await stream.send(junk)
                        stream.extra(anyio.abc.SocketAttribute.raw_socket).shutdown(socket.SHUT_WR)
                        while await stream.receive():
                            pass
                    except (anyio.EndOfStream, anyio.BrokenResourceError):
                        continue


@pytest.mark.promise("bad-input.refused")
@pytest.mark.parametrize("path", ["/hooks/x", "/mcp", "/operator/decide"])
async def test_a_client_that_leaves_in_the_middle_of_its_body_leaves_no_traceback(tmp_path, path, caplog):
    async with web(tmp_path) as (at, _):
        place = urlsplit(at.url)
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 10\r\n"
        head += f"Accept: application/json\r\nAuthorization: Bearer {at.tokens['docs']}\r\n\r\n"
        async with await anyio.connect_tcp(place.hostname, place.port) as stream:
            await stream.send(head.encode() + b"{")
            await stream.send_eof()
            with anyio.fail_after(30), suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while True:
                    await stream.receive()
        await anyio.wait_all_tasks_blocked()

    assert "Traceback" not in caplog.text
