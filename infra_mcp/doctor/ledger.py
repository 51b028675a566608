"""The state directory and the ledger in it: who can read them, whether they are sound, and the last backup."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from anyio import to_thread

from infra_mcp.doctor.finding import Finding, check, empty, failed, risk, skipped
from infra_mcp.doctor.look import Look, mode_of, resolved
from infra_mcp.ledger.backup import LAST
from infra_mcp.ledger.database import reading_uri
from infra_mcp.settings import state_of

_LEAST: Final = 1 << 30  # bytes that are to be free
_OLD: Final = 8 * 86_400.0  # seconds: a weekly backup that is a day late
_DAY: Final = 86_400.0


@check("ledger.folder")
async def folder(look: Look) -> AsyncIterator[Finding]:
    """Only the server's user can enter the state directory."""
    state = look.settings.state_dir
    for path in (state, state / "run"):
        if path.is_dir() and path.stat().st_mode & 0o077:
            yield failed(f"Others can enter {path}.", f"chmod 700 {shlex.quote(str(path))}")


@check("ledger.files")
async def files(look: Look) -> AsyncIterator[Finding]:
    """Only the server's user can read the ledger, its keys and its locks."""
    state = look.settings.state_dir
    for name in ("ledger.sqlite3", "ledger.sqlite3-wal", "ledger.sqlite3-shm", "keys.json", "keys.lock", "lock"):
        path = state / name
        if path.is_file() and path.stat().st_mode & 0o077:
            yield failed(f"Others can read {path}.", f"chmod 600 {shlex.quote(str(path))}")


@check("ledger.socket")
async def socket(look: Look) -> AsyncIterator[Finding]:
    """Only the server's user can open the socket."""
    path = look.settings.socket
    if path.exists() and path.stat().st_mode & 0o077:
        yield failed(f"Others can open {path}: each who can is an operator.", f"chmod 600 {shlex.quote(str(path))}")


@check("ledger.space")
async def space(look: Look) -> AsyncIterator[Finding]:
    """There is room on the disk of the state directory."""
    there = next(path for path in (look.settings.state_dir, *look.settings.state_dir.parents) if path.is_dir())
    free = shutil.disk_usage(there).free
    if free < _LEAST:
        what = f"{free >> 20} MiB are free where {there} is; without room the ledger takes no request."
        yield risk(what, f"du -xh {shlex.quote(str(there))} | sort -h | tail")


@check("ledger.one-server")
async def one_server(look: Look) -> AsyncIterator[Finding]:
    """No second server works on this repository with another state directory."""
    common = await look.git("rev-parse", "--path-format=absolute", "--git-common-dir")
    usual = state_of(look.settings.repo, resolved(common or look.settings.repo / ".git"))
    note = usual / "run" / "http.json"
    if usual.resolve() == look.settings.state_dir.resolve() or not note.is_file():
        return
    try:
        pid = int(json.loads(note.read_text("utf-8"))["pid"])
        os.kill(pid, 0)
    except (OSError, ValueError, KeyError, TypeError):
        return  # it has ended
    what = f"Another server (pid {pid}) works on this repository, with the state directory {usual}."
    yield failed(what, f"kill {pid}")


@check("ledger.sound", seconds=60)
async def sound(look: Look) -> AsyncIterator[Finding]:
    """The ledger's file is sound and of this version."""
    path = look.settings.state_dir / "ledger.sqlite3"
    if not path.exists():
        yield empty("There is no ledger yet.")
        return
    verdict = await to_thread.run_sync(_verdict, path)
    if verdict != "ok":
        yield failed(f"The ledger's file is damaged: {verdict}.", _restore(look))
    elif look.why_not is not None and look.why_not.code == "ledger-newer":
        yield failed(look.why_not.what, "python -m pip install --upgrade infra-mcp")
    elif look.why_not is not None:
        yield failed(f"The ledger cannot be read: {look.why_not.what}", _restore(look))


@check("ledger.chain", seconds=60)
async def chain(look: Look) -> AsyncIterator[Finding]:
    """The ledger's chain of events is whole."""
    if look.ask is None:
        yield skipped("There is no ledger to read.")
        return
    report = await look.ask("operator/audit.verify", {})
    if report["broken_at"] is not None:
        yield failed(f"The ledger was changed by someone else: event {report['broken_at']} differs.", _restore(look))
    elif report["differing"] or not report["consistent"]:
        rows = ", ".join(report["differing"][:5])
        yield failed(f"The ledger was changed by someone else: rows differ from their events: {rows}.", _restore(look))


@check("ledger.backup")
async def backup(look: Look) -> AsyncIterator[Finding]:
    """The last backup is at most eight days old, and still there."""
    if look.ask is None:
        yield skipped("There is no ledger to read.")
        return
    made = _last(look)
    file = look.settings.state_dir.parent / f"{look.settings.state_dir.name}-{time.strftime('%Y%m%d-%H%M%S')}.tar"
    fix = f"infra-mcp backup {shlex.quote(str(file))}"
    if made is None:
        yield risk("There is no backup of the ledger that this server knows of.", fix)
    elif mode_of(made["file"]) is None:
        yield risk(f"The last backup, {made['file']}, is not there any more.", fix)
    elif time.time() - made["at"] > _OLD:
        yield risk(f"The last backup is {(time.time() - made['at']) / _DAY:.0f} days old.", fix)


def _last(look: Look) -> dict[str, Any] | None:
    try:
        made = json.loads((look.settings.state_dir / LAST).read_text("utf-8"))
        return {"file": str(made["file"]), "at": float(made["at"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _restore(look: Look) -> str:
    """The command that puts the last backup in the place of the ledger, which is kept beside it."""
    state, made = shlex.quote(str(look.settings.state_dir)), _last(look)
    stop = f"kill {look.around['pid']} && " if look.server else ""
    aside = f"{state}.damaged-{time.strftime('%Y%m%d-%H%M%S')}"
    return f"{stop}mv {state} {aside} && infra-mcp restore {shlex.quote(made['file']) if made else 'BACKUP'}"


def _verdict(path: Path) -> str:
    try:
        with closing(sqlite3.connect(reading_uri(path), uri=True)) as connection:
            return str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])[:200]
    except sqlite3.Error as error:
        return str(error)
