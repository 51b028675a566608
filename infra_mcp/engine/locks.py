"""One holder at a time for each target and file, first come first served."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import anyio


class Locks:
    """Locks by key, held from a request's planning to its end.

    They live in the one process that owns the ledger. A request's record keeps its keys, and after a restart those that
    were interrupted take the same ones again before anything new is begun.
    """

    def __init__(self) -> None:
        self._locks: dict[str, anyio.Semaphore] = {}
        self._users: dict[str, int] = {}

    @asynccontextmanager
    async def hold(self, keys: Iterable[str]) -> AsyncIterator[Held]:
        """Hold every key, and what is added to them, until the block ends."""
        held = Held(self)
        try:
            await held.wait_for(frozenset(keys))
            yield held
        finally:
            held.release()

    async def take(self, key: str) -> None:
        """Wait for one key."""
        self._users[key] = self._users.get(key, 0) + 1
        try:
            await self._locks.setdefault(key, anyio.Semaphore(1, max_value=1)).acquire()
        except BaseException:
            self._leave(key)
            raise

    def take_nowait(self, key: str) -> bool:
        """Take one key if nobody holds it."""
        lock = self._locks.setdefault(key, anyio.Semaphore(1, max_value=1))
        try:
            lock.acquire_nowait()
        except anyio.WouldBlock:
            return False
        self._users[key] = self._users.get(key, 0) + 1
        return True

    def give_back(self, key: str) -> None:
        """Let go of one key."""
        self._locks[key].release()
        self._leave(key)

    def _leave(self, key: str) -> None:
        self._users[key] -= 1
        if not self._users[key]:
            del self._users[key], self._locks[key]


class Held:
    """The keys that one request holds."""

    def __init__(self, locks: Locks) -> None:
        self._locks = locks
        self.keys: frozenset[str] = frozenset()

    def extend(self, keys: frozenset[str]) -> bool:
        """Hold more keys, if all of them are free; otherwise hold what was held before.

        Returns:
            Whether all are held now.
        """
        taken: list[str] = []
        for key in sorted(keys - self.keys):
            if not self._locks.take_nowait(key):
                for one in taken:
                    self._locks.give_back(one)
                return False
            taken.append(key)
        self.keys |= keys
        return True

    async def wait_for(self, keys: frozenset[str]) -> None:
        """Let go of everything, and hold these keys as soon as they are free.

        They are taken in one order everywhere, so that no two requests wait for each other.
        """
        self.release()
        for key in sorted(keys):
            await self._locks.take(key)
            self.keys |= {key}

    def release(self) -> None:
        """Let go of everything."""
        for key in self.keys:
            self._locks.give_back(key)
        self.keys = frozenset()
