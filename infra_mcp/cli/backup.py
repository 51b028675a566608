"""`infra-mcp backup` and `restore`: the ledger and its keys as one file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from infra_mcp.cli.options import common_options, operate, settings_of, verb
from infra_mcp.cli.output import show
from infra_mcp.settings import Settings


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add the verbs."""
    summary = "write the ledger and its keys into one file, also while a server runs"
    saving = verb(verbs, "backup", summary, "backup /var/backups/infra.backup", run=_backup)
    saving.add_argument("file", metavar="FILE", help="the file to make; one that is there stays as it is")
    summary = "bring a backup back into an empty state directory, without a server"
    restoring = verb(verbs, "restore", summary, "restore infra.backup", run=_restore)
    restoring.add_argument("file", metavar="FILE", help="a file that `backup` made")
    for parser in (saving, restoring):
        common_options(parser)


def _backup(options: argparse.Namespace) -> int:
    file = str(Path(options.file).absolute())

    async def alone(settings: Settings) -> dict[str, Any]:
        from infra_mcp.server.offline import backup_offline  # noqa: PLC0415 - imports the ledger

        return await backup_offline(settings, file)

    made = operate(options, "operator/backup", {"file": file}, alone)
    lines = [
        f"{made['file']}: {made['events']} events up to head {made['head']}, {made['bytes']} bytes.",
        "It holds every word of the ledger and its keys; keep it as safe.",
    ]
    return show(options.json, made, "\n".join(lines))


def _restore(options: argparse.Namespace) -> int:
    import anyio  # noqa: PLC0415 - only the commands that open a ledger need more than the standard library

    from infra_mcp.server.offline import restored  # noqa: PLC0415 - the same

    made = anyio.run(restored, settings_of(options), Path(options.file).absolute())
    lines = [
        f"Restored into {made['state_dir']}: {made['events']} events up to head {made['head']}.",
        "Compare that head with one given out, in an ack or a commit: `infra-mcp audit verify`.",
    ]
    return show(options.json, made, "\n".join(lines))
