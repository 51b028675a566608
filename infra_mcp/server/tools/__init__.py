"""The tools, one module a group, and which of them a caller is offered, in the order they are listed."""

from __future__ import annotations

from collections.abc import Collection

from infra_mcp.errors import InfraError
from infra_mcp.model.peer import Caller
from infra_mcp.server.tools import change, control, mesh, read
from infra_mcp.server.tools.tool import Tool, Toolset

__all__ = ["TOOLS", "TOOLSETS", "check", "offered"]

TOOLS: dict[str, Tool] = {
    tool.name: tool for group in (mesh.TOOLS, change.TOOLS, control.TOOLS, read.TOOLS) for tool in group
}
# What `serve --tools` leaves. Control and read tools are in each, since answers of both kinds name them.
TOOLSETS: dict[Toolset, frozenset[str]] = {
    "all": frozenset(TOOLS),
    "mesh": frozenset(TOOLS) - {tool.name for tool in change.TOOLS},
    "change": frozenset(TOOLS) - {tool.name for tool in mesh.TOOLS},
}


def offered(toolset: Toolset, caller: Caller, granted: Collection[str]) -> list[Tool]:
    """The tools a caller may use, always in the same order. Hiding is for clarity; each call is decided again.

    Args:
        toolset: what the server was started with.
        caller: who looks.
        granted: the actions policy grants the caller, or for one that attends, those it may do for others.
    """
    return [tool for tool in TOOLS.values() if tool.name in TOOLSETS[toolset] and _for(tool, caller, granted)]


def _for(tool: Tool, caller: Caller, granted: Collection[str]) -> bool:
    if caller.reader:
        return _only_looks(tool)
    if tool.people:
        return caller.operator or caller.attendant
    return tool.actions is None or not tool.actions.isdisjoint(granted)


def _only_looks(tool: Tool) -> bool:
    """Whether a tool is for callers who may change nothing and have no mail."""
    return tool.read_only and not tool.mail and tool.actions is None


def check(tool: Tool, toolset: Toolset, caller: Caller) -> None:
    """Refuse a call that is none of the caller's, whatever its arguments. Policy is asked later, where it decides.

    Raises:
        InfraError: `not-found` for a tool this server does not offer, `policy-denied` for a caller who may only read.
    """
    if tool.name not in TOOLSETS[toolset]:
        raise InfraError("not-found", "There is no such tool, or not for this caller.", next_step="See tools/list.")
    if caller.reader and not _only_looks(tool):
        what = "A host that connects without a token, and does not attend, may only look."
        step = "Give it the token of a peer (INFRA_MCP_TOKEN), or let it attend: infra-mcp connect --attend."
        raise InfraError("policy-denied", what, next_step=step, rule="reader")
