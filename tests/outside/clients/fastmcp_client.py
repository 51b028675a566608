"""The story, told by the fastmcp client."""

from __future__ import annotations

import asyncio
import json
import sys

import fastmcp
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from story import job, story


def transport(given):
    """How this run reaches the server."""
    if given["way"] == "stdio":
        return StdioTransport(given["command"][0], given["command"][1:], env=given["env"])
    return StreamableHttpTransport(given["url"], headers={"Authorization": f"Bearer {given['token']}"})


async def main() -> None:
    """Run it and print what came of it, as one line of JSON."""
    given = job()
    async with fastmcp.Client(transport(given)) as client:
        tools = [tool.name for tool in await client.list_tools()]
        steps = story(given["namespace"], given["version"])
        step = next(steps)
        while True:
            result = await client.call_tool(*step, raise_on_error=False)
            text = "".join(part.text for part in result.content if part.type == "text")
            try:
                step = steps.send((not result.is_error, text))
            except StopIteration as end:
                found = end.value
                break
    sys.stdout.write(json.dumps({"tools": tools, **found}) + "\n")


asyncio.run(main())
