"""Wakes tasks of this process that wait for news of a request, an ask or an inbox."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import anyio

from infra_mcp.model.peer import Address
from infra_mcp.model.request import Request

T = TypeVar("T")

IDENTITIES = "identities"  # woken when a token or a peer ended: check the callers of open waits again
PARKED_CHANGED = "parked requests"  # wakes the scheduler
PROPOSALS = "proposals"  # woken when the forge has news: look at open proposals and at checks again

_MAX_NAMES = 1000  # that others are woken with


def signals_of(request: Request) -> tuple[str, ...]:
    """The names to wake on news of a request: itself, its asker's inbox, the scheduler, and its ask."""
    inbox = Address(name=request.caller.name, circle=request.caller.circle).signal
    return (request.id, inbox, PARKED_CHANGED, *([request.ask] if request.ask else []))


class Signals:
    """Waiters by name: a request's id, an ask's id, an inbox (`Address.signal`).

    A signal is a hint to read the ledger again, never the news itself.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, set[anyio.Event]] = {}
        self._also: dict[str, set[str]] = {}

    @contextmanager
    def waiter(self, *names: str) -> Iterator[anyio.Event]:
        """An event that `wake` sets for any of the names. Take it before you look, so that nothing is missed."""
        event = anyio.Event()
        for name in names:
            self._waiting.setdefault(name, set()).add(event)
        try:
            yield event
        finally:
            for name in set(names):
                self._waiting[name].discard(event)
                if not self._waiting[name]:
                    del self._waiting[name]

    async def until(
        self,
        names: Sequence[str],
        look: Callable[[], Awaitable[T]],
        done: Callable[[T], bool],
        seconds: float,
        seen: Callable[[T], None] | None = None,
    ) -> T:
        """What `look` finds once it is `done`, or when the time is over; zero `seconds` look once.

        It looks again at every signal, and calls `seen` each time.
        """
        deadline = anyio.current_time() + seconds
        while True:
            with self.waiter(*names) as event:
                found = await look()
                if seen is not None:
                    seen(found)
                left = deadline - anyio.current_time()
                if done(found) or left <= 0:
                    return found
                with anyio.move_on_after(left):
                    await event.wait()

    def also(self, name: str, other: str) -> None:
        """From now on a wake of `name` wakes `other` too. The oldest such pairs are forgotten."""
        if len(self._also) >= _MAX_NAMES and name not in self._also:
            del self._also[next(iter(self._also))]
        self._also.setdefault(name, set()).add(other)

    def wake(self, *names: str) -> None:
        """Wake every task that waits for one of the names."""
        others = [other for name in names for other in self._also.get(name, ())]
        for name in {*names, *others}:
            for event in self._waiting.get(name, ()):
                event.set()
