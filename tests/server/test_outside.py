"""HTTP beyond loopback, over real TLS with an authority of the tests' own.

127.0.0.2 stands for another address of this machine: the server takes 127.0.0.1 alone for loopback's own channel.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import httpx2
import pytest
from anyio import to_thread
from own_ca import Authority
from running_server import RunningServer, running_server
from shell import Shell

from infra_mcp.errors import InfraError
from infra_mcp.server import connections, outside
from infra_mcp.server.outside import BURST, Outside
from infra_mcp.server.tls import Certificate

pytestmark = [pytest.mark.anyio, pytest.mark.promise("http.hardened")]
HERE, PROXY = "127.0.0.2", "127.0.0.3"
CALL = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/list",
    "params": {
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "0"},
        }
    },
}
HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2026-07-28",
    "Mcp-Method": "tools/list",
}


@dataclass
class Beyond:
    """A server that listens on another address too, and a client that trusts its authority."""

    at: RunningServer
    ca: Authority
    url: str
    port: int
    web: httpx2.AsyncClient

    def headers(self, **more: str) -> dict[str, str]:
        return HEADERS | {"Authorization": f"Bearer {self.at.tokens['docs']}"} | more

    async def call(self, **more: str) -> httpx2.Response:
        return await self.web.post(f"{self.url}/mcp", json=CALL, headers=self.headers(**more))

    @property
    def refused(self) -> dict[str, int]:
        return self.at.service.connections.refusals()


def free_port() -> int:
    with socket.socket() as one:
        one.bind((HERE, 0))
        return one.getsockname()[1]


@asynccontextmanager
async def serving(folder, *, proxies=(), tls=True):
    ca, port = Authority(folder), free_port()
    pair = ca.pair(HERE)
    url = f"https://{HERE}:{port}"
    how = Outside(f"{HERE}:{port}", url, pair.cert if tls else None, pair.key if tls else None, tuple(proxies))
    async with (
        running_server(folder / "s", outside=how) as at,
        httpx2.AsyncClient(verify=ca.trusted(), timeout=30) as web,
    ):
        yield Beyond(at, ca, url, port, web)


@pytest.fixture
async def beyond(tmp_path):
    (tmp_path / "s").mkdir()
    async with serving(tmp_path) as one:
        yield one


async def test_a_peer_calls_from_elsewhere_over_tls_with_its_token(beyond):
    answer = await beyond.call()
    assert answer.status_code == 200
    assert answer.json()["result"]["tools"]
    with pytest.raises(httpx2.ConnectError):  # another authority's word does not count
        async with httpx2.AsyncClient(verify=ssl.create_default_context()) as stranger:
            await stranger.get(f"{beyond.url}/healthz")


async def test_without_a_valid_token_nothing_is_answered_but_two_words_of_health(beyond):
    for path in ("/healthz", "/readyz"):
        assert set((await beyond.web.get(beyond.url + path)).json()) <= {"ok", "ready", "missing"}
    inside = beyond.at.url.removesuffix("/mcp")
    for token in ("", "imcp_nobody"):
        headers = HEADERS | ({"Authorization": f"Bearer {token}"} if token else {})
        answer = await beyond.web.post(f"{beyond.url}/mcp", json=CALL, headers=headers)
        assert answer.status_code == 401
        metadata = f'resource_metadata="{beyond.url}{outside.METADATA}"'
        assert metadata in answer.headers["www-authenticate"]
        assert inside not in answer.text + answer.headers["www-authenticate"]
    assert (await beyond.web.get(f"{beyond.url}{outside.METADATA}")).json()["resource"] == f"{beyond.url}/mcp"
    for path in ("/dashboard/", "/dashboard/open/x", "/proof?token=0&nonce=0", "/", "/register", "/mcp/", "//mcp"):
        assert (await beyond.web.get(beyond.url + path)).status_code == 404, path
    for method, path in (("POST", "/operator/approve"), ("POST", "/operator/resolve"), ("GET", "/metrics")):
        answer = await beyond.web.request(method, f"{beyond.url}{path}", json={})
        assert answer.status_code == 401
        assert metadata in answer.headers["www-authenticate"]
        assert inside not in answer.text + answer.headers["www-authenticate"]
    assert (await beyond.web.post(f"{beyond.url}/hooks/nobody", json={})).status_code == 403
    assert beyond.refused["token"] == 5


async def test_metrics_that_are_open_on_this_machine_want_a_token_from_others(beyond, monkeypatch):
    monkeypatch.setenv("INFRA_MCP_METRICS", "open")
    inside = beyond.at.url.removesuffix("/mcp")
    assert (await beyond.web.get(f"{inside}/metrics")).status_code == 200
    assert (await beyond.web.get(f"{beyond.url}/metrics")).status_code == 401
    peer = {"Authorization": f"Bearer {beyond.at.tokens['docs']}"}
    assert (await beyond.web.get(f"{beyond.url}/metrics", headers=peer)).status_code == 403


async def test_a_scraper_with_its_token_takes_nothing_from_its_address(beyond, tmp_path, monkeypatch):
    file = tmp_path / "scrape"
    file.write_text("only-for-metrics-5f1b\n", encoding="utf-8")
    file.chmod(0o600)
    monkeypatch.setenv("INFRA_MCP_METRICS", str(file))
    monkeypatch.setattr(outside, "EACH_SECOND", 1e-9)
    scraper = {"Authorization": "Bearer only-for-metrics-5f1b"}
    for _ in range(int(BURST) + 5):
        assert (await beyond.web.get(f"{beyond.url}/metrics", headers=scraper)).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("Host", "infra.example")], 421),
        ([("Host", "127.0.0.1")], 421),
        ([("Origin", "https://evil.example")], 403),
        ([("Origin", "http://127.0.0.1:8420")], 403),
        ([("Content-Encoding", "gzip")], 415),
        ([("Authorization", "Bearer imcp_other")], 400),
        ([("X-Padding", "x" * 40_000)], 431),
        ([(f"X-{number}", "x") for number in range(120)], 431),
    ],
    ids=lambda one: str(one)[:40],
)
async def test_a_head_that_cannot_be_meant_so_is_refused(beyond, headers, status):
    names = {name for name, _ in headers}
    kept = [one for one in beyond.headers().items() if one[0] not in names - {"Authorization"}]
    request = beyond.web.build_request("POST", f"{beyond.url}/mcp", json=CALL, headers=[*kept, *headers])
    assert (await beyond.web.send(request)).status_code == status
    assert (await beyond.call()).status_code == 200


async def test_words_of_others_about_who_calls_count_for_nothing(beyond):
    docs = await beyond.call()
    claimed = {"X-Forwarded-For": "10.9.9.9", "X-Forwarded-Proto": "http", "Forwarded": "for=10.9.9.9;proto=http"}
    claimed |= {"X-Forwarded-User": "operator", "X-Real-IP": "127.0.0.1", "X-Forwarded-Host": "127.0.0.1"}
    answer = await beyond.call(**claimed)
    assert (answer.status_code, answer.json()) == (200, docs.json())


async def test_another_peers_session_is_not_served(beyond):
    opening = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}
    frame = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": opening}
    old = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    docs = old | {"Authorization": f"Bearer {beyond.at.tokens['docs']}"}
    shop = old | {"Authorization": f"Bearer {beyond.at.tokens['shop']}"}
    session = (await beyond.web.post(f"{beyond.url}/mcp", json=frame, headers=docs)).headers["mcp-session-id"]
    asked = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
    stolen = await beyond.web.post(f"{beyond.url}/mcp", json=asked, headers=shop | {"Mcp-Session-Id": session})
    assert stolen.status_code in {403, 404}


async def test_an_address_that_keeps_calling_without_a_token_waits_and_a_peer_there_does_not(beyond):
    bad = HEADERS | {"Authorization": "Bearer imcp_nobody"}
    statuses = [
        (await beyond.web.post(f"{beyond.url}/mcp", json=CALL, headers=bad)).status_code for _ in range(int(BURST) + 40)
    ]
    assert set(statuses) == {401, 429}
    late = await beyond.web.get(f"{beyond.url}/nowhere")
    while late.status_code != 429:  # a second gives one call back
        late = await beyond.web.get(f"{beyond.url}/nowhere")
    assert int(late.headers["retry-after"]) >= 1
    assert (await beyond.call()).status_code == 200
    assert beyond.refused["too-many"] == statuses.count(429) + 1


async def test_a_handshake_that_is_not_made_ends_within_the_time_of_a_head(beyond, monkeypatch):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    for beginning in (b"", b"GET /healthz HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02"):
        async with await anyio.connect_tcp(HERE, beyond.port) as one:
            if beginning:
                await one.send(beginning)
            with anyio.fail_after(30), contextlib.suppress(anyio.BrokenResourceError):
                async for _ in one:  # an alert, at most
                    pass
    assert (await beyond.call()).status_code == 200


async def test_connections_that_never_shake_hands_take_no_place_from_others(tmp_path, monkeypatch):
    monkeypatch.setattr(connections, "_MAX_PLACES", {"http": 8, "socket": 8})
    (tmp_path / "s").mkdir()
    with anyio.fail_after(60):  # the stop, too, waits for none of them
        async with contextlib.AsyncExitStack() as strangers, serving(tmp_path) as beyond:
            for _ in range(40):
                await strangers.enter_async_context(await anyio.connect_tcp(HERE, beyond.port))
            assert (await beyond.call()).status_code == 200
            async with beyond.at.http("docs") as inside:
                assert (await inside.list_tools()).tools


async def test_what_comes_in_one_piece_with_the_handshake_is_answered(beyond):
    def ask() -> bytes:
        with socket.create_connection((HERE, beyond.port), timeout=30) as plain:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = beyond.ca.trusted().wrap_bio(incoming, outgoing, server_hostname=HERE)
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    plain.sendall(outgoing.read())
                    incoming.write(plain.recv(65_536))
            tls.write(f"GET /healthz HTTP/1.1\r\nHost: {HERE}:{beyond.port}\r\nConnection: close\r\n\r\n".encode())
            plain.sendall(outgoing.read())  # the end of the handshake and the request, in one piece
            got = b""
            while piece := plain.recv(65_536):
                incoming.write(piece)
                try:
                    got += tls.read(65_536)
                except ssl.SSLWantReadError:
                    continue
            return got

    assert (await to_thread.run_sync(ask)).startswith(b"HTTP/1.1 200")


async def test_a_new_certificate_is_used_without_a_restart_and_a_broken_one_is_not(beyond, monkeypatch):
    monkeypatch.setattr("infra_mcp.server.tls._LOOKED", 0.0)

    def serial() -> str:
        with (
            socket.create_connection((HERE, beyond.port), timeout=30) as plain,
            beyond.ca.trusted().wrap_socket(plain, server_hostname=HERE) as tls,
        ):
            return str(tls.getpeercert()["serialNumber"])

    first = await to_thread.run_sync(serial)
    pair = beyond.ca.pair(HERE)
    second = await to_thread.run_sync(serial)
    assert second != first
    pair.cert.write_text("no certificate", encoding="utf-8")
    assert await to_thread.run_sync(serial) == second


def test_a_key_that_others_may_read_is_not_served_with(tmp_path):
    pair = Authority(tmp_path).pair(HERE)
    pair.key.chmod(0o644)
    with pytest.raises(InfraError) as caught:
        Certificate(pair.cert, pair.key)
    assert (caught.value.code, caught.value.next_step) == ("setup-failed", f"chmod 600 {pair.key}")


async def test_behind_a_trusted_proxy_only_what_it_took_over_tls_is_served(tmp_path):
    (tmp_path / "s").mkdir()
    async with serving(tmp_path, proxies=[PROXY], tls=False) as beyond:
        plain = f"http://{HERE}:{beyond.port}"
        through = httpx2.AsyncHTTPTransport(local_address=PROXY)
        forwarded = {"X-Forwarded-For": "198.51.100.7, 203.0.113.9", "X-Forwarded-Proto": "https"}

        async def call(web, **headers):
            return (await web.post(f"{plain}/mcp", json=CALL, headers=beyond.headers(**headers))).status_code

        async with httpx2.AsyncClient(transport=through, timeout=30) as proxy:
            assert await call(proxy, **forwarded) == 200
            assert await call(proxy, **(forwarded | {"X-Forwarded-Proto": "http"})) == 403
            assert await call(proxy) == 403
        async with httpx2.AsyncClient(timeout=30) as anyone:  # from an address that is no proxy
            assert await call(anyone, **forwarded) == 403
        assert beyond.refused == {"without-tls": 3}


@pytest.mark.process
async def test_the_command_line_calls_it_with_the_authoritys_file(beyond, tmp_path):
    told = Shell(tmp_path / "s", INFRA_MCP_URL=beyond.url, SSL_CERT_FILE=str(beyond.ca.file))
    done = await told("status", "--json", token=beyond.at.tokens["docs"])
    assert done.code == 0, done
    assert json.loads(done.out)["circle"] == "docs"
    untrusting = Shell(tmp_path / "s", INFRA_MCP_URL=beyond.url)
    done = await untrusting("status", token=beyond.at.tokens["docs"])
    assert (done.code, "SSL_CERT_FILE" in done.err) == (6, True), done


@pytest.mark.process
async def test_serve_listens_where_its_options_say_and_names_what_is_missing(tmp_path):
    ca, port = Authority(tmp_path), free_port()
    pair = ca.pair(HERE)
    await anyio.run_process(["git", "init", "-q", "-b", "main", str(tmp_path / "repo")])
    run = Shell(tmp_path)
    url = f"https://{HERE}:{port}"
    where = ("--listen", f"{HERE}:{port}", "--public-url", url)
    for words, says in (
        (("--cert", str(pair.cert)), "--listen is missing"),
        (where[:2], "--listen needs --public-url"),
        (where, "TLS only"),
        ((*where, "--cert", str(pair.cert)), "both files"),
    ):
        refused = await run("serve", "--port", "0", *words)
        assert (refused.code, says in refused.err) == (2, True), refused
    keyed = run.but(INFRA_MCP_HTTP_KEY=str(pair.key), INFRA_MCP_HTTP_CERT=str(pair.cert))
    async with keyed.start("serve", "--port", "0", "--json", *where) as process:
        assert process.stdout is not None
        with anyio.fail_after(60):
            told = json.loads(await process.stdout.receive())
            async with httpx2.AsyncClient(verify=ca.trusted(), timeout=30) as web:
                assert (await web.get(f"{url}/healthz")).json() == {"ok": True}
                inside = told["url"].removesuffix("/mcp")
                assert (await web.get(f"{inside}/healthz")).json() == {"ok": True}
            health = (await run("status", "--json")).json["server"]
            assert health["elsewhere"] == f"{url}/mcp"
            process.terminate()
            assert await process.wait() == 0
