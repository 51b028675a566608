"""Backup and restore as the operator meets them: paths are looked at first, and nothing that is there is replaced."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from infra_mcp.errors import InfraError
from infra_mcp.server.ownership import owned

if TYPE_CHECKING:
    from infra_mcp.ledger.store import Ledger
    from infra_mcp.settings import Settings

__all__ = ["restored", "saved"]


async def saved(ledger: Ledger, file: str) -> dict[str, Any]:
    """Write ledger and keys into a new file of mode 0600.

    Args:
        ledger: the one to save; others may go on writing it.
        file: an absolute path, in a folder that is there; a file that is there is not replaced.

    Raises:
        InfraError: `invalid-argument` for another kind of path, `setup-failed` when it cannot be written.
    """
    path = Path(file)
    problem = await anyio.to_thread.run_sync(_problem, path)
    if problem:
        raise InfraError("invalid-argument", f"file: {problem}", next_step="Name a file to be made, by its whole path.")
    from infra_mcp.ledger.backup import backup  # noqa: PLC0415 - seldom needed

    await backup(ledger, path)
    size = (await anyio.Path(path).stat()).st_size
    return {"file": str(path), "bytes": size}


def _problem(path: Path) -> str:
    if not path.is_absolute() or "\0" in str(path) or ".." in path.parts:
        return "not a whole path."
    if os.path.lexists(path):
        return "something of that name is there already, and stays as it is."
    return "" if path.parent.is_dir() else "there is no such folder."


async def restored(settings: Settings, file: Path) -> dict[str, Any]:
    """Bring a backup back into a state directory that has no ledger, while owning it.

    Raises:
        InfraError: `server-running`; `invalid-argument`, when there is a ledger or the file is no backup.
    """
    from infra_mcp.ledger.backup import restore  # noqa: PLC0415 - seldom needed

    try:
        regular = stat.S_ISREG((await anyio.Path(file).stat()).st_mode)
    except OSError as error:
        raise InfraError("invalid-argument", f"{file} cannot be read: {error.strerror}.") from None
    if not regular:
        raise InfraError("invalid-argument", f"{file} is no file.", next_step="Name one that `infra-mcp backup` made.")
    with owned(settings.state_dir):
        await restore(file, settings.state_dir)
    return {"state_dir": str(settings.state_dir)}
