"""Carries requests from intake to their end. Channels use `Engine` and nothing else of this room.

`Engine` is imported when it is asked for: it needs every driver, and most commands need a module of this room alone.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infra_mcp.engine.engine import Engine

__all__ = ["Engine"]


def __getattr__(name: str) -> object:
    if name != "Engine":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from infra_mcp.engine.engine import Engine  # noqa: PLC0415 - see above

    return Engine
