"""The story, told by a pydantic-ai agent whose model is the script: it sees what a model would see, and no more."""

from __future__ import annotations

import asyncio
import json
import sys

from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import FunctionModel
from story import job, story


def transport(given):
    """How this run reaches the server."""
    if given["way"] == "stdio":
        return StdioTransport(given["command"][0], given["command"][1:], env=given["env"])
    return StreamableHttpTransport(given["url"], headers={"Authorization": f"Bearer {given['token']}"})


def text_of(part) -> str:
    """What the model is given of an answer, as text."""
    content = part.content
    return content if isinstance(content, str) else json.dumps(content)


async def main() -> None:
    """Run it and print what came of it, as one line of JSON."""
    given = job()
    steps = story(given["namespace"], given["version"])
    seen = []

    def model(messages, info):
        last = messages[-1].parts[-1]
        seen[:] = [tool.name for tool in info.function_tools]
        if isinstance(last, ToolReturnPart):
            try:
                step = steps.send((last.outcome == "success", text_of(last)))
            except StopIteration as end:
                return ModelResponse(parts=[TextPart(json.dumps(end.value))])
        else:
            step = next(steps)
        return ModelResponse(parts=[ToolCallPart(*step)])

    toolset = MCPToolset(transport(given), max_retries=3)
    agent = Agent(FunctionModel(model), toolsets=[toolset])
    async with agent:
        result = await agent.run("Get the namespace, and tell infra of the release.")
    sys.stdout.write(json.dumps({"tools": seen, **json.loads(result.output)}) + "\n")


asyncio.run(main())
