"""One holder at a time for each object, first come first served."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

import anyio

__all__ = ["ObjectLocks"]


class ObjectLocks:
    """Locks by object key, held from a request's planning to its end.

    They live in the one process that owns the ledger. After a restart the requests that were interrupted take theirs
    again before anything new is begun, so nothing needs to be stored.
    """

    def __init__(self) -> None:
        self._locks: dict[str, anyio.Lock] = {}
        self._users: dict[str, int] = {}

    @asynccontextmanager
    async def hold(self, keys: Iterable[str]) -> AsyncIterator[None]:
        """Hold every key; taken in one order everywhere, so that no two requests wait for each other."""
        async with AsyncExitStack() as stack:
            for key in sorted(set(keys)):
                lock = self._join(key)
                stack.callback(self._leave, key)
                await stack.enter_async_context(lock)
            yield

    def _join(self, key: str) -> anyio.Lock:
        self._users[key] = self._users.get(key, 0) + 1
        return self._locks.setdefault(key, anyio.Lock())

    def _leave(self, key: str) -> None:
        self._users[key] -= 1
        if not self._users[key]:
            del self._users[key], self._locks[key]
