"""Room for connections: fewer than there are descriptors, so that ledger, git and clusters always have some.

A connection that has not said who it is, or on which nothing is under way, holds its place until another one needs it.
A principal has a share of the places; beyond that its own oldest idle connection ends, or the new one is refused.
"""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, Literal

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS: float = 10.0  # a request's head, and a line of the socket, has to be there whole
_WISHED: Final = 8_192  # descriptors a server takes where the system lets it
_RESERVE: Final = 256  # descriptors kept for what is no connection of a client: ledger, git, clusters, accepted ones
_MOST: Final = {"http": 2_048, "socket": 1_024}  # places, where descriptors do not bound them
_PARTS: Final = {"http": 2, "socket": 1}  # of three, of the descriptors that are left
_SHARE: Final = 200  # places of one principal at most; a quarter of the room where that is less


class Room:
    """The places of one channel.

    Args:
        most: how many there are.
        share: how many one principal may have.
    """

    def __init__(self, most: int, share: int) -> None:
        self._most, self._share = most, share
        self._there: dict[Place, None] = {}
        self._idle: dict[Place, None] = {}  # the one that has been idle for longest comes first
        self._held: Counter[str] = Counter()

    def enter(self, end: Callable[[], None]) -> Place | None:
        """A place for a new connection; None when all are in use.

        Args:
            end: ends the connection; called when another one needs the place.
        """
        if len(self._there) >= self._most:
            unknown = next((one for one in self._idle if one.who is None), None)
            if not self._end(unknown or next(iter(self._idle), None)):
                return None
        place = Place(self, end)
        self._there[place] = self._idle[place] = None
        return place

    def _take(self, place: Place, who: str | None) -> bool:
        full = who is not None and who != place.who and self._held[who] >= self._share
        if full and not self._end(next((one for one in self._idle if one.who == who), None)):
            return False
        self._count(place, -1)
        place.who = who
        self._count(place, 1)
        return True

    def _count(self, place: Place, step: int) -> None:
        if place.who is not None and place in self._there:
            self._held[place.who] += step
            if not self._held[place.who]:
                del self._held[place.who]

    def _end(self, place: Place | None) -> bool:
        if place is None:
            return False
        place.leave()
        place.end()
        return True


class Place:
    """One connection's place: idle, and nobody's, until it is taken."""

    def __init__(self, among: Room, end: Callable[[], None]) -> None:
        self._room = among
        self._calls = 0
        self.end = end
        self.who: str | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing of a principal is under way, so that another connection may get the place."""
        return not self._calls

    def take(self, who: str | None) -> bool:
        """Say whose it is from now on; false when that principal's share is used up by what is under way."""
        return self._room._take(self, who)  # noqa: SLF001 - a room and its places are one thing

    def begin(self) -> None:
        """Something is under way from now on."""
        self._calls += 1
        self._room._idle.pop(self, None)  # noqa: SLF001 - as above

    def done(self) -> None:
        """That has ended."""
        self._calls -= 1
        if not self._calls and self in self._room._there:  # noqa: SLF001 - as above
            self._room._idle[self] = None  # noqa: SLF001 - as above

    def leave(self) -> None:
        """Give the place back; again does nothing."""
        self._room._count(self, -1)  # noqa: SLF001 - as above
        self._room._there.pop(self, None)  # noqa: SLF001 - as above
        self._room._idle.pop(self, None)  # noqa: SLF001 - as above


class HttpConnection(H11Protocol):
    """uvicorn's connection, with a place, and ended where neither a head nor a principal's call is there in time.

    Args:
        among: the room it is in.
        options: uvicorn's.
    """

    def __init__(self, among: Room, **options: Any) -> None:  # noqa: ANN401 - what uvicorn's protocol takes
        super().__init__(**options)
        self._room = among
        self._place: Place | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place, or end at once where none can be had."""
        super().connection_made(transport)
        self._place = self._room.enter(transport.abort)
        if self._place is None:
            transport.abort()
            return
        self.app_state = {**self.app_state, "place": self._place}
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        if self._deadline is not None:
            self._deadline.cancel()
        if self._place is not None:
            self._place.leave()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Give a head that is whole as much time again to be found a principal's, or to be answered."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._wait()

    def on_response_complete(self) -> None:
        """Wait for the next head; what comes meanwhile, byte by byte, gets no more time."""
        super().on_response_complete()
        self._wait()

    def _wait(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._late)

    def _late(self) -> None:
        if self._place is None or self._place.idle:
            self.transport.abort()


def room(channel: Literal["http", "socket"]) -> Room:
    """The room of a channel, by what descriptors this process may have; the soft limit is raised first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wished = _WISHED if hard == resource.RLIM_INFINITY else min(hard, _WISHED)
    if soft != resource.RLIM_INFINITY and soft < wished:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wished, hard))
        soft = wished
    limit = _WISHED if soft == resource.RLIM_INFINITY else soft
    left = limit - min(_RESERVE, limit // 2)
    most = max(4, min(_MOST[channel], left * _PARTS[channel] // 3))
    return Room(most, max(1, min(_SHARE, most // 4)))
