"""The private parts of the SDK that one module reaches into are still there."""

from __future__ import annotations

import importlib.metadata

import mcp.server
from mcp.server.mcpserver import MCPServer

from infra_mcp.server import protocol


def test_the_sdk_is_of_the_line_this_was_written_for():
    major, minor, *_ = importlib.metadata.version("mcp").split(".")

    assert int(major) == 2
    assert int(minor) >= 3


def test_the_low_level_server_is_where_we_look():
    inner = protocol._inner(MCPServer("t", version="1"))

    assert isinstance(inner, mcp.server.Server)
