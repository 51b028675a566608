"""Whether work can be done: what a change would lack now, and whether the ledger is an older copy."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from infra_mcp.gather import gather_pair
from infra_mcp.ledger.chain import HEADS, proof_of

if TYPE_CHECKING:
    from infra_mcp.clients.git import Git
    from infra_mcp.ledger import Ledger

_FRESH = 1.0  # seconds for which an answer is given again: any user of this machine may ask
_PATIENCE = 3.0  # seconds for the places to answer
_PROBE = b"\0" * 65_536  # what the disk must take
_MAX_COMMITS = 100  # the newest; a forged trailer on top of them hides nothing


@dataclass
class Readiness:
    """What a change would lack at this moment."""

    folders: tuple[Path, ...]  # where a change writes
    places: Callable[[], Awaitable[bool]]  # whether every place answers
    _looking: anyio.Lock = field(default_factory=anyio.Lock)
    _found: tuple[str, ...] = ()
    _until: float = float("-inf")

    async def missing(self) -> list[str]:
        """`cluster` when a place does not answer or refuses the login, `disk` when it takes no more writes."""
        async with self._looking:
            if anyio.current_time() >= self._until:
                writes = partial(to_thread.run_sync, _takes_writes, self.folders)
                cluster, disk = await gather_pair(self._answers, writes)
                self._found = tuple(name for name, there in (("cluster", cluster), ("disk", disk)) if not there)
                self._until = anyio.current_time() + _FRESH
            return list(self._found)

    async def _answers(self) -> bool:
        with anyio.move_on_after(_PATIENCE):
            return await self.places()
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


async def missing_head(git: Git, ledger: Ledger, branch: str) -> str:
    """A warning about the newest commit whose audit head the ledger does not have; empty when it has all of them.

    A restored backup is an older copy too, so this is reported and refuses nothing.

    Raises:
        InfraError: `git-failed`, `ledger-unavailable`.
    """
    for one in await git.log_trailers(branch, _MAX_COMMITS):
        head = one.trailers.get("Audit-Head")
        if not head or await ledger.knows(head):
            continue
        names = f"commit {one.commit[:12]} by {one.author} names audit head {head[:12]}, which this ledger lacks"
        if one.trailers.get("Audit-Proof") == proof_of(await ledger.key(HEADS), head):
            return f"The ledger is an older copy: {names}, although this ledger gave it out."
        return f"The ledger may be an older copy: {names}; or that head was forged. See `infra-mcp audit verify`."
    return ""
