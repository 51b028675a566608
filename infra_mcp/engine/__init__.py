"""Carries requests from intake to their end. Channels use `Engine` and nothing else of this room."""

from infra_mcp.engine.engine import Engine

__all__ = ["Engine"]
