"""One holder at a time for each target and file, first come first served."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

import anyio


class Locks:
    """Locks by key, held from a request's planning to its end.

    They live in the one process that owns the ledger. A request's record keeps its keys, and after a restart the
    interrupted requests take the same keys again before anything new begins.
    """

    def __init__(self) -> None:
        # A lock exists as long as a request holds it or waits for it.
        self._locks: WeakValueDictionary[str, anyio.Semaphore] = WeakValueDictionary()

    def of(self, key: str) -> anyio.Semaphore:
        """The lock of one key."""
        return self._locks.setdefault(key, anyio.Semaphore(1, max_value=1))

    @asynccontextmanager
    async def hold(self, keys: Iterable[str]) -> AsyncIterator[Held]:
        """Hold every key, and what is added to them, until the block ends."""
        held = Held(self)
        try:
            await held.wait_for(frozenset(keys))
            yield held
        finally:
            held.release()


class Held:
    """The keys that one request holds."""

    def __init__(self, locks: Locks) -> None:
        self._locks = locks
        self._held: dict[str, anyio.Semaphore] = {}

    @property
    def keys(self) -> frozenset[str]:
        """The keys that are held now."""
        return frozenset(self._held)

    def extend(self, keys: frozenset[str]) -> bool:
        """Hold more keys if all of them are free; otherwise change nothing and return False."""
        taken: dict[str, anyio.Semaphore] = {}
        for key in sorted(keys - self.keys):
            lock = self._locks.of(key)
            try:
                lock.acquire_nowait()
            except anyio.WouldBlock:
                for other in taken.values():
                    other.release()
                return False
            taken[key] = lock
        self._held |= taken
        return True

    async def wait_for(self, keys: frozenset[str]) -> None:
        """Release everything, and hold these keys as soon as they are free.

        Every request takes them in the same order, so that no two wait for each other.
        """
        self.release()
        for key in sorted(keys):
            lock = self._locks.of(key)
            await lock.acquire()
            self._held[key] = lock

    def release(self) -> None:
        """Release everything."""
        while self._held:
            self._held.popitem()[1].release()
