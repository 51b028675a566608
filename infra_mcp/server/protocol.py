"""Rules of MCP that the SDK does not apply, and MCP over a stream of our own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS

if TYPE_CHECKING:
    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
    from mcp.server.mcpserver import MCPServer
    from mcp.shared._stream_protocols import ReadStream, WriteStream
    from mcp.shared.message import SessionMessage


def is_answerless(frame: object) -> bool:
    """Whether a message is a request whose id no answer could carry: neither a string nor an integer, null included.

    The SDK takes it for a notification, and its sender waits for ever.
    """
    if not isinstance(frame, dict) or not {"method", "id"} <= frame.keys():
        return False
    return isinstance(frame["id"], bool) or not isinstance(frame["id"], str | int)


async def refuse_cursor(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Middleware of the SDK's server: no list has a second page, so every cursor is invalid.

    Raises:
        MCPError: the list was asked for with a cursor.
    """
    if ctx.method.endswith("/list") and (ctx.params or {}).get("cursor") is not None:
        raise MCPError(INVALID_PARAMS, "This cursor was never given out: every list is whole.")
    return await call_next(ctx)


async def serve_stream(
    server: MCPServer[Any], read: ReadStream[SessionMessage | Exception], write: WriteStream[SessionMessage]
) -> None:
    """Serve one connection, of either era, until its read side ends."""
    # `MCPServer` itself offers only stdio and HTTP (mcp 2.3); a test fails when the private name is gone.
    inner = server._lowlevel_server  # noqa: SLF001
    await inner.run(read, write, inner.create_initialization_options())
