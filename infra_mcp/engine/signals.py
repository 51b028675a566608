"""Waking whoever waits for the end of a request, at once and in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import anyio

__all__ = ["Signals"]


class Signals:
    """Waiters by request id. A signal is a hint to look at the ledger again, never the news itself."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[anyio.Event]] = {}

    @contextmanager
    def waiter(self, name: str) -> Iterator[anyio.Event]:
        """An event that `wake(name)` sets. Taken before looking, so that nothing is missed in between."""
        event = anyio.Event()
        self._waiting.setdefault(name, set()).add(event)
        try:
            yield event
        finally:
            waiting = self._waiting[name]
            waiting.discard(event)
            if not waiting:
                del self._waiting[name]

    def wake(self, name: str) -> None:
        """Wake everyone who waits for `name`."""
        for event in self._waiting.get(name, ()):
            event.set()
