"""A new ledger, as a copy of one that was made once in this process, which is quicker.

All copies have the same keys and identity, so a test about two ledgers opens the second one itself.
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import anyio
import anyio.to_thread

from infra_mcp.ledger import Ledger

__all__ = ["open_new"]


async def open_new(directory: Path) -> Ledger:
    """Open a new ledger in a state directory that has none."""
    await anyio.to_thread.run_sync(_copy, directory)
    return await Ledger.open_in(directory)


def _copy(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, content in _files().items():
        file = directory / name
        file.touch(0o600, exist_ok=False)
        file.write_bytes(content)


@functools.cache
def _files() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory(prefix="ledger-template-") as folder:
        anyio.run(_made, Path(folder))
        return {file.name: file.read_bytes() for file in Path(folder).iterdir()}


async def _made(directory: Path) -> None:
    await (await Ledger.open_in(directory)).aclose()
