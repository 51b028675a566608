"""One at a time, across processes: a lock that the death of its holder frees."""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

_POLL = 0.1  # seconds; flock has no wait that can be cancelled


@asynccontextmanager
async def exclusive(path: Path, waiting: Callable[[], None] | None = None) -> AsyncIterator[None]:
    """Hold the lock file `path`; its holder may remove it, then the next one creates it anew.

    Args:
        path: the lock file; its folder is created.
        waiting: called once when another process holds it.
    """
    while True:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # not inheritable, so a child that outlives us does not keep it
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if _take(descriptor, path):
                yield
                return
        finally:
            os.close(descriptor)
        if waiting is not None:
            waiting()
            waiting = None
        await anyio.sleep(_POLL)


def _take(descriptor: int, path: Path) -> bool:
    """Lock the file; False when another holds it, or it is no longer the file of that name."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
