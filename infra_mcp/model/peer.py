"""Who asks: always known from the transport, never from an argument."""

from __future__ import annotations

from typing import Literal

from infra_mcp.model.names import Frozen

__all__ = ["Caller", "Strength"]

# How well the caller is known: by a token of its own, or only by being the same user on this machine.
Strength = Literal["token", "same-user"]


class Caller(Frozen):
    """A caller as the door knows it.

    `circle` is None for the local operator, who may read, accept policy and manage peers, but changes nothing.
    """

    name: str
    circle: str | None
    strength: Strength
    operator: bool = False
