"""The story, told by tools that langchain-mcp-adapters made of ours; its MCP library is of the 1.x line."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid

from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import load_mcp_tools
from story import job, story


def connection(given):
    """How this run reaches the server."""
    if given["way"] == "stdio":
        return {"transport": "stdio", "command": given["command"][0], "args": given["command"][1:], "env": given["env"]}
    return {"transport": "http", "url": given["url"], "headers": {"Authorization": f"Bearer {given['token']}"}}


def words(message) -> str:
    """The text of a tool's answer, which comes as blocks."""
    content = message.content
    return content if isinstance(content, str) else "".join(part["text"] for part in content if part["type"] == "text")


async def main() -> None:
    """Run it and print what came of it, as one line of JSON."""
    given = job()
    client = MultiServerMCPClient({"infra": connection(given)})
    async with client.session("infra") as session:
        tools = {tool.name: tool for tool in await load_mcp_tools(session)}
        steps = story(given["namespace"], given["version"])
        name, arguments = next(steps)
        while True:
            call = {"type": "tool_call", "id": uuid.uuid4().hex, "name": name, "args": arguments}
            message = await tools[name].ainvoke(call)
            try:
                name, arguments = steps.send((message.status == "success", words(message)))
            except StopIteration as end:
                found = end.value
                break
    sys.stdout.write(json.dumps({"tools": list(tools), **found}) + "\n")


asyncio.run(main())
