"""What a driver is: it makes the content of a path live at one place, or confirms that somebody else did.

The engine knows this protocol and no driver. It calls `plan`, decides, commits, and then `apply` and `verify`; after a
failure `observe`, `undo` and `settled`. Every method may raise `InfraError`; `Unavailable`, when nobody answered; and
`Moved`, when the ground changed since the plan, so that it is to be planned again. No library's error leaves a driver.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from infra_mcp.masking import Masker
from infra_mcp.model.effect import Change, Drift
from infra_mcp.model.outcome import Written
from infra_mcp.model.target import Target
from infra_mcp.policy.policy import Policy
from infra_mcp.repository.edits import Beside, Goal, Location
from infra_mcp.repository.value import Tree


def _silent(_: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Context:
    """On whose behalf a driver works.

    Args:
        request: the request's id; what is written may be marked with it.
        circle: the requester's circle: by its identity the work is done.
        policy: the policy in force.
        say: told how far it is, in words for people.
        resumed: after an interruption: what carries this request's mark is ours.
        nonce: known to nobody but this request: what was created with it is ours.
        made: keys of the targets that earlier parts of this request create.
        written: what was noted as about to be written, before the interruption.
        seen: what was read for this planning; a driver's own, so that nothing is asked for twice.
    """

    request: str
    circle: str
    policy: Policy
    say: Callable[[str], None] = _silent
    resumed: bool = False
    nonce: str = ""
    made: frozenset[str] = frozenset()
    written: tuple[Written, ...] = ()
    seen: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Share:
    """One driver's share of an edit, at one place.

    Args:
        addressed: the locations it is about, changed or not.
        beside: the work without a file.
        before: the repository before this stage's edit.
        after: the repository with it.
        goal: what is to be true in the end.
    """

    addressed: tuple[Location, ...]
    beside: tuple[Beside, ...]
    before: Tree
    after: Tree
    goal: Goal


@dataclass(frozen=True)
class Prepared:
    """What a driver would do, and what it takes to do it.

    Args:
        changes: everything it looked at, with what would change: this is shown, decided and approved.
        writes: what is about to be written; empty when all is so already.
        needs: targets that must be there before the first write.
        on_failure: put back what was, or leave it for people to look at.
        timeout: seconds in which it must have landed, counted from its last write.
        drift: differences that are left alone.
        notes: what a reader should know beside the changes.
        own: the driver's; nobody else looks into it.
    """

    changes: tuple[Change, ...]
    writes: tuple[Written, ...]
    on_failure: Literal["rollback", "hold"]
    timeout: float
    own: Any
    needs: tuple[Target, ...] = ()
    drift: tuple[Drift, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Undone:
    """What an undo came to.

    Args:
        restored: what was put back, as people write it.
        skipped: what was left because others changed it or because we created it, each with the reason.
    """

    restored: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """What a status is asked about: an app of the catalogue, or a scope (a namespace, a zone)."""

    app: str | None = None
    scope: str | None = None
    tree: Tree | None = field(default=None, repr=False)  # the repository, to name drift; None where it is not read


class Place(NamedTuple):
    """What a place's name stands for in a policy.

    Args:
        where: the same for people; where a request began it must end.
        settings: when they change, the place is connected to anew.
    """

    where: str
    settings: Hashable


@dataclass(frozen=True)
class Setup:
    """What a driver may be connected with, beside the policy.

    Args:
        kubeconfig: the file that contexts are read from.
        key: gives a key of this ledger by its purpose, for keyed hashes.
        masker: learns every secret that is read.
    """

    kubeconfig: Path
    key: Callable[[str], Awaitable[bytes]]
    masker: Masker


@dataclass(frozen=True)
class Delivery:
    """One way in which the content of a path becomes live.

    Args:
        name: its name in policy, and its driver's.
        system: what holds the targets of its driver.
        place: what a place's name stands for.
        connect: connects the driver to a named place, for as long as the block lasts.
    """

    name: str
    system: str
    place: Callable[[Policy, str], Place]
    connect: Callable[[Setup, Policy, str], AbstractAsyncContextManager[Driver]]


class Driver(Protocol):
    """A driver, connected to one place.

    Attributes:
        where: what the place's name stands for, for people: where a request began it must end.
        carries_out: whether it makes changes live itself. One that does not has nothing to apply, and its undo waits
            until the revert is live.
    """

    where: str
    carries_out: bool

    async def read(self, context: Context, target: Target) -> dict[str, Any] | None:
        """One thing as it is live, for an edit that must know it; None when it is not there or not to be seen."""

    async def plan(self, context: Context, share: Share) -> Prepared:
        """Compare a share with what is live. Writes nothing; equal ground gives equal changes.

        Raises:
            Moved: it moved under the comparison; plan again, with a context of its own.
        """

    async def apply(self, context: Context, prepared: Prepared) -> None:
        """Write what the plan says, each write bound to what the plan was made on.

        Raises:
            Moved: the ground changed; plan again.
        """

    async def verify(self, context: Context, prepared: Prepared, seconds: float) -> str:
        """Wait until everything is observed as asked, and say what is now true.

        Raises:
            InfraError: `not-landed`, with the cause; `object-moved`, when something was replaced meanwhile.
        """

    async def present(self, context: Context, target: Target) -> bool:
        """Whether a later part may count on a target that this one makes."""

    async def observe(self, context: Context, written: Sequence[Written]) -> bool:
        """Whether any of these writes of ours shows."""

    async def undo(self, context: Context, written: Sequence[Written]) -> Undone:
        """Put back what was before, only where it is still as we left it. Doing it twice writes once."""

    async def settled(self, context: Context, written: Sequence[Written], seconds: float) -> str:
        """Wait until what was put back is live again, and say so.

        Raises:
            InfraError: it is not, with the cause.
        """

    async def answers(self) -> bool:
        """Whether the place answers now, and takes the server's login."""

    async def excess(self) -> str:
        """Which rights the server's login has that it should not have, in a sentence; empty when none. Waits for it."""

    async def status(self, context: Context, question: Question) -> dict[str, Any]:
        """What is there and how it fares, as far as the circle may see.

        Raises:
            InfraError: `not-found`.
        """
