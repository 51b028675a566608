"""The protocol of drivers: a driver makes the content of a path live at one place, or confirms that others did.

The engine knows this protocol and no driver. It calls `plan`, decides, commits, and then `apply` and `verify`; after a
failure `observe`, `undo` and `settled`. Every method may raise `InfraError`; `Unavailable`, when nothing answered; and
`Moved`, when the live state changed since the plan, so that it must be planned again. No library's error leaves a
driver.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import anyio
from pydantic import JsonValue

from infra_mcp.clients.forge.forge import Forge
from infra_mcp.errors import InfraError
from infra_mcp.masking import Masker
from infra_mcp.model.effect import Change, Drift
from infra_mcp.model.outcome import Written
from infra_mcp.model.target import Target
from infra_mcp.policy.policy import Policy
from infra_mcp.repository.edits import Beside, FileEdit, Goal, InstanceChange, Location
from infra_mcp.repository.render import Located
from infra_mcp.repository.value import Tree


@dataclass(frozen=True)
class Context:
    """The request that a driver works for."""

    request: str  # its id; writes may be marked with it
    circle: str  # the requester's circle: the work is done with its identity
    policy: Policy  # in force
    say: Callable[[str], None] = lambda _: None  # reports progress, for people
    # Raises what policy has against changes. Called before the place is asked about them: else its own refusal answers
    # first, and does not say what would pass.
    require: Callable[[Iterable[Change]], None] = lambda _: None
    resumed: bool = False  # after an interruption: writes with this request's mark are ours
    # The commit on the branch that has the change, and the one that was proposed for it; empty before there is one.
    commit: str = ""
    head: str = ""
    nonce: str = ""  # a secret of this request: a created object that shows it is ours
    made: frozenset[str] = frozenset()  # keys of the targets that earlier parts of this request create
    written: tuple[Written, ...] = ()  # the writes recorded before the interruption
    before: JsonValue = field(default=None, repr=False)  # what the driver recorded of its part: `Prepared.before`
    seen: dict[str, Any] = field(default_factory=dict, repr=False)  # the driver's reads in this planning


@dataclass(frozen=True)
class Build:
    """A kustomization that a change reaches."""

    root: str  # its folder
    before: tuple[Located, ...]  # what it gave
    after: tuple[Located, ...]  # what it gives with the change
    # Where nothing changes in git: what it would give with other values at the places that the request is about.
    other: tuple[Located, ...] | None = None
    files: frozenset[str] = frozenset()  # every file that it read


@dataclass(frozen=True)
class Share:
    """One driver's share of an edit, at one place."""

    addressed: tuple[Location, ...]  # changed or not
    beside: tuple[Beside, ...]  # the work without a file
    before: Tree  # the repository before this stage's edit
    after: Tree  # the repository with it
    goal: Goal
    builds: tuple[Build, ...] = ()  # of the kustomizations that it reaches; their files are not among `addressed`
    instance: InstanceChange | None = None  # the instance of an app that the edit is about
    changes: tuple[FileEdit, ...] = ()  # the edit as data


@dataclass(frozen=True)
class Prepared:
    """A driver's plan of a share."""

    changes: tuple[Change, ...]  # all that it looked at, with the changes: this is shown, decided and approved
    writes: tuple[Written, ...]  # the writes to make; none when everything is already as asked
    on_failure: Literal["rollback", "hold"]  # restore the former state, or leave it for people to look at
    timeout: float  # seconds in which it must have landed, counted from its last write
    own: Any  # the driver's; nothing else looks into it
    needs: tuple[Target, ...] = ()  # targets that must exist before the first write
    drift: tuple[Drift, ...] = ()  # differences that are left alone
    notes: tuple[str, ...] = ()  # remarks for the reader of the plan
    confirms: bool = True  # `verify` can tell that it is live; else the request ends with the commit
    # Of a driver of another's delivery: the state before the commit, which a restart could read no more. The first one
    # that is recorded stays; only the driver reads it.
    before: JsonValue = None
    last: bool = False  # it can neither be undone nor be kept safely: no stage may come after it


@dataclass(frozen=True)
class Undone:
    """The result of an undo, for people."""

    restored: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()  # changed by others since or created by us, each with the reason


