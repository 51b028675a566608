"""What MCP says and the SDK does not do, and the one place that reaches into the SDK's private parts.

`MCPServer` offers stdio and HTTP. To serve its messages over another stream its low-level server is needed, which it
keeps under a private name (mcp 2.3); a test fails when it is no longer there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS

if TYPE_CHECKING:
    from mcp.server import Server
    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
    from mcp.server.mcpserver import MCPServer
    from mcp.shared._stream_protocols import ReadStream, WriteStream
    from mcp.shared.message import SessionMessage


def is_answerless(frame: object) -> bool:
    """Whether a message is a request whose id no answer could carry: neither a string nor an integer, null included.

    The SDK takes it for a notification, and its sender waits for ever.
    """
    if not isinstance(frame, dict) or "method" not in frame or "id" not in frame:
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


def _inner(server: MCPServer[Any]) -> Server[Any]:
    return server._lowlevel_server  # noqa: SLF001 - see the module's docstring


async def serve_stream(
    server: MCPServer[Any], read: ReadStream[SessionMessage | Exception], write: WriteStream[SessionMessage]
) -> None:
    """Serve one connection, of either era, until its read side ends."""
    inner = _inner(server)
    await inner.run(read, write, inner.create_initialization_options())
