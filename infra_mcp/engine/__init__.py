"""Carries requests from intake to their end. Doors use `Engine` and nothing else of this room."""

from infra_mcp.engine.engine import Engine

__all__ = ["Engine"]