@dataclass(frozen=True)
class Owner:
    """What delivers a live thing, or made it."""

    tool: str  # for people: `Flux`; empty where it is an object that no tool is known by
    kind: str  # `HelmRelease`, `release`
    name: str = ""  # empty where it is unknown
    namespace: str = ""
    group: str = ""  # the API group of its object; empty where it is no object

    def __str__(self) -> str:
        """As people write it: `Flux HelmRelease media/player`."""
        name = f"{self.namespace}/{self.name or '?'}" if self.namespace else self.name
        return " ".join(filter(None, (self.tool, self.kind, name)))


@dataclass(frozen=True)
class Question:
    """The subject of a status: an app of the catalogue, or a scope (a namespace, a zone)."""

    app: str | None = None
    scope: str | None = None
    tree: Tree | None = field(default=None, repr=False)  # the repository, to name drift; None where it is not read


class Place(NamedTuple):
    """What a place's name stands for in a policy."""

    where: str  # for people; a request ends at the place where it began
    settings: Hashable  # a change of them makes a new connection


@contextmanager
def _no_news() -> Iterator[anyio.Event]:
    yield anyio.Event()


async def _no_forge(_: Policy) -> Forge:
    raise InfraError("setup-failed", "The server is not connected to a forge.")


@dataclass(frozen=True)
class Setup:
    """What a driver may be connected with, beside the policy."""

    kubeconfig: Path  # contexts are read from it
    key: Callable[[str], Awaitable[bytes]]  # gives a key of this ledger by its purpose, for keyed hashes
    masker: Masker  # learns every secret that is read
    state: Path = Path()  # the server's state directory: a driver has a folder of its own below it
    forge: Callable[[Policy], Awaitable[Forge]] = _no_forge  # the forge that a policy names
    # An event that is set when the forge may have news; it is taken before one looks, so that nothing is missed.
    news: Callable[[], AbstractContextManager[anyio.Event]] = _no_news


@dataclass(frozen=True)
class Delivery:
    """One way in which the content of a path becomes live."""

    name: str  # in policy; its driver's name too
    system: str  # the system that holds its driver's targets
    place: Callable[[Policy, str], Place]  # resolves a place's name
    connect: Callable[[Setup, Policy, str], AbstractAsyncContextManager[Driver]]  # to a named place, for a block


class Driver(Protocol):
    """A driver, connected to one place."""

    where: str  # the place, for people: a request ends where it began
    carries_out: bool  # or others do: then there is nothing to apply, and an undo waits until the revert is live

    async def read(self, context: Context, target: Target) -> dict[str, Any] | None:
        """One live thing, for an edit that must know it; None when it is not there or may not be seen."""

    async def owner(self, context: Context, target: Target) -> Owner | None:
        """What delivers a live thing; None where nothing shows it, or the thing may not be seen."""

    async def plan(self, context: Context, share: Share) -> Prepared:
        """Compare a share with the live state. Writes nothing; the same state gives the same changes.

        Raises:
            Moved: the state changed during the comparison; plan again, with a new context.
        """

    async def apply(self, context: Context, prepared: Prepared) -> None:
        """Write the plan, each write bound to the state that it was planned on.

        Raises:
            Moved: the state changed; plan again.
        """

    async def verify(self, context: Context, prepared: Prepared, seconds: float) -> str:
        """Wait until everything is observed as planned, and say what is now true.

        Raises:
            InfraError: `not-landed`, with the cause; `object-moved`, when something was replaced meanwhile.
        """

    async def present(self, context: Context, target: Target) -> bool:
        """Whether a later part may count on a target that this one creates."""

    async def observe(self, context: Context, written: Sequence[Written]) -> bool:
        """Whether any of these writes of ours shows."""

    async def undo(self, context: Context, written: Sequence[Written]) -> Undone:
        """Restore the former state, only where it is still as we left it. Doing it twice writes once."""

    async def settled(self, context: Context, written: Sequence[Written], seconds: float) -> str:
        """Wait until the restored state is live again, and say so.

        Raises:
            InfraError: it is not, with the cause.
        """

    async def answers(self) -> bool:
        """Whether the place answers now, and takes the server's login."""

    async def excess(self) -> str:
        """The login's rights that it should not have, in a sentence; empty without any. Waits for an answer."""

    async def status(self, context: Context, question: Question) -> dict[str, Any]:
        """The state and health of an app or scope, as far as the circle may see.

        Raises:
            InfraError: `not-found`.
        """
