"""Who asks: always known from the transport, never from an argument."""

from __future__ import annotations

from typing import Literal

from infra_mcp.model.names import Frozen

# How well the caller is known: by a token of its own, or only by being the same user on this machine.
Strength = Literal["token", "same-user"]


class Caller(Frozen):
    """A caller as the channel knows it.

    `circle` is None for an operator, who may read, approve, accept policy and manage peers, but changes nothing. It is
    None too for an attendant, a local session in the infra repository that acts for those who asked and has no rights
    of its own. `session` is one attending connection: claims hang on it and end with it.
    """

    name: str
    circle: str | None
    strength: Strength
    operator: bool = False
    attendant: bool = False
    reader: bool = False  # a local host without a token: may look at what the operator may look at, and no more
    session: str | None = None

    @property
    def reads_all(self) -> bool:
        """Whether it may look at what any circle did: people at this machine, and sessions that act for them."""
        return self.operator or self.attendant or self.reader


class Address(Frozen):
    """Where a message goes: a peer's name in its circle. `circle` is None for the infra peer itself."""

    name: str
    circle: str | None = None

    @property
    def signal(self) -> str:
        """The name its waiters are woken by when something comes into its inbox."""
        return f"inbox {self.circle or ''}/{self.name}"
