"""All tools, in the order they are listed, and which of them a caller is offered."""

from __future__ import annotations

from collections.abc import Collection

from infra_mcp.errors import InfraError
from infra_mcp.model.peer import Caller
from infra_mcp.server.tools import change, control, mesh
from infra_mcp.server.tools.call import Toolset
from infra_mcp.server.tools.tool import Audience, Tool

__all__ = ["TOOLS", "TOOLSETS", "check", "offered"]

TOOLS: dict[str, Tool] = {tool.name: tool for group in (mesh.TOOLS, change.TOOLS, control.TOOLS) for tool in group}
# By `serve --tools`. Control tools are in each, since answers of both kinds name them.
TOOLSETS: dict[Toolset, frozenset[str]] = {
    "all": frozenset(TOOLS),
    "mesh": frozenset(TOOLS) - {tool.name for tool in change.TOOLS},
    "change": frozenset(TOOLS) - {tool.name for tool in mesh.TOOLS},
}


def offered(toolset: Toolset, caller: Caller, granted: Collection[str]) -> list[Tool]:
    """The tools a caller may use, always in the same order. Hiding is for clarity; each call is decided again.

    `granted` has the actions that policy grants the caller; for a session that attends, those it may do for others.
    """
    return [tool for tool in TOOLS.values() if tool.name in TOOLSETS[toolset] and _is_for(tool, caller, granted)]


def _is_for(tool: Tool, caller: Caller, granted: Collection[str]) -> bool:
    if caller.reader:
        return _is_for_readers(tool)
    if tool.audience is Audience.PEOPLE:
        return caller.operator or caller.attendant
    return tool.actions is None or not tool.actions.isdisjoint(granted)


def _is_for_readers(tool: Tool) -> bool:
    return tool.read_only and tool.audience is Audience.ANYONE and tool.actions is None


def check(tool: Tool, toolset: Toolset, caller: Caller) -> None:
    """Refuse a call that this caller can never make, whatever its arguments. Policy decides later.

    Raises:
        InfraError: `not-found` for a tool this server does not offer, `policy-denied` for a caller who may only read.
    """
    if tool.name not in TOOLSETS[toolset]:
        raise InfraError("not-found", "There is no such tool, or not for this caller.", next_step="See tools/list.")
    if caller.reader and not _is_for_readers(tool):
        what = "A host that connects without a token, and does not attend, may only read."
        step = "Give it the token of a peer (INFRA_MCP_TOKEN), or let it attend: infra-mcp connect --attend."
        raise InfraError("policy-denied", what, next_step=step, rule="reader")
