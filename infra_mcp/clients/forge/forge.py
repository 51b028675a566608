"""What the server asks of a forge, whatever its kind. A client of a kind is one module beside this one.

Every call raises `Unavailable` with `forge-unreachable` when the forge does not answer, or asks to wait longer than the
call may; and `InfraError` with `forge-refused` and the forge's words when it refuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol


@dataclass(frozen=True)
class Account:
    """An account at the forge."""

    name: str
    bot: bool = False  # an app's or a bot's, as far as the forge says so


@dataclass(frozen=True)
class Proposal:
    """A pull request, as the forge has it now."""

    number: int
    url: str  # for people
    state: Literal["open", "merged", "closed"]
    branch: str  # where it comes from
    head: str  # the commit that is proposed now
    base: str  # the branch that it goes to
    author: Account
    merged: str = ""  # the commit that the merge, squash or rebase made on the base branch
    ended_by: Account | None = None  # who merged or closed it, where the forge says so
    conflicts: bool = False  # it cannot be merged as it is; False while the forge has not looked yet
    auto: bool = False  # the forge merges it by itself as soon as it may


@dataclass(frozen=True)
class Review:
    """The last word of a reviewer."""

    by: Account
    approves: bool
    head: str  # the commit that it was given on


@dataclass(frozen=True)
class Check:
    """A check run or commit status of a commit."""

    name: str
    by: str  # the account or app that set it
    state: Literal["pending", "success", "failure"]
    set_at: datetime
    text: str = ""  # the forge's description, cleaned
    url: str = ""  # its log, for people


@dataclass(frozen=True)
class Deployment:
    """A deployment of a commit to an environment, with its newest state."""

    environment: str
    by: str  # who made its newest state
    state: Literal["pending", "success", "failure"]
    set_at: datetime
    text: str = ""
    url: str = ""


@dataclass(frozen=True)
class Rights:
    """How the rights of the server's token differ from those it should have, in sentences."""

    missing: tuple[str, ...] = ()
    excess: tuple[str, ...] = ()


class Forge(Protocol):
    """One repository at a forge, with the server's login."""

    shown: str  # the forge and the repository, for people: `git.example/team/infra`

    async def account(self) -> Account:
        """Whose the server's token is."""

    async def rights(self, branch: str, *, merges: bool) -> Rights:
        """What the token may not and should, and what it may and should not.

        Args:
            branch: the one that changes go to.
            merges: whether policy lets the server turn on auto-merge.
        """

    async def propose(self, branch: str, base: str, title: str, body: str, labels: Sequence[str] = ()) -> Proposal:
        """Open a pull request of a branch that was pushed; the one that is open already, if there is one.

        Labels that the forge does not have are made; where it refuses, the pull request goes without.
        """

    async def proposal(self, number: int) -> Proposal:
        """A pull request by its number. Raises `not-found` where there is none."""

    async def proposal_of(self, branch: str) -> Proposal | None:
        """The newest pull request of a branch of ours."""

    async def describe(self, number: int, title: str, body: str) -> None:
        """Set the title and body of a pull request."""

    async def comment(self, number: int, text: str) -> None:
        """Write a comment below a pull request."""

    async def close(self, number: int) -> None:
        """Close a pull request without a merge; one that is closed already is fine."""

    async def merge_when_ready(self, proposal: Proposal) -> None:
        """Have the forge merge it as soon as its own rules allow, at the head it has now.

        Raises:
            InfraError: `forge-refused`: the forge or the repository does not offer it.
        """

    async def reviews(self, number: int) -> tuple[Review, ...]:
        """The last word of each reviewer; dismissed ones are left out."""

    async def authors(self, proposal: Proposal) -> frozenset[str] | None:
        """The accounts that pushed to the branch of a pull request, and those that its commits name as authors.

        Who pushed, the forge knows; whom a commit names, anyone can write into it.

        Returns:
            None where the forge does not say (or not yet) who pushed the commit that is its head.
        """

    async def checks(self, commit: str) -> tuple[Check, ...]:
        """The newest check run and commit status by each name and setter."""

    async def deployments(self, commit: str) -> tuple[Deployment, ...]:
        """The deployments of a commit; none at a forge without them."""

    async def aclose(self) -> None:
        """End its connections."""
