"""Who asks: known from the transport, never from an argument."""

from typing import Annotated, Literal

from pydantic import StringConstraints, TypeAdapter, ValidationError

from infra_mcp.model.names import Frozen

# How well the caller is known: by a token of its own, by one that an issuer of policy signed, or only by being the same
# user on this machine.
Strength = Literal["token", "oidc", "same-user"]
# A person, as people and forges name one: letters of any script, digits and . _ @ + - [ ] /, with spaces inside.
Sponsor = Annotated[str, StringConstraints(pattern=r"^\w(?:[\w.@+\-\[\]/ ]{0,98}[\w\]])?$")]
_SPONSOR: TypeAdapter[str] = TypeAdapter(Sponsor)


class Identity(Frozen):
    """The identity in an issuer's token: who signed it, whom it is about, and in which run it was asked for."""

    issuer: str
    subject: str
    run: str


class Caller(Frozen):
    """A caller as the channel knows it.

    `circle` is None for an operator, who may read, approve, accept policy and manage peers, but cannot ask for changes;
    and for an attendant, a local session in the infra repository that acts for askers and has no rights of its own.
    `session` is one attending connection; its claims end with it. `sponsor` is the person who answers for the token it
    came by; it gives no rights.
    """

    name: str
    circle: str | None
    strength: Strength
    operator: bool = False
    attendant: bool = False
    reader: bool = False  # a local host without a token: may read what the operator may read, and no more
    session: str | None = None
    sponsor: str | None = None
    identity: Identity | None = None  # of a caller who came by an issuer's token

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


def is_sponsor(name: str) -> bool:
    """Whether it can be the name of a person who answers for a token."""
    try:
        _SPONSOR.validate_python(name)
    except ValidationError:
        return False
    return True
