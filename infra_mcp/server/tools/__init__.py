"""The tools, one module a group, and the table of all of them in the order they are listed."""

from __future__ import annotations

from infra_mcp.server.tools import change, control, mesh, read
from infra_mcp.server.tools.tool import Tool

__all__ = ["TOOLS"]

TOOLS: dict[str, Tool] = {
    tool.name: tool for group in (mesh.TOOLS, change.TOOLS, control.TOOLS, read.TOOLS) for tool in group
}
