"""A server elsewhere, by its URL: the same tools over HTTP, and a token that goes nowhere else."""

from __future__ import annotations

import json
import select
import socket
import ssl
import threading
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from shell import Shell, distinct, shell

from infra_mcp.cli import endpoint as module
from infra_mcp.cli.client import NAME, BrokenConnectionError, Client, Remote
from infra_mcp.errors import InfraError
from infra_mcp.proof import prove, which_and_key
from infra_mcp.server.auth import COMMAND_LINE

SEED = "I need a namespace 'docs-staging' with image-pull secret X"
META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "status", "arguments": {}, "_meta": META}}
ANSWER = {"jsonrpc": "2.0", "id": 1, "result": {"content": [], "structuredContent": {"ok": True}}}


@contextmanager
def web(answer, context=None):
    """A web server on loopback that answers each POST as told, and keeps what it was sent; with TLS by a context."""
    kept = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            proven(self)

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.append((self.path, dict(self.headers), body))
            answer(self)

        def log_message(self, *words):
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request, client_address):
            pass  # a client that goes away is what some tests are about

    server = Server(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/mcp", kept
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def proven(handler, token="imcp_secret"):
    """What a server that knows the token answers before it is sent it."""
    asked = parse_qs(urlsplit(handler.path).query)
    which, key = which_and_key(token)
    assert asked["token"] == [which]
    answered(200, json.dumps({"proof": prove(key, asked["nonce"][0])}).encode())(handler)


def answered(status, body=b"", kind="application/json", **headers):
    def answer(handler):
        handler.send_response(status)
        for name, value in ({"Content-Type": kind, "Content-Length": str(len(body))} | headers).items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def exchanged(url, heard=None):
    way = Remote(url, "imcp_secret")
    try:
        return way.exchange(CALL, heard or print)
    finally:
        way.close()


def code_of(work):
    with pytest.raises(InfraError) as failure:
        work()
    assert "imcp_secret" not in str(failure.value)
    return failure.value.code


@pytest.mark.process
@pytest.mark.anyio
@pytest.mark.promise("cli.same-path")
async def test_by_a_url_a_command_calls_the_same_tools_as_the_same_peer_through_the_same_door(tmp_path):
    async with shell(tmp_path, "both") as (at, here):
        (tmp_path / "repo" / ".git").rename(tmp_path / "no-repository")  # nothing of this machine's is needed
        run, token = here.but(INFRA_MCP_URL=at.url, GIT_CEILING_DIRECTORIES=str(tmp_path)), at.tokens["docs"]
        asked = await run("ask", SEED, "--json", token=token)
        deployed = await run("deploy", "docs", "1.0", token=token)
        refused = await run("deploy", "docs", "1.0", "--json", token=at.tokens["shop"])
        listed = await run("request", "list", "--json", token=token)
        shown = await run("audit", "show", deployed.out.split("request ")[1].split(",")[0], token=token)
        about = await run("audit", "show", "namespace/docs-staging", "--json", token=token)

        assert asked.json["state"] == "landed", asked
        assert deployed.code == 0, deployed
        assert (refused.code, refused.json["code"]) == (3, "policy-denied")
        assert {one.channel for one in distinct(at)} == {"ask", "cli"}
        assert {one["action"] for one in listed.json["requests"]} == {"deploy", "provision_namespace"}
        assert "asked by docs" in shown.out
        assert "c" * 40 in shown.out
        assert len(about.json["requests"]) == 2
        assert at.tokens["docs"] not in repr([asked, deployed, listed, shown])


def test_the_client_goes_by_the_name_that_the_server_knows_it_by():
    assert NAME == COMMAND_LINE


@pytest.mark.process
@pytest.mark.anyio
@pytest.mark.promise("report.progress")
async def test_by_a_url_progress_is_told_too(tmp_path):
    async with shell(tmp_path, "both", held=True) as (at, here):
        async with here.start("deploy", "docs", "1.0", "--url", at.url, token=at.tokens["docs"]) as process:
            told = await process.stderr.receive()
            at.engine.gate.set()
            await process.wait()

        assert b"req-" in told
        assert process.returncode == 0


@pytest.mark.process
@pytest.mark.anyio
async def test_by_a_url_a_refused_token_exits_with_3_and_no_server_with_6(tmp_path):
    async with shell(tmp_path, "both") as (at, here):
        wrong = await here("status", "--url", at.url, "--json", token="imcp_wrong")
        none = await here("status", "--url", at.url)
        operators = await here("peer", "list", "--json")
        approving = await here("approve", "req-1", "sha256:" + "0" * 64, "--url", at.url, token=at.tokens["docs"])
        both = await here("status", "--url", at.url, "--repo", ".", token=at.tokens["docs"])
        local = await here.but(INFRA_MCP_URL="http://127.0.0.1:1/mcp")("status", "--repo", ".")
    gone = await here("status", "--url", at.url, token=at.tokens["docs"])

    assert (wrong.code, wrong.json["code"]) == (3, "unauthenticated")
    assert none.code == 3
    assert "INFRA_MCP_TOKEN" in none.err
    assert operators.code == 0
    assert approving.code == 3
    assert "policy-denied" in approving.err
    assert both.code == 2
    assert local.code == 0, local  # an option goes before the environment
    assert gone.code == 6
    assert "server-unreachable" in gone.err


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/mcp",
        "http://10.0.0.1/mcp",
        "http://127.0.0.1.example.com/mcp",
        "ftp://127.0.0.1/mcp",
        "https://docs:imcp_secret@127.0.0.1/mcp",
        "https:///mcp",
        "127.0.0.1:8420/mcp",
        "http://[::1/mcp",
        "https://127.0.0.1/mcp#imcp_secret",
        "https://127.0.0.1:port/mcp",
    ],
)
@pytest.mark.promise("http.tokens")
def test_a_token_is_not_sent_to_a_url_where_others_could_read_it(url):
    assert code_of(lambda: Remote(url, "imcp_secret")) == "invalid-argument"


