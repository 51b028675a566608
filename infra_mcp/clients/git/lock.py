"""The lock on the repository, which outlives a killed server for as long as its git children run."""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio import to_thread

from infra_mcp.errors import InfraError

POLL_SECONDS = 0.02


@dataclass
class Hold:
    """A held lock, with its descriptor for the children that write."""

    lock: RepositoryLock
    descriptor: int
    live: bool = True


# What each task holds: a call inside `hold` must not wait for itself.
_held: ContextVar[tuple[Hold, ...]] = ContextVar("held", default=())


class RepositoryLock:
    """An exclusive lock (flock(2)) that git children inherit.

    It is released by closing, never by LOCK_UN, which would take it from a child that still writes: the kernel frees it
    when the last descriptor of this opening is closed.

    Args:
        path: the lock file; created when missing, with its directory.
        patience: how long to wait for it, in seconds.
    """

    def __init__(self, path: Path, patience: float) -> None:
        self.path = path
        self.patience = patience

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[Hold]:
        """Hold the lock; a task that holds it already gets the same hold again.

        Raises:
            InfraError: `git-failed`, when another process kept it for longer than the patience.
        """
        for hold in _held.get():
            if hold.live and hold.lock is self:
                yield hold
                return
        hold = Hold(self, await to_thread.run_sync(self._open))
        try:
            await self._wait(hold.descriptor)
            token = _held.set((*_held.get(), hold))
            try:
                yield hold
            finally:
                _held.reset(token)
                hold.live = False
        finally:
            os.close(hold.descriptor)

    async def _wait(self, descriptor: int) -> None:
        with anyio.move_on_after(self.patience):
            while True:
                with suppress(BlockingIOError):
                    return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                await anyio.sleep(POLL_SECONDS)
        what = "Another git operation of infra-mcp on this repository, perhaps of a killed server, is still running."
        raise InfraError("git-failed", what, next_step="Wait for it to end, then send it again.")

    def _open(self) -> int:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise InfraError("git-failed", f"The lock file cannot be opened: {error.strerror}.") from error
