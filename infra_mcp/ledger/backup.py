"""A ledger and its keys as one file, taken while it is written to; and a state directory made from such a file.

The file is a plain tar of two members, `keys.json` and `ledger.sqlite3`, for its owner only (mode 0600): it contains
everything that was asked. It contains hashes of tokens, not tokens.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from infra_mcp.effects import effect
from infra_mcp.errors import InfraError
from infra_mcp.ledger.chain import GENESIS
from infra_mcp.ledger.database import make_private, translated
from infra_mcp.ledger.keys import LEDGER, Keys
from infra_mcp.ledger.schema import REVISIONS

LAST = "backup.json"  # in the state directory: which file the last backup is, and when it was made
_LEDGER, _KEYS = "ledger.sqlite3", "keys.json"
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}  # what file systems without hard links say
_FAILED = "The backup cannot be made or used"
_DRAFTS = ".infra-mcp-"  # a directory for us only, on the same disk
_END = 2 * tarfile.BLOCKSIZE  # zeros; more fill the last record
_MAX_END = tarfile.RECORDSIZE + tarfile.BLOCKSIZE
_MAX_KEYS = 1 << 20  # bytes; ours has some hundred
_PIECE = 1 << 20  # bytes copied at once


@dataclass(frozen=True)
class Snapshot:
    """How many events a backup holds, and the newest one's head, for comparing with heads that were given out."""

    events: int
    head: str


async def save(state_dir: Path, file: str) -> dict[str, Any]:
    """Write ledger and keys into a new file of mode 0600, at an absolute path; a server may go on writing the ledger.

    Raises:
        InfraError: `invalid-argument` for another kind of path, `not-found` without a ledger, `ledger-unavailable`.
    """
    path = Path(file)
    if not path.is_absolute() or "\0" in file:
        raise InfraError("invalid-argument", "file: not an absolute path.", next_step="Name a file to be made.")
    made = await backup(state_dir, path)
    size = (await anyio.Path(path).stat()).st_size
    return {"file": file, "bytes": size, "events": made.events, "head": made.head}


@effect("ledger.backup")
async def backup(state_dir: Path, target: Path) -> Snapshot:
    """Copy ledger and keys of a state directory into one new file, on one state of the ledger.

    A server may go on writing: everything it had answered when this began is in the copy. The file appears whole or not
    at all. It is written beside its place first, which takes twice its size for a moment.

    Args:
        state_dir: the state directory.
        target: the file to make, in a directory that is there.

    Raises:
        InfraError: `invalid-argument`, when there is a file already, no such directory, or a git work tree;
            `not-found`, when there is no ledger; `ledger-unavailable`.
    """
    return await anyio.to_thread.run_sync(_backup, state_dir, target)


@effect("ledger.restore")
async def restore(source: Path, state_dir: Path) -> Snapshot:
    """Make the ledger of a state directory from a backup. No server may run on that directory.

    Args:
        source: the backup.
        state_dir: a directory without a ledger; made with mode 0700 when missing.

    Raises:
        InfraError: `invalid-argument`, when the directory has a ledger or other keys, or the file is no backup;
            `ledger-newer`, when a newer version wrote it; `ledger-unavailable`. The directory is as before then.
    """
    return await anyio.to_thread.run_sync(_restore, source, state_dir)


def _backup(state_dir: Path, target: Path) -> Snapshot:
    ledger = state_dir / _LEDGER
    if not ledger.is_file():
        raise InfraError("not-found", "There is no ledger in that state directory.")
    _must_not_be(target)
    if not target.parent.is_dir():
        raise InfraError("invalid-argument", "The directory to write the backup to is not there.")
    if (tree := _work_tree(target)) is not None:
        what = f"{target.name} would lie in the git work tree {tree}, and a backup contains keys and every request."
        raise InfraError("invalid-argument", what, next_step="Name a file outside of it, for example in /var/backups.")
    with translated(_FAILED), tempfile.TemporaryDirectory(prefix=_DRAFTS, dir=target.parent) as name:
        draft = Path(name)
        # A connection of SQLite's own: it takes part in the locks of the one that writes.
        with closing(sqlite3.connect(ledger)) as live, closing(sqlite3.connect(draft / _LEDGER)) as made:
            live.backup(made)
        shutil.copyfile(state_dir / _KEYS, draft / _KEYS)  # after the ledger: a key that it needs is in it by then
        found = _check(draft)
        _pack(draft / "whole", {one: draft / one for one in (_KEYS, _LEDGER)})
        _put(draft / "whole", target)
    note_backup(state_dir, target)
    return found


def note_backup(state_dir: Path, file: Path) -> None:
    """Note in a state directory that a file is its last backup: `LAST`, with the file's path and time."""
    place = state_dir / LAST
    draft = place.with_suffix(".new")
    with translated("The backup cannot be noted"):
        draft.unlink(missing_ok=True)
        with open(draft, "x", opener=_private, encoding="utf-8") as made:
            json.dump({"file": str(file.absolute()), "at": file.stat().st_mtime}, made)
        draft.replace(place)


