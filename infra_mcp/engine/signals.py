"""Waking whoever waits for news of a request, an ask or an inbox, at once and in this process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import anyio

T = TypeVar("T")

IDENTITIES = "identities"  # woken when a token or a peer ended: who waits is to be looked at again

_MOST = 1000  # names that others are woken with


class Signals:
    """Waiters by name: a request's id, an ask's id, an inbox (`Address.signal`).

    A signal is a hint to look at the ledger again, never the news itself.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, set[anyio.Event]] = {}
        self._also: dict[str, set[str]] = {}

    @contextmanager
    def waiter(self, *names: str) -> Iterator[anyio.Event]:
        """An event that `wake` sets for any of the names. Taken before looking, so that nothing is missed between."""
        event = anyio.Event()
        for name in names:
            self._waiting.setdefault(name, set()).add(event)
        try:
            yield event
        finally:
            for name in set(names):
                waiting = self._waiting[name]
                waiting.discard(event)
                if not waiting:
                    del self._waiting[name]

    async def until(
        self,
        names: Sequence[str],
        look: Callable[[], Awaitable[T]],
        done: Callable[[T], bool],
        seconds: float,
        seen: Callable[[T], None] | None = None,
    ) -> T:
        """What `look` finds, as soon as it is `done`, or when the seconds have run out. Looks at every signal.

        Args:
            names: the signals.
            look: finds out how things are.
            done: whether that is what is waited for.
            seconds: the longest wait; 0 only looks.
            seen: told what each look finds.
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
        """From now on wake who waits for `other`, too, when `name` is woken. What was said long ago is forgotten."""
        if len(self._also) >= _MOST and name not in self._also:
            del self._also[next(iter(self._also))]
        self._also.setdefault(name, set()).add(other)

    def wake(self, *names: str) -> None:
        """Wake everyone who waits for one of the names."""
        others = [other for name in names for other in self._also.get(name, ())]
        for name in {*names, *others}:
            for event in self._waiting.get(name, ()):
                event.set()