@pytest.mark.promise("http.tokens")
def test_a_name_that_only_says_it_is_this_machine_gets_no_token(monkeypatch):
    """What `localhost` leads to is looked at on the connection itself, before a byte is sent."""
    with web(answered(200, json.dumps(ANSWER).encode())) as (url, kept):
        way = Remote(url.replace("127.0.0.1", "localhost"), "imcp_secret")
        monkeypatch.setattr(module, "_loopback", {"127.0.0.1": False}.__getitem__)

        assert code_of(lambda: way.exchange(CALL, print)) == "invalid-argument"
        assert kept == []


@pytest.mark.promise("http.tokens")
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_with_the_token(status):
    with web(answered(200, json.dumps(ANSWER).encode())) as (elsewhere, kept):
        with web(answered(status, Location=elsewhere)) as (url, asked):
            assert code_of(lambda: exchanged(url)) == "server-unreachable"
            assert len(asked) == 1
        assert kept == []


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (401, b"{}", "application/json", "unauthenticated"),
        (404, b"", "text/plain", "server-unreachable"),
        (502, b"<h1>Bad Gateway</h1>", "text/html", "server-unreachable"),
        (200, b"<h1>Welcome</h1>", "text/html", "server-unreachable"),
        (200, b"not json", "application/json", "server-unreachable"),
        (200, b"[" * 100_000, "application/json", "server-unreachable"),
        (200, b"[]", "application/json", "server-unreachable"),
        (200, b"{}", "application/json", "server-unreachable"),
        (200, b'{"jsonrpc": "2.0", "method": "notifications/message"}', "application/json", "server-unreachable"),
        (400, b'{"jsonrpc": "2.0", "id": 1, "error": {"code": -32600, "message": "no"}}', "application/json", None),
    ],
)
def test_what_is_no_answer_of_a_server_has_a_code_too(status, body, kind, code):
    with web(answered(status, body, kind)) as (url, _):
        if code is None:
            assert exchanged(url)["error"]["message"] == "no"
        else:
            assert code_of(lambda: exchanged(url)) == code


def test_events_are_read_however_they_are_cut_and_pings_are_passed_over():
    progress = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": 1, "message": "half"}}
    text = f": ping\r\n\r\nevent: message\r\ndata: {json.dumps(progress)}\r\n\r\nid: 7\n"
    half = json.dumps(ANSWER, indent=1).splitlines()
    body = (text + "".join(f"data:{line}\n" for line in half) + "\n").encode()

    with web(answered(200, body, "text/event-stream; charset=utf-8")) as (url, kept):
        heard = []
        assert exchanged(url, heard.append) == ANSWER
        assert [frame["params"]["message"] for frame in heard] == ["half"]
    (path, headers, sent) = kept[0]
    assert path == "/mcp"
    assert headers["Authorization"] == "Bearer imcp_secret"
    assert (headers["MCP-Protocol-Version"], headers["Mcp-Method"], headers["Mcp-Name"]) == (
        "2026-07-28",
        "tools/call",
        "status",
    )
    assert json.loads(sent) == CALL


