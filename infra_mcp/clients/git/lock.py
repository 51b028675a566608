"""The lock on the repository, which outlives a killed server for as long as its git children run."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
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
        if (held := self._held()) is not None:
            yield held
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

    @contextmanager
    def hold_now(self) -> Iterator[Hold]:
        """As `hold`, for a worker thread; what the task holds that started it counts. It blocks."""
        if (held := self._held()) is not None:
            yield held
            return
        hold = Hold(self, self._open())
        try:
            deadline = time.monotonic() + self.patience
            while not _taken(hold.descriptor):
                if time.monotonic() > deadline:
                    raise _busy()
                time.sleep(POLL_SECONDS)
            yield hold
        finally:
            os.close(hold.descriptor)

    def _held(self) -> Hold | None:
        return next((hold for hold in _held.get() if hold.live and hold.lock is self), None)

    async def _wait(self, descriptor: int) -> None:
        with anyio.move_on_after(self.patience):
            while True:
                if _taken(descriptor):
                    return
                await anyio.sleep(POLL_SECONDS)
        raise _busy()

    def _open(self) -> int:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise InfraError("git-failed", f"The lock file cannot be opened: {error.strerror}.") from error


def _taken(descriptor: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _busy() -> InfraError:
    what = "Another git operation of infra-mcp on this repository, perhaps of a killed server, is still running."
    return InfraError("git-failed", what, next_step="Wait for it to end, then send it again.")
