"""What an operator says of a peer and its new token, and who answers for one where no sponsor is named."""

from __future__ import annotations

import getpass
import os

from infra_mcp.model.names import Circle, Frozen, PeerName
from infra_mcp.model.peer import Caller, Sponsor, is_sponsor
from infra_mcp.policy.grammar import Lifetime, LongDuration, seconds

LIFE = "90d"  # of a token, where nothing else is said: see docs/operators.md


class PeerPlace(Frozen):
    """A peer: its name, and its circle or that it is an operator. A name that only one peer has is enough."""

    name: PeerName
    circle: Circle | None = None
    operator: bool = False

    @property
    def place(self) -> str | None:
        """The circle as the ledger stores it: empty for an operator, None where only the name is given."""
        return "" if self.operator else self.circle


class NewToken(PeerPlace):
    """A peer, and what its new token is to be."""

    expires: Lifetime = LIFE
    sponsor: Sponsor | None = None

    @property
    def life(self) -> float | None:
        """For how many seconds it is valid; None for one without an end."""
        return None if self.expires == "never" else seconds(self.expires)


class NewPeer(NewToken):
    """A peer to add, and whether it gets a token: one whose identity comes from an issuer's tokens needs none."""

    token: bool = True


class RenewedToken(NewToken):
    """A peer whose token is renewed, and how long the earlier ones stay valid."""

    overlap: LongDuration | None = None

    @property
    def overlap_seconds(self) -> float | None:
        """For how many seconds the earlier ones stay valid; None ends them at once."""
        return None if self.overlap is None else seconds(self.overlap)


def sponsor_of(caller: Caller, given: NewToken, *, operator: bool) -> str:
    """Who answers for a token: who was named, the operator whose it is, or else who asks for it.

    Without a token of their own, that is the user of this process, who alone can open the socket.
    """
    if given.sponsor is not None:
        return given.sponsor
    if operator:
        return given.name
    if caller.strength != "same-user":
        return caller.name
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a user without an entry, as in a container
        user = f"uid-{os.getuid()}"
    return user if is_sponsor(user) else caller.name