def _work_tree(target: Path) -> Path | None:
    """The git work tree that a file would lie in, ignored or not; git's own folder is none."""
    folder = target.parent.resolve()
    for parent in (folder, *folder.parents):
        if parent.name == ".git":
            return None
        if (parent / ".git").exists():
            return parent
    return None


def _restore(source: Path, state_dir: Path) -> Snapshot:
    ledger, keys = state_dir / _LEDGER, state_dir / _KEYS
    _must_not_be(ledger, ledger.with_name(f"{_LEDGER}-wal"))
    if not source.is_file():
        raise InfraError("not-found", "There is no such backup.")
    with translated(_FAILED):
        new = not state_dir.exists()
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryDirectory(prefix=_DRAFTS, dir=state_dir) as name:
                draft = Path(name)
                _unpack(source, draft, {_KEYS: _MAX_KEYS, _LEDGER: source.stat().st_size})
                found = _check(draft)
                # The keys first: a ledger without them would be given new ones, and markers would no longer compare.
                _put_keys(draft / _KEYS, keys)
                _put(draft / _LEDGER, ledger)
        except BaseException:
            if new:
                shutil.rmtree(state_dir, ignore_errors=True)
            raise
        make_private(ledger)
    note_backup(state_dir, source)
    return found


def _pack(target: Path, members: Mapping[str, Path]) -> None:
    """A new archive of files, by their names in it, with mode 0600."""
    with (
        open(target, "xb", opener=_private) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for name, source in members.items():
            header = tarfile.TarInfo(name)
            header.mode, header.size = 0o600, source.stat().st_size
            with source.open("rb") as content:
                archive.addfile(header, content)


def _unpack(source: Path, folder: Path, limits: Mapping[str, int]) -> None:
    """The members of an archive, with mode 0600: exactly those in `limits`, in this order, each of at most that size.

    Each header is read alone: `tarfile` would follow extended headers and sizes, also negative ones, without a bound.
    """
    with source.open("rb") as file:
        for name, most in limits.items():
            try:
                header = tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), "utf-8", "strict")
            except (tarfile.TarError, ValueError):
                raise _no_backup() from None
            plain = header.type == tarfile.REGTYPE and not header.linkname
            if not plain or header.name != name or not 0 <= header.size <= most:
                raise _no_backup()
            with open(folder / name, "xb", opener=_private) as member:
                for left in range(header.size, 0, -_PIECE):
                    piece = file.read(min(left, _PIECE))
                    member.write(piece)
            file.read(-header.size % tarfile.BLOCKSIZE)
        rest = file.read(_MAX_END + 1)
        if not _END <= len(rest) <= _MAX_END or len(rest) % tarfile.BLOCKSIZE or rest.strip(b"\0"):
            raise _no_backup()


_private = partial(os.open, mode=0o600)  # opens new files for their owner only


def _no_backup() -> InfraError:
    return InfraError("invalid-argument", "The file is no backup of infra-mcp, or not a whole one.")


def _check(draft: Path) -> Snapshot:
    """Check that a draft is a whole ledger, of a version we know, with its keys."""
    key = Keys(draft).peek(LEDGER)
    try:
        with closing(sqlite3.connect(f"file:{draft / _LEDGER}?mode=ro&immutable=1", uri=True)) as copy:
            sound = copy.execute("PRAGMA quick_check(1)").fetchone()
            versions = [row[0] for row in copy.execute("SELECT version_num FROM alembic_version")]
            named = copy.execute("SELECT value FROM meta WHERE name = ?", [LEDGER]).fetchone()
            newest = copy.execute("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1").fetchone()
    except sqlite3.Error:
        raise InfraError("invalid-argument", "The backup contains no ledger, or a damaged one.") from None
    if sound != ("ok",):
        raise InfraError("invalid-argument", "The backup contains a damaged ledger.")
    if len(versions) != 1 or versions[0] not in REVISIONS:
        raise InfraError("ledger-newer", "The ledger has a schema this version does not know; nothing was touched.")
    if key is None or named != (base64.b64encode(key).decode(),):
        raise InfraError("invalid-argument", "Ledger and keys do not belong together.")
    return Snapshot(events=newest[0] if newest else 0, head=newest[1] if newest else GENESIS)


def _put_keys(draft: Path, place: Path) -> None:
    if not place.exists():
        _put(draft, place)
    elif place.read_bytes() != draft.read_bytes():  # a restore that was killed leaves the same
        what = "The state directory has keys of another ledger."
        raise InfraError("invalid-argument", what, next_step="Move keys.json away if they are not needed.")


def _must_not_be(*places: Path) -> None:
    if any(place.exists() or place.is_symlink() for place in places):
        what = f"There is a {places[0].name} already; it was not overwritten."
        raise InfraError("invalid-argument", what, next_step="Choose another path, or move it away.")


def _put(draft: Path, place: Path) -> None:
    """Give a finished file its name, durably, unless the name was taken meanwhile."""
    _sync(draft)
    try:
        os.link(draft, place)
    except FileExistsError:
        _must_not_be(place)
        raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _must_not_be(place)
        draft.rename(place)
    _sync(place.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
