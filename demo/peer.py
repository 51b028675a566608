"""A project peer: a plain MCP client over HTTP with its token, as any agent host has one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from stage import Stage

__all__ = ["Peer", "connected"]


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
