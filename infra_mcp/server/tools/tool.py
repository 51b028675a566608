"""What a tool is, what a call of it knows, and how a call waits without losing what it waits for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import anyio
from pydantic import BaseModel

from infra_mcp.mesh.attending import Desk
from infra_mcp.mesh.limits import Limits
from infra_mcp.mesh.notify import Releases
from infra_mcp.mesh.peers import Presence
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import Door
from infra_mcp.server.answers import Answer

if TYPE_CHECKING:
    from infra_mcp.engine import Engine
    from infra_mcp.server.person import Person

__all__ = ["Call", "Service", "Tool", "Toolset", "until", "watch"]

T = TypeVar("T")

_PAUSE = 0.05  # seconds
_SLICE = 1.0  # seconds between two signs of life; hosts give up on silence, and promise is 2


# Which tools a server offers: all, or without the typed changes, or without the mesh (for hosts that have Repowire's).
Toolset = Literal["all", "mesh", "change"]


@dataclass
class Service:
    """What all calls of one server share.

    `desk` is where sessions attend: `await group.start(service.desk.open)` before the doors accept calls.
    """

    engine: Engine
    presence: Presence = field(default_factory=Presence)
    stopping: anyio.Event = field(default_factory=anyio.Event)
    toolset: Toolset = "all"
    desk: Desk = field(init=False)
    limits: Limits = field(init=False)
    releases: Releases = field(init=False)

    def __post_init__(self) -> None:
        self.desk = Desk(self.engine)
        self.limits = Limits(self.engine)
        self.releases = Releases(self.engine)


@dataclass(frozen=True)
class Call:
    """One call: who calls, by which door, how to tell how far it is, and how to ask the person behind it."""

    service: Service
    caller: Caller
    door: Door
    progress: Callable[[float, str], Awaitable[None]]
    person: Person | None = None  # None where there is no client to ask

    @property
    def engine(self) -> Engine:
        """The engine all calls share."""
        return self.service.engine


@dataclass(frozen=True)
class Tool:
    """A tool: name, words for a model, arguments, annotations, and what answers it.

    `action` names the policy action without which a peer does not see the tool; None is for everyone.
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
    action: str | None = None
    recorded: bool = False  # a refused call leaves a row in the ledger
    mail: bool = False  # about the caller's own messages: nothing for one who only looks
    people: bool = False  # only where a person stands behind the caller: operators and attending sessions


async def watch(
    call: Call,
    wait: Callable[[float], Awaitable[T]],
    done: Callable[[T], bool],
    seconds: float,
    say: Callable[[T], str],
) -> T:
    """Wait until `done`, at most `seconds`, with progress at least every two seconds.

    Ends early, with what is known, when the server stops: the work goes on without the wait.

    Args:
        call: whose progress is reported.
        wait: waits up to the given seconds for the end and returns the state of things; wakes at the end.
        done: whether that state is the end.
        seconds: the longest wait; 0 only looks.
        say: the state in words, for the progress message.
    """
    started = anyio.current_time()
    latest = await wait(0.0)
    while not done(latest):
        passed = anyio.current_time() - started
        if passed >= seconds or call.service.stopping.is_set():
            break
        await call.progress(passed, say(latest))
        left = min(_SLICE, seconds - passed)
        fresh = await until(call.service.stopping, partial(wait, left))
        if fresh is not None and not done(fresh) and anyio.current_time() - started - passed < left / 2:
            await anyio.sleep(_PAUSE)  # woken without an end: do not spin
        latest = latest if fresh is None else fresh
    return latest


async def until(stop: anyio.Event, wait: Callable[[], Awaitable[T]]) -> T | None:
    """The result of `wait`, or None when the stop came first."""
    result: T | None = None
    failure: Exception | None = None
    async with anyio.create_task_group() as group:

        async def cut() -> None:
            await stop.wait()
            group.cancel_scope.cancel()

        group.start_soon(cut)
        try:
            result = await wait()
        except Exception as error:  # noqa: BLE001 - raised again below, as itself instead of inside a group
            failure = error
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return result
