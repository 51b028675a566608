"""A browser without a screen at the dashboard of a running server: opened from the socket, as the command opens it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from html.parser import HTMLParser
from typing import Any

import anyio.to_thread
import httpx2
from running_server import RunningServer

from infra_mcp.cli.client import connect
from infra_mcp.settings import Settings

__all__ = ["Visit", "form_of", "link", "link_of", "text_of", "visit"]


@dataclass
class Visit:
    """One session: its client, with the cookie, and the address that its pages begin with."""

    web: httpx2.AsyncClient
    origin: str
    home: str
    entered: httpx2.Response
    forms: dict[str, str] = field(default_factory=dict)

    async def get(self, page: str, **more: Any) -> httpx2.Response:
        """One page."""
        return await self.web.get(self.home + page, **more)

    async def data(self, page: str) -> Any:
        """One page's JSON."""
        answer = await self.get(f"{page}.json")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, page: str, form: dict[str, str], **headers: str) -> httpx2.Response:
        """Send a form as a browser does from a page of the dashboard; a header given as empty is left out."""
        sent = {"origin": self.origin, "sec-fetch-site": "same-origin"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        kept = {name: value for name, value in sent.items() if value}
        return await self.web.post(self.home + page, data=form, headers=kept)


async def link(at: RunningServer, page: str = "needs-you", token: str | None = None) -> str:
    """The link that `infra-mcp dashboard` prints, for the local operator or the peer of a token."""
    return await link_of(at.engine.settings, page, token)


async def link_of(settings: Settings, page: str, token: str | None = None) -> str:
    """The same of the server with these settings."""

    def ask() -> str:
        with connect(settings, token) as client:
            return str(client.method("operator/dashboard", {"page": page})["url"])

    return await anyio.to_thread.run_sync(partial(ask))


@asynccontextmanager
async def visit(at: RunningServer, page: str = "needs-you", token: str | None = None) -> AsyncIterator[Visit]:
    """A session of the local operator, or of the operator whose token it is."""
    async with httpx2.AsyncClient(timeout=30) as web:
        entered = await web.get(await link(at, page, token))
        assert entered.status_code == 200, entered.text
        found = re.search(r'href="(/dashboard/[0-9a-f]{32}/)', entered.text)
        assert found is not None
        origin = at.url.removesuffix("/mcp")
        yield Visit(web, origin, origin + found[1], entered)


def form_of(html: str, decision: str = "approve") -> dict[str, str]:
    """A form of an approval's page, as a browser would send it."""
    for one in re.findall(r"<form.*?</form>", html, re.DOTALL):
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', one))
        if fields.get("decision") == decision:
            return fields
    raise AssertionError(html)


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:  # noqa: ARG002 - the parser's
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def text_of(html: str) -> tuple[str, set[str]]:
    """The text of a page as a reader sees it, white space joined, and the elements that it has."""
    parser = _Text()
    parser.feed(html)
    return " ".join(parser.text.split()), set(parser.tags)
