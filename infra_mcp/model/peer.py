"""Who asks: known from the transport, never from an argument."""

from typing import Literal

from infra_mcp.model.names import Frozen

# How well the caller is known: by a token of its own, or only by being the same user on this machine.
Strength = Literal["token", "same-user"]


class Caller(Frozen):
    """A caller as the channel knows it.

    `circle` is None for an operator, who may read, approve, accept policy and manage peers, but cannot ask for changes;
    and for an attendant, a local session in the infra repository that acts for askers and has no rights of its own.
    `session` is one attending connection; its claims end with it.
    """

    name: str
    circle: str | None
    strength: Strength
    operator: bool = False
    attendant: bool = False
    reader: bool = False  # a local host without a token: may read what the operator may read, and no more
    session: str | None = None

    @property
    def reads_all(self) -> bool:
        """Whether it may read what any circle did: people at this machine, and sessions that act for them."""
        return self.operator or self.attendant or self.reader


class Address(Frozen):
    """A peer's name in its circle. `circle` is None for the infra peer."""

    name: str
    circle: str | None = None

    @property
    def signal(self) -> str:
        """The signal of its inbox."""
        return f"inbox {self.circle or ''}/{self.name}"
