"""Whether a change could be carried out now: asked of the places and the disk themselves."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import anyio
from anyio import to_thread

from infra_mcp.gather import gather_pair

_FRESH = 1.0  # seconds for which an answer is given again: anyone on this machine may ask
_PATIENCE = 3.0  # seconds for the API server to answer
_PROBE = b"\0" * 65_536  # what the disk must take


class Readiness:
    """What a change would lack at this moment.

    Args:
        folders: where a change writes.
        places: asks every place whether it answers.
    """

    def __init__(self, folders: tuple[Path, ...], places: Callable[[], Awaitable[bool]]) -> None:
        self._folders = folders
        self._places = places
        self._looking = anyio.Lock()
        self._found: list[str] = []
        self._until = float("-inf")

    async def missing(self) -> list[str]:
        """`cluster` when the API server does not answer or refuses the login, `disk` when it takes no more writes."""
        async with self._looking:
            if anyio.current_time() >= self._until:
                writes = partial(to_thread.run_sync, _takes_writes, self._folders)
                cluster, disk = await gather_pair(self._answers, writes)
                self._found = [] if cluster else ["cluster"]
                self._found += [] if disk else ["disk"]
                self._until = anyio.current_time() + _FRESH
            return list(self._found)

    async def _answers(self) -> bool:
        with anyio.move_on_after(_PATIENCE):
            return await self._places()
        return False


def _takes_writes(folders: tuple[Path, ...]) -> bool:
    try:
        for folder in folders:
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(_PROBE)
                file.flush()
                os.fsync(file.fileno())
    except OSError:
        return False
    return True
