"""Connections: their count, and room for fewer than there are descriptors, so that ledger, git and clusters have some.

A connection without a principal or a call under way keeps its place until another one needs it. A principal has a share
of the places; beyond that its own oldest idle connection ends, or the new one is refused.
"""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from typing import Any, Final, Literal

import anyio
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS: float = 10.0  # for a whole head of a request, and a whole line of the socket
_DESCRIPTORS: Final = 8_192  # a server takes so many where the system lets it
_RESERVE: Final = 256  # descriptors that clients' connections leave for ledger, git and clusters
_MAX_PLACES: Final = {"http": 2_048, "socket": 1_024}  # where descriptors do not bound them
_THIRDS: Final = {"http": 2, "socket": 1}  # of the descriptors that are left
# Why a call over HTTP is refused before any tool: its head, or, from other machines, what `outside` refuses.
REASONS: Final = ("head", "without-tls", "no-such-path", "compressed", "too-many")
_MAX_SHARE: Final = 200  # places of one principal; a quarter of the room where that is less


class ConnectionCounter:
    """Counts open connections and calls under way, so that a server started on demand knows when to leave.

    Attributes:
        refused: how many calls over HTTP were refused before any tool saw them, by the reason.
    """

    def __init__(self) -> None:
        self.refused: Counter[str] = Counter()
        self._count = 0
        self._changed = anyio.Event()
        self._rooms: dict[str, Room] = {}
        self.unauthenticated = 0  # requests over HTTP that were answered with 401

    def room(self, channel: Literal["http", "socket"]) -> Room:
        """The room of a channel, made by the descriptors that there are, and counted from now on."""
        self._rooms[channel] = room(channel)
        return self._rooms[channel]

    def by_channel(self) -> dict[str, int]:
        """The open connections of each channel."""
        return {channel: len(one) for channel, one in self._rooms.items()}

    def refusals(self) -> dict[str, int]:
        """How many calls over HTTP were refused before any tool saw them, by the reason, since the start."""
        tokens = {"token": self.unauthenticated} if self.unauthenticated else {}
        return tokens | dict(self.refused)

    @property
    def present(self) -> bool:
        """Whether there is one now."""
        return self._count > 0

    @contextmanager
    def visit(self) -> Iterator[None]:
        """Count one as long as the block lasts."""
        self._change(1)
        try:
            yield
        finally:
            self._change(-1)

    async def absent(self, seconds: float) -> None:
        """Return when there has been none for that long, counted from now or from the end of the last one."""
        while True:
            changed = self._changed
            with anyio.move_on_after(inf if self._count else seconds):
                await changed.wait()
            if changed is self._changed:
                return

    def _change(self, step: int) -> None:
        self._count += step
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


class Room:
    """The places of one channel: how many there are, and how many one principal may have."""

    def __init__(self, places: int, share: int) -> None:
        self._places, self._share = places, share
        self._taken: dict[Place, None] = {}  # of the idle ones, the one that has been idle for longest comes first
        self._held: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._taken)

    def enter(self, end: Callable[[], None]) -> Place | None:
        """A place for a new connection; None when all are in use. `end` ends it when another one needs the place."""
        if len(self._taken) >= self._places and not (
            self._end_idle(lambda one: one.who is None) or self._end_idle(lambda _: True)
        ):
            return None
        place = Place(self, end)
        self._taken[place] = None
        return place

    def _end_idle(self, may_end: Callable[[Place], bool]) -> bool:
        place = next((one for one in self._taken if one.idle and may_end(one)), None)
        if place is not None:
            place.leave()
            place.end()
        return place is not None

    def _count(self, place: Place, step: int) -> None:
        if place.who is not None and place in self._taken:
            self._held[place.who] += step
            if not self._held[place.who]:
                del self._held[place.who]


@dataclass(eq=False)
class Place:
    """One connection's place in a room: idle, and without a principal until it is taken."""

    # ruff: noqa: SLF001 - a room and its places are one thing

    _room: Room
    end: Callable[[], None]
    who: str | None = None
    _calls: int = 0

    @property
    def idle(self) -> bool:
        """Whether no call of a principal is under way, so that another connection may get the place."""
        return not self._calls

    def take(self, who: str | None) -> bool:
        """Set its principal; false when calls under way use up that principal's share."""
        room = self._room
        full = who is not None and who != self.who and room._held[who] >= room._share
        if full and not room._end_idle(lambda one: one.who == who):
            return False
        room._count(self, -1)
        self.who = who
        room._count(self, 1)
        return True

    def begin(self) -> None:
        """A call is under way from now on."""
        self._calls += 1

    def done(self) -> None:
        """That call has ended."""
        self._calls -= 1
        if not self._calls and self in self._room._taken:
            del self._room._taken[self]
            self._room._taken[self] = None  # now the last of the idle ones

    @contextmanager
    def call(self) -> Iterator[None]:
        """A call is under way while the block runs; the principal is forgotten after the last one."""
        self.begin()
        try:
            yield
        finally:
            self.done()
            if self.idle:
                self.take(None)

    def leave(self) -> None:
        """Give the place back; again does nothing."""
        self._room._count(self, -1)
        self._room._taken.pop(self, None)


class HttpConnection(H11Protocol):
    """uvicorn's connection, with a place; it ends where neither a head nor a principal's call comes in time."""

    def __init__(self, room: Room, **options: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(**options)
        self._room = room
        self._place: Place | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place, or end at once without one."""
        super().connection_made(transport)
        self._place = self._room.enter(transport.abort)
        if self._place is None:
            transport.abort()
            return
        self.app_state = {**self.app_state, "place": self._place}
        self._limit_time()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        if self._deadline is not None:
            self._deadline.cancel()
        if self._place is not None:
            self._place.leave()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Give a whole head as much time again to become a principal's call, or to be answered."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._limit_time()

    def on_response_complete(self) -> None:
        """Limit the time for the next head; a head that trickles gets no more."""
        super().on_response_complete()
        self._limit_time()

    def _limit_time(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._end_late)

    def _end_late(self) -> None:
        if self._place is None or self._place.idle:
            self.transport.abort()


def room(channel: Literal["http", "socket"]) -> Room:
    """The room of a channel, by the descriptors this process may have; the soft limit is raised first."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = (_DESCRIPTORS if limit == resource.RLIM_INFINITY else min(limit, _DESCRIPTORS) for limit in limits)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, limits[1]))
        soft = hard
    left = soft - min(_RESERVE, soft // 2)
    places = max(4, min(_MAX_PLACES[channel], left * _THIRDS[channel] // 3))
    return Room(places, max(1, min(_MAX_SHARE, places // 4)))
