"""Backup and restore as an operator meets them, with a server or without one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from infra_mcp.errors import InfraError
from infra_mcp.ledger.backup import backup, restore
from infra_mcp.server.ownership import owned

if TYPE_CHECKING:
    from infra_mcp.settings import Settings


async def saved(settings: Settings, file: str) -> dict[str, Any]:
    """Write ledger and keys into a new file of mode 0600; a server may go on writing the ledger.

    Args:
        settings: whose state directory it is.
        file: an absolute path, in a folder that is there; what is there of that name stays.

    Raises:
        InfraError: `invalid-argument` for another kind of path, `not-found` without a ledger, `ledger-unavailable`.
    """
    path = Path(file)
    if not path.is_absolute() or "\0" in file:
        raise InfraError("invalid-argument", "file: not a whole path.", next_step="Name a file to be made.")
    made = await backup(settings.state_dir, path)
    size = (await anyio.Path(path).stat()).st_size
    return {"file": file, "bytes": size, "events": made.events, "head": made.head}


async def backup_offline(settings: Settings, file: str) -> dict[str, Any]:
    """The same without a server. The ledger is not opened, so one of an older schema is saved as it is.

    Raises:
        InfraError: `server-running`, and as for `saved`.
    """
    with owned(settings.state_dir):
        return await saved(settings, file)


async def restored(settings: Settings, file: Path) -> dict[str, Any]:
    """Bring a backup back into a state directory that has no ledger, while owning it.

    Raises:
        InfraError: `server-running`; `invalid-argument`, when there is a ledger or the file is no backup; `not-found`,
            `ledger-newer`, `ledger-unavailable`.
    """
    with owned(settings.state_dir):
        made = await restore(file, settings.state_dir)
    return {"state_dir": str(settings.state_dir), "events": made.events, "head": made.head}
