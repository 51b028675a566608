"""One call of a tool: what it knows, and how it waits without losing what it waits for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import anyio

from infra_mcp.engine.signals import IDENTITIES
from infra_mcp.errors import InfraError
from infra_mcp.gather import unwrapped
from infra_mcp.mesh.attending import AttendantSessions
from infra_mcp.mesh.limits import Limits
from infra_mcp.mesh.notify import Releases
from infra_mcp.mesh.peers import Presence
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import Channel
from infra_mcp.server.connections import ConnectionCounter
from infra_mcp.server.credentials import Credentials

if TYPE_CHECKING:
    from infra_mcp.engine import Engine
    from infra_mcp.server.tools.approve import Elicitation

T = TypeVar("T")
# Which tools a server offers: all, or without the typed changes, or without the mesh (for hosts that have Repowire's).
Toolset = Literal["all", "mesh", "change"]
Progress = Callable[[float, str], Coroutine[Any, Any, None]]  # reports the seconds passed, and the state

_PAUSE = 0.05  # seconds
_PROGRESS_EVERY = 1.0  # seconds; hosts give up on silence, and the promise is 2
_LOOK_AGAIN = 30.0  # seconds after which a wait looks although nothing woke it


@dataclass
class Service:
    """What all calls of one server share. Start `attendants.open` in a task group before the channels accept calls."""

    engine: Engine
    presence: Presence = field(default_factory=Presence)
    stopping: anyio.Event = field(default_factory=anyio.Event)
    toolset: Toolset = "all"
    connections: ConnectionCounter = field(default_factory=ConnectionCounter)
    attendants: AttendantSessions = field(init=False)
    limits: Limits = field(init=False)
    releases: Releases = field(init=False)
    credentials: Credentials = field(init=False)

    def __post_init__(self) -> None:
        self.attendants = AttendantSessions(self.engine)
        self.limits = Limits(self.engine)
        self.releases = Releases(self.engine)
        self.credentials = Credentials(self.engine)


@dataclass(frozen=True)
class Call:
    """One call: who calls, by which channel, and how to report progress to the client and ask the person behind it."""

    service: Service
    caller: Caller
    channel: Channel
    progress: Progress | None = None  # None where the client did not ask for it
    elicitation: Elicitation | None = None  # None where there is no client to ask
    current_caller: Callable[[], Awaitable[Caller]] | None = None  # the caller as of now

    @property
    def engine(self) -> Engine:
        """The engine all calls share."""
        return self.service.engine

    async def check_caller(self) -> None:
        """Identify the caller again before an effect or an answer: the token may have been revoked meanwhile.

        Raises:
            InfraError: `unauthenticated`, `token-expired`.
        """
        if self.current_caller is not None and await self.current_caller() != self.caller:
            raise InfraError("unauthenticated", "The token belongs to another caller now.")


async def watch(
    call: Call,
    wait: Callable[[float, Callable[[T], None]], Awaitable[T]],
    done: Callable[[T], bool],
    seconds: float,
    describe: Callable[[T], str],
) -> T:
    """Wait until `done`, at most `seconds`, with progress at least every two seconds where the client asked for it.

    Ends early with the newest state when the server stops: the work continues without the wait. Progress looks nothing
    up, so a wait in which nothing happens costs next to nothing.

    Args:
        call: whose progress is reported.
        wait: waits up to the given seconds for the end and returns the state; calls back with each state it sees.
        done: whether a state is the end.
        seconds: the longest wait; 0 only looks.
        describe: the state as text for a progress message; called for each message.

    Raises:
        InfraError: `unauthenticated`, as soon as the caller's token is revoked; `token-expired`, soon after its end.
    """
    started = anyio.current_time()
    latest: list[T] = []  # the newest state, once there is one
    known = anyio.Event()

    def seen(state: T) -> None:
        latest[:] = [state]
        known.set()

    async def look() -> None:
        while not (latest and done(latest[0])) and (left := started + seconds - anyio.current_time()) > 0:
            piece, begun = min(_LOOK_AGAIN, left), anyio.current_time()
            seen(await wait(piece, seen))
            if not done(latest[0]) and anyio.current_time() - begun < piece / 2:
                await anyio.sleep(_PAUSE)  # woken without an end: do not spin

    async def report(progress: Progress) -> None:
        await known.wait()
        while not done(latest[0]):
            await progress(anyio.current_time() - started, describe(latest[0]))
            await anyio.sleep(_PROGRESS_EVERY)

    async def guard() -> None:
        while True:
            with call.engine.signals.waiter(IDENTITIES) as changed:
                await call.check_caller()
                with anyio.move_on_after(_LOOK_AGAIN):  # the token may expire meanwhile
                    await changed.wait()

    if seconds > 0 and not call.service.stopping.is_set():
        beside: list[Callable[[], Coroutine[Any, Any, None]]] = [] if call.current_caller is None else [guard]
        beside += [] if call.progress is None else [partial(report, call.progress)]
        await until(call.service.stopping, look, *beside)
    return latest[0] if latest else await wait(0.0, seen)


async def until(
    stop: anyio.Event, wait: Callable[[], Awaitable[T]], *beside: Callable[[], Coroutine[Any, Any, None]]
) -> T | None:
    """The result of `wait`, or None when the stop came first.

    Args:
        stop: ends the wait.
        wait: what is waited for.
        beside: runs as long as that does; a failure of it ends the wait, too.
    """
    result: T | None = None
    with unwrapped():
        async with anyio.create_task_group() as group:

            async def end_at_stop() -> None:
                await stop.wait()
                group.cancel_scope.cancel()

            for one in (end_at_stop, *beside):
                group.start_soon(one)
            result = await wait()
            group.cancel_scope.cancel()
    return result
