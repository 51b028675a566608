"""The one lock on the repository, which outlives a killed server for as long as its git children do."""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio import to_thread

from infra_mcp.errors import InfraError

POLL_SECONDS = 0.02


@dataclass
class Hold:
    """A lock that is held: its descriptor, for the children that write, until it is given back."""

    lock: RepositoryLock
    descriptor: int
    live: bool = True


# Who holds what, by task: what is called inside `hold` must not wait for itself.
_held: ContextVar[tuple[Hold, ...]] = ContextVar("held", default=())


class RepositoryLock:
    """An exclusive lock (flock(2)) that git children inherit.

    The kernel frees it when the last descriptor of this opening is closed. It is given back by closing, never by
    LOCK_UN, which would take it from a child that still writes.

    Args:
        path: the lock file; made when missing, with its directory.
        patience: how long to wait for it, in seconds.
    """

    def __init__(self, path: Path, patience: float) -> None:
        self.path = path
        self.patience = patience

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[Hold]:
        """Hold the lock; inside a task that holds it already, the same hold again.

        Raises:
            InfraError: `git-failed`, when someone else kept it for longer than the patience.
        """
        for hold in _held.get():
            if hold.live and hold.lock is self:
                yield hold
                return
        hold = Hold(self, await self._take())
        token = _held.set((*_held.get(), hold))
        try:
            yield hold
        finally:
            _held.reset(token)
            hold.live = False
            os.close(hold.descriptor)

    async def _take(self) -> int:
        descriptor = await to_thread.run_sync(self._open)
        try:
            with anyio.move_on_after(self.patience):
                while not _locked(descriptor):  # noqa: ASYNC110 - the holder is another process, which sets no event of ours
                    await anyio.sleep(POLL_SECONDS)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        what = "Another git operation of infra-mcp on this repository, perhaps of a killed server, is still running."
        raise InfraError("git-failed", what, next_step="Wait for it to end, then send it again.")

    def _open(self) -> int:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise InfraError("git-failed", f"The lock file cannot be opened: {error.strerror}.") from error


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
