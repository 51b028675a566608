"""The one place that reaches into the SDK's private parts; a test fails when they are no longer there.

`MCPServer` offers stdio and HTTP. To serve its messages over another stream its low-level server is needed, which it
keeps under a private name (mcp 2.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcp.server import Server
    from mcp.server.mcpserver import MCPServer
    from mcp.shared._stream_protocols import ReadStream, WriteStream
    from mcp.shared.message import SessionMessage

__all__ = ["serve_stream"]


def _inner(server: MCPServer[Any]) -> Server[Any]:
    return server._lowlevel_server  # noqa: SLF001 - see the module's docstring


async def serve_stream(
    server: MCPServer[Any], read: ReadStream[SessionMessage | Exception], write: WriteStream[SessionMessage]
) -> None:
    """Serve one connection, of either era, until its read side ends."""
    inner = _inner(server)
    await inner.run(read, write, inner.create_initialization_options())
