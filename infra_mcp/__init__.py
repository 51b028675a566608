"""infra-mcp: the infra peer of an agent mesh, as an MCP server."""

__version__ = "0.1.0"
