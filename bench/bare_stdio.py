"""The least an MCP server can be on stdio: one tool that gives back what it got."""

from mcp.server import MCPServer

server = MCPServer("bare", version="1")


@server.tool()
async def echo(text: str) -> str:
    """Say it again."""
    return text


if __name__ == "__main__":
    server.run("stdio")
