"""The private parts of the SDK that one module reaches into are still there."""

from __future__ import annotations

import importlib.metadata

import mcp.server
from mcp.server.mcpserver import MCPServer
from mcp.server.subscriptions import ListenHandler

from infra_mcp.server import protocol


def test_the_sdk_is_of_the_line_this_was_written_for():
    major, minor, *_ = importlib.metadata.version("mcp").split(".")

    assert int(major) == 2
    assert int(minor) >= 3


def test_the_low_level_server_and_its_listen_handler_are_where_we_look():
    server = MCPServer("t", version="1")
    inner = protocol._inner(server)

    assert isinstance(inner, mcp.server.Server)
    assert isinstance(inner.get_request_handler("subscriptions/listen").handler, ListenHandler)
    protocol.close_listeners(server)
