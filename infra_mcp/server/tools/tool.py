"""What a tool is, what a call of it knows, and how a call waits without losing what it waits for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import anyio
from pydantic import BaseModel

from infra_mcp.engine.signals import IDENTITIES
from infra_mcp.errors import InfraError
from infra_mcp.mesh.attending import AttendantSessions
from infra_mcp.mesh.limits import Limits
from infra_mcp.mesh.notify import Releases
from infra_mcp.mesh.peers import Presence
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import Channel
from infra_mcp.server.answers import Answer

if TYPE_CHECKING:
    from infra_mcp.engine import Engine
    from infra_mcp.server.elicitation import Person

T = TypeVar("T")
# Tells the client seconds passed, and how far it is.
Progress = Callable[[float, str], Awaitable[None]]

_PAUSE = 0.05  # seconds
_SLICE = 1.0  # seconds between two signs of life; hosts give up on silence, and promise is 2
_AGAIN = 30.0  # seconds until a wait that nothing has woken looks all the same


# Which tools a server offers: all, or without the typed changes, or without the mesh (for hosts that have Repowire's).
Toolset = Literal["all", "mesh", "change"]


@dataclass
class Service:
    """What all calls of one server share.

    `desk` is where sessions attend: `await group.start(service.desk.open)` before the channels accept calls.
    """

    engine: Engine
    presence: Presence = field(default_factory=Presence)
    stopping: anyio.Event = field(default_factory=anyio.Event)
    toolset: Toolset = "all"
    attendants: AttendantSessions = field(init=False)
    limits: Limits = field(init=False)
    releases: Releases = field(init=False)

    def __post_init__(self) -> None:
        self.attendants = AttendantSessions(self.engine)
        self.limits = Limits(self.engine)
        self.releases = Releases(self.engine)


@dataclass(frozen=True)
class Call:
    """One call: who calls, by which channel, how to tell how far it is, and how to ask the person behind it."""

    service: Service
    caller: Caller
    channel: Channel
    progress: Progress | None  # None where the client did not ask for it
    person: Person | None = None  # None where there is no client to ask
    known: Callable[[], Awaitable[Caller]] | None = None  # who calls, by now

    async def still_known(self) -> None:
        """Look again who calls, before something takes effect or is told: the token may have ended meanwhile.

        Raises:
            InfraError: `unauthenticated`.
        """
        if self.known is not None and await self.known() != self.caller:
            raise InfraError("unauthenticated", "The caller is another one by now.")

    @property
    def engine(self) -> Engine:
        """The engine all calls share."""
        return self.service.engine


@dataclass(frozen=True)
class Tool:
    """A tool: name, words for a model, arguments, annotations, and what answers it.

    `actions` names the policy actions without any of which a peer does not see the tool; None is for everyone.
    """

    name: str
    title: str
    description: str
    arguments: type[BaseModel]
    answer: Callable[[Call, Any], Awaitable[Answer]]
    read_only: bool
    destructive: bool = False
    idempotent: bool = True
    open_world: bool = False
    actions: frozenset[str] | None = None
    recorded: bool = False  # a refused call leaves a row in the ledger
    mail: bool = False  # about the caller's own messages: nothing for one who only looks
    people: bool = False  # only where a person stands behind the caller: operators and attending sessions


async def watch(
    call: Call,
    wait: Callable[[float, Callable[[T], None]], Awaitable[T]],
    done: Callable[[T], bool],
    seconds: float,
    say: Callable[[T], str],
) -> T:
    """Wait until `done`, at most `seconds`, with progress at least every two seconds where the client asked for it.

    Ends early, with what is known, when the server stops: the work goes on without the wait. Nothing is looked up for
    the sake of progress, so a wait in which nothing happens costs next to nothing. Ends at once when the caller's token
    does.

    Args:
        call: whose progress is reported.
        wait: waits up to the given seconds for the end and returns the state of things; wakes at the end, and tells
            what it sees meanwhile.
        done: whether that state is the end.
        seconds: the longest wait; 0 only looks.
        say: the newest known state in words, for the progress message; called at each message.

    Raises:
        InfraError: `unauthenticated`, when the caller's token ended.
    """
    started = anyio.current_time()
    latest: list[T] = []  # the newest, once there is one
    known = anyio.Event()

    def seen(state: T) -> None:
        latest[:] = [state]
        known.set()

    async def looking() -> None:
        while not (latest and done(latest[0])) and (left := started + seconds - anyio.current_time()) > 0:
            piece, begun = min(_AGAIN, left), anyio.current_time()
            seen(await wait(piece, seen))
            if not done(latest[0]) and anyio.current_time() - begun < piece / 2:
                await anyio.sleep(_PAUSE)  # woken without an end: do not spin

    async def telling(progress: Progress) -> None:
        await known.wait()
        while not done(latest[0]):
            await progress(anyio.current_time() - started, say(latest[0]))
            await anyio.sleep(_SLICE)

    async def guarding() -> None:
        while True:
            with call.engine.signals.waiter(IDENTITIES) as ended:
                await call.still_known()
                await ended.wait()

    if seconds > 0 and not call.service.stopping.is_set():
        beside: list[Callable[[], Awaitable[None]]] = [] if call.known is None else [guarding]
        beside += [] if call.progress is None else [partial(telling, call.progress)]
        await until(call.service.stopping, looking, *beside)
    return latest[0] if latest else await wait(0.0, seen)


async def until(
    stop: anyio.Event, wait: Callable[[], Awaitable[T]], *beside: Callable[[], Awaitable[None]]
) -> T | None:
    """The result of `wait`, or None when the stop came first.

    Args:
        stop: ends the wait.
        wait: what is waited for.
        beside: what runs as long as that does; a failure of it ends the wait, too.
    """
    result: T | None = None
    failure: Exception | None = None
    async with anyio.create_task_group() as group:

        async def guarded(run: Callable[[], Awaitable[T | None]]) -> T | None:
            nonlocal failure
            try:
                return await run()
            except Exception as error:  # noqa: BLE001 - raised again below, as itself instead of inside a group
                failure = failure or error
                group.cancel_scope.cancel()
                return None

        async def cut() -> None:
            await stop.wait()
            group.cancel_scope.cancel()

        group.start_soon(cut)
        for one in beside:
            group.start_soon(guarded, one)
        result = await guarded(wait)
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return result
