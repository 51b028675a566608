"""Evidence by a page, at a real HTTP server on loopback: bounded, and never led to where policy does not point."""

from __future__ import annotations

import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest

from infra_mcp.clients import page
from infra_mcp.clients.page import fetch, is_allowed
from infra_mcp.drivers.base import Context
from infra_mcp.drivers.external.url import Url
from infra_mcp.errors import InfraError, Unavailable
from infra_mcp.policy.evidence import UrlRules
from infra_mcp.policy.policy import load

pytestmark = [pytest.mark.anyio, pytest.mark.promise("delivery.external")]


class Site:
    """A server whose pages a test sets: a status, headers and a body by path."""

    def __init__(self):
        self.pages, self.asked, self.slow = {}, [], Event()

    @contextmanager
    def up(self):
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                site.asked.append(self.path)
                if self.path == "/slow":
                    site.slow.wait(30)
                status, headers, body = site.pages.get(self.path, (404, {}, b""))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                """Say nothing."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            self.port = server.server_port
            server.handle_error = lambda *_: None  # a client that has read enough goes away
            thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            try:
                yield self
            finally:
                self.slow.set()
                server.shutdown()
                thread.join()

    def at(self, path, host="127.0.0.1"):
        return f"http://{host}:{self.port}{path}"


@pytest.fixture
def site():
    with Site().up() as made:
        yield made


def context(say=lambda _: None):
    return Context("req-1", "media", load(""), say=say)


def url(at, value="1.2.0", **more):
    return Url(UrlRules(at=at, value="{version}", private=True, **more), value)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"1.2.0\n", None),
        (b'{"version": "1.2.0"}', "/version"),
        (b'{"apps": [{"v": 1}, {"a/b": "1.2.0"}]}', "/apps/1/a~1b"),
        (b'"1.2.0"', ""),
    ],
)
async def test_the_value_is_all_of_the_text_or_stands_at_a_pointer(site, body, pointer):
    site.pages["/version"] = 200, {}, body
    piece = url(site.at("/version"), pointer=pointer)

    assert piece.fresh(await piece.before(context())) is False
    assert (await piece.holds(context(), None, 5.0)).endswith('answers "1.2.0"')


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"version 1.2.0", None),
        (b"1.2.00", None),
        (b'{"version": "1.2.0"}', None),
        (b'{"other": "1.2.0"}', "/version"),
        (b"<html>1.2.0", "/version"),
        (b"[" * 100_000, "/version"),
    ],
)
async def test_another_text_is_no_evidence_and_the_failure_shows_what_was_answered(site, body, pointer):
    site.pages["/version"] = 200, {}, body
    piece, said = url(site.at("/version"), pointer=pointer), []

    assert piece.fresh(await piece.before(context())) is True
    with pytest.raises(InfraError) as caught:
        await piece.holds(context(said.append), False, 0.3)

    assert caught.value.code == "not-landed"
    assert "answers" in caught.value.what
    assert said[0].startswith(f"url {site.at('/version')}: answers")


async def test_a_page_that_comes_to_show_the_value_is_waited_for_and_its_revert_too(site):
    site.pages["/version"] = 500, {}, b""
    piece = url(site.at("/version"))

    def deliver(text):
        if "answers 500" in text:
            site.pages["/version"] = 200, {}, b"1.2.0"

    before = await piece.before(context())
    assert await piece.holds(context(deliver), before, 10.0)

    def take_back(_):
        site.pages["/version"] = 200, {}, b"1.1.0"

    assert (await piece.gone(context(take_back), before, 10.0)).endswith('answers "1.1.0"')


async def test_a_redirect_stays_on_the_host_or_goes_to_one_that_policy_names(site):
    site.pages["/old"] = 302, {"Location": "/new"}, b""
    site.pages["/away"] = 302, {"Location": site.at("/new", "localhost")}, b""
    site.pages["/out"] = 301, {"Location": "file:///etc/hostname"}, b""
    site.pages["/round"] = 302, {"Location": "/round"}, b""
    site.pages["/new"] = 200, {}, b"here"

    assert await fetch(site.at("/old"), private=True) == b"here"
    assert await fetch(site.at("/away"), hosts=["localhost"], private=True) == b"here"
    for path, why in (("/away", "does not name"), ("/out", "does not name"), ("/round", "again and again")):
        site.asked.clear()
        with pytest.raises(Unavailable, match=why):
            await fetch(site.at(path), private=True)
        assert "/new" not in site.asked


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_an_address_of_this_machine_is_asked_only_where_policy_says_so(site, host):
    site.pages["/"] = 200, {}, b"here"

    with pytest.raises(Unavailable, match="does not allow"):
        await fetch(site.at("/", host))

    assert site.asked == []
    assert await fetch(site.at("/", host), private=True) == b"here"


@pytest.mark.parametrize(
    ("address", "anywhere", "where_private_is_allowed"),
    [
        ("93.184.215.14", True, True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True, True),
        ("10.1.2.3", False, True),
        ("192.168.1.1", False, True),
        ("127.0.0.1", False, True),
        ("::1", False, True),
        ("fd00::1", False, True),
        ("::ffff:10.1.2.3", False, True),
        ("169.254.169.254", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("fe80::1", False, False),
        ("0.0.0.0", False, False),
        ("224.0.0.1", False, False),
    ],
)
def test_which_addresses_may_be_asked(address, anywhere, where_private_is_allowed):
    assert is_allowed(address, private=False) is anywhere
    assert is_allowed(address, private=True) is where_private_is_allowed


async def test_a_page_that_is_too_large_or_too_slow_is_given_up(site, monkeypatch):
    site.pages["/large"] = 200, {}, b"x" * (2**20 + 1)
    with pytest.raises(Unavailable, match="larger than 1 MiB"):
        await fetch(site.at("/large"), private=True)

    monkeypatch.setattr(page, "_SECONDS", 0.2)
    with pytest.raises(Unavailable, match="in time"):
        await fetch(site.at("/slow"), private=True)


async def test_no_answer_at_all_is_told_and_no_proxy_of_the_environment_is_used(site, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    site.pages["/"] = 200, {}, b"here"
    assert await fetch(site.at("/"), private=True) == b"here"

    with pytest.raises(Unavailable):
        await fetch("http://127.0.0.1:9/", private=True)


def test_the_query_of_an_address_is_shown_nowhere():
    assert "token" not in url("https://player.example.org/version?token=abc").shown
    assert json.dumps(url("https://player.example.org/version?token=abc").shown)