def test_a_stream_that_ends_before_the_answer_is_a_broken_connection():
    with web(answered(200, b": ping\n\n", "text/event-stream")) as (url, _), pytest.raises(BrokenConnectionError):
        exchanged(url)


def test_a_server_that_says_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr(module, "_SILENCE", 0.05)
    given_up = threading.Event()
    with web(lambda _: given_up.wait(30)) as (url, _):
        with pytest.raises(BrokenConnectionError):
            exchanged(url)
        given_up.set()
    monkeypatch.setattr(module, "_CONNECTING", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        assert code_of(lambda: exchanged(f"http://127.0.0.1:{mute.getsockname()[1]}")) == "server-unreachable"


def test_one_connection_serves_several_calls_and_a_stale_one_is_not_used():
    ports = []

    def answer(handler):
        ports.append(handler.client_address[1])
        answered(200, json.dumps(ANSWER).encode())(handler)

    with web(answer) as (url, _), closing(Remote(url, "imcp_secret")) as way:
        client = Client(way)
        client.call("status", {})
        client.call("status", {})
        way._http._spare = [(connection, used - 60) for connection, used in way._http._spare]
        client.call("status", {})

    assert ports[0] == ports[1] != ports[2]


def test_a_connection_that_the_server_has_ended_is_not_used():
    """It may have been one of several: each would cost a request its answer."""
    ports = []

    def answer(handler):
        ports.append(handler.client_address[1])
        answered(200, json.dumps(ANSWER).encode())(handler)
        handler.close_connection = True

    with web(answer) as (url, _), closing(Remote(url, "imcp_secret")) as way:
        client = Client(way)
        client.call("status", {})
        connection = way._http._spare[0][0]
        assert select.select([connection.sock], [], [], 10)[0]  # its end has come
        client.call("status", {})

    assert ports[0] != ports[1]


@pytest.mark.parametrize("token", ["imcp secret", "imcp_secret\nX: y", "imcp_é"])
def test_a_token_that_is_none_does_not_reach_a_header(token):
    assert code_of(lambda: Remote("http://127.0.0.1/mcp", token)) == "unauthenticated"


@pytest.fixture
def own_certificate(tmp_path):
    """A server with TLS and a certificate that it made itself; its URL, the certificate, and what it was sent."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "server.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(private + made.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with web(answered(200, json.dumps(ANSWER).encode()), context) as (url, kept):
        yield url.replace("http:", "https:"), file, kept


@pytest.mark.process
@pytest.mark.anyio
@pytest.mark.promise("http.tokens")
async def test_a_certificate_that_nobody_vouches_for_gets_no_token(tmp_path, own_certificate):
    url, certificate, kept = own_certificate
    (tmp_path / "repo").mkdir()
    refused = await Shell(tmp_path)("status", "--url", url, token="imcp_secret")
    before = list(kept)
    trusted = await Shell(tmp_path, SSL_CERT_FILE=str(certificate))("status", "--url", url, token="imcp_secret")

    assert refused.code == 6, refused
    assert "not trusted" in refused.err
    assert before == []
    assert trusted.code == 0, trusted


@pytest.mark.fault("w08")
@pytest.mark.parametrize("status", [200, 404, 500])
def test_a_process_that_only_took_the_port_is_not_given_the_token(status):
    with stranger(status) as (url, kept):
        assert code_of(lambda: exchanged(url)) == ("unauthenticated" if status == 404 else "server-unreachable")

    assert kept
    assert "imcp_secret" not in str(kept)


@contextmanager
def stranger(status):
    """Something on a port of this machine that answers all it is asked, and keeps it; it knows no token."""
    kept = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            kept.append((self.requestline, dict(self.headers)))
            if length := int(self.headers["Content-Length"] or 0):
                kept.append(self.rfile.read(length))
            answered(status, b'{"proof": "0000000000000000000000000000000000000000000000000000000000000000"}')(self)

        def do_POST(self):
            self.do_GET()

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/mcp", kept
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
