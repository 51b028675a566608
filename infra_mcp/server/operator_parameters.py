"""The parameters of what the command line may ask of a server: see `server.operator`."""

from __future__ import annotations

from pydantic import Field

from infra_mcp.ledger.chain import Committed
from infra_mcp.model.approval import Signature
from infra_mcp.model.names import Circle, Frozen, PeerName
from infra_mcp.policy.grammar import Explanation
from infra_mcp.policy.restrictions import FreezeMatch


class NoParameters(Frozen):
    """For methods that take none."""


class OperatorName(Frozen):
    """An operator."""

    name: PeerName


class Digest(Frozen):
    """The digest of a policy file, as the operator saw it."""

    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")


class PolicyText(Frozen):
    """The text of a policy that is not in force."""

    text: str = Field(max_length=2**20)


class PolicyTrial(PolicyText):
    """A policy to be tried on stored requests, and on which."""

    limit: int = Field(200, ge=1, le=1000)
    since: str | None = Field(None, max_length=64)
    circle: Circle | None = None


class NewFreeze(Frozen):
    """A freeze that an operator orders."""

    reason: Explanation = Field(min_length=3)
    until: str | None = Field(None, max_length=40)  # a moment with its offset, or a duration from now; None: for a year
    match: FreezeMatch = FreezeMatch()


class FreezeName(Frozen):
    """An ordered freeze; None for all of them."""

    id: str | None = Field(None, max_length=63)


class Heads(Frozen):
    """Audit heads found elsewhere: in acks, and in commits."""

    heads: tuple[str, ...] = Field((), max_length=10_000)
    commits: tuple[Committed, ...] = Field((), max_length=10_000)


class Limit(Frozen):
    """How many to list."""

    limit: int = Field(20, ge=1, le=200)


class Subject(Limit):
    """One request, or one object."""

    request_id: str | None = Field(None, max_length=64)
    object: str | None = Field(None, min_length=1, max_length=300)


class Decision(Digest):
    """A person's decision about one effect of one request."""

    request_id: str = Field(max_length=64)
    approve: bool
    signature: Signature | None = None
    bypass: str | None = Field(None, min_length=3, max_length=500)  # why it goes on without the others


class Resolution(Frozen):
    """A person has seen to what a request left."""

    request_id: str = Field(max_length=64)
    reason: str = Field(min_length=3, max_length=500, pattern=r"\S")


class NewFile(Frozen):
    """A file to make."""

    file: str = Field(min_length=1, max_length=4096)


class PageName(Frozen):
    """A page of the dashboard, by its address below the session's."""

    page: str = Field("needs-you", min_length=1, max_length=400)
