"""Peers of the story: project peers over HTTP with their tokens, and a session that attends by `infra-mcp connect`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.types import ElicitRequestParams, ElicitResult
from stage import Stage

__all__ = ["Peer", "attending", "connected"]


class Peer:
    """A connected peer, telling what it calls and what comes back."""

    def __init__(self, name: str, client: Client, stage: Stage) -> None:
        self.name = name
        self._client = client
        self._stage = stage

    async def call(self, tool: str, **arguments: Any) -> tuple[bool, str, dict[str, Any]]:
        """Call a tool. Returns whether it went well, its text, and its structured content."""
        shown = ", ".join(f"{key}={json.dumps(value)}" for key, value in arguments.items())
        print(f"   {self.name} calls {tool}({shown})", flush=True)
        result = await self._client.call_tool(tool, arguments)
        text = "\n".join(part.text for part in result.content if part.type == "text")
        self._stage.show(_readable(text), 40, wrap=True)
        return not result.is_error, text, dict(result.structured_content or {})


def _readable(text: str) -> str:
    """JSON answers a line a field; a person reads this one."""
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return "\n".join(f"{key}: {value}" for key, value in found.items() if value not in (None, "", [], {}))


@asynccontextmanager
async def connected(name: str, url: str, token: str, stage: Stage) -> AsyncIterator[Peer]:
    """Connect as a peer."""
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=120) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        yield Peer(name, client, stage)


@asynccontextmanager
async def attending(command: str, repo: str, stage: Stage) -> AsyncIterator[Peer]:
    """Attend as infra in the infra repository, as `claude` does beside which `infra-mcp connect` runs.

    The host's dialog is scripted: whatever a person is asked, this one reads it aloud and says yes.
    """

    async def person(context: object, params: ElicitRequestParams) -> ElicitResult:  # noqa: ARG001 - the SDK's form
        print("   the host asks its person:", flush=True)
        stage.show(params.message, 12, wrap=True)
        print("   the person says yes", flush=True)
        return ElicitResult(action="accept", content={"approve": True})

    stage.command(command, "connect", "--attend", "infra")
    server = StdioServerParameters(command=command, args=["connect", "--attend", "infra"], env=stage.env, cwd=repo)
    async with Client(server, elicitation_callback=person) as client:
        yield Peer("session", client, stage)
