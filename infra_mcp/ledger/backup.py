"""A ledger and its keys as one file, taken while it is written to; and a state directory made from such a file.

The file is a plain tar of two members, `keys.json` and `ledger.sqlite3`. It holds what the ledger holds, so it is for
its owner only (mode 0600). Whoever has it can read everything that was asked; hashes of tokens are in it, not tokens.
"""

from __future__ import annotations

import base64
import errno
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from infra_mcp.effects import effect
from infra_mcp.errors import InfraError
from infra_mcp.ledger import archive
from infra_mcp.ledger.chain import GENESIS
from infra_mcp.ledger.files import make_private
from infra_mcp.ledger.keys import LEDGER, Keys
from infra_mcp.ledger.schema import REVISIONS

_LEDGER, _KEYS = "ledger.sqlite3", "keys.json"
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}  # what file systems without hard links say
_LARGEST_KEYS = 1 << 20  # bytes; ours has some hundred


@dataclass(frozen=True)
class Snapshot:
    """What a backup holds: how many events, and the newest one's head, for comparing with heads that were given out."""

    events: int
    head: str


@effect("ledger.backup")
async def backup(state_dir: Path, target: Path) -> Snapshot:
    """Copy ledger and keys of a state directory into one new file, on one state of the ledger.

    A server may go on writing: what it had answered when this began is in the copy. The file appears whole or not at
    all. It is written beside its place first, which takes twice its size for a moment.

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
        what = f"{target.name} would lie in the git work tree {tree}, and a backup holds keys and every word."
        raise InfraError("invalid-argument", what, next_step="Name a file outside of it, for example in /var/backups.")
    with _translated(), _beside(target.parent) as draft:
        copy = draft / _LEDGER
        # A connection of SQLite's own: it takes part in the locks of the one that writes.
        with closing(sqlite3.connect(ledger)) as live, closing(sqlite3.connect(copy)) as made:
            live.backup(made)
        copy.chmod(0o600)
        keys = draft / _KEYS
        shutil.copyfile(state_dir / _KEYS, keys)  # after the ledger: a key that it needs is in it by then
        found = _check(copy, draft)
        whole = draft / "whole"
        archive.pack(whole, {_KEYS: keys, _LEDGER: copy})
        _put(whole, target)
    return found


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
    with _translated():
        new = not state_dir.exists()
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with _beside(state_dir) as draft:
                limits = {_KEYS: _LARGEST_KEYS, _LEDGER: source.stat().st_size}
                archive.unpack(source, draft, limits)
                found = _check(draft / _LEDGER, draft)
                # The keys first: a ledger without them would be given new ones, and markers would no longer compare.
                if not _same_keys(keys, draft / _KEYS):
                    _put(draft / _KEYS, keys)
                _put(draft / _LEDGER, ledger)
        except BaseException:
            if new:
                shutil.rmtree(state_dir, ignore_errors=True)
            raise
        make_private(ledger)
    return found


def _check(ledger: Path, keys_in: Path) -> Snapshot:
    """That a copy is a whole ledger, of a version we know, and that these are its keys.

    Raises:
        InfraError: `ledger-newer`, `invalid-argument`.
    """
    held = Keys(keys_in).peek(LEDGER)
    try:
        with closing(sqlite3.connect(f"file:{ledger}?mode=ro&immutable=1", uri=True)) as copy:
            sound = copy.execute("PRAGMA quick_check(1)").fetchone()
            versions = [row[0] for row in copy.execute("SELECT version_num FROM alembic_version")]
            named = copy.execute("SELECT value FROM meta WHERE name = ?", [LEDGER]).fetchone()
            newest = copy.execute("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1").fetchone()
    except sqlite3.Error:
        raise InfraError("invalid-argument", "The backup holds no ledger, or a damaged one.") from None
    if sound != ("ok",):
        raise InfraError("invalid-argument", "The backup holds a damaged ledger.")
    if len(versions) != 1 or versions[0] not in REVISIONS:
        raise InfraError("ledger-newer", "The ledger has a schema this version does not know; nothing was touched.")
    if held is None or named != (base64.b64encode(held).decode(),):
        raise InfraError("invalid-argument", "Ledger and keys do not belong together.")
    return Snapshot(events=newest[0] if newest else 0, head=newest[1] if newest else GENESIS)


def _same_keys(there: Path, given: Path) -> bool:
    """Whether these keys are there already, as a restore that was killed leaves them.

    Raises:
        InfraError: `invalid-argument`, when there are others.
    """
    if there.exists() and there.read_bytes() != given.read_bytes():
        what = "The state directory has keys of another ledger."
        raise InfraError("invalid-argument", what, next_step="Move keys.json away if they are not needed.")
    return there.exists()


def _must_not_be(*places: Path) -> None:
    if any(place.exists() or place.is_symlink() for place in places):
        what = f"There is a {places[0].name} already; nothing was written over it."
        raise InfraError("invalid-argument", what, next_step="Name another place, or move it away.")


def _put(draft: Path, place: Path) -> None:
    """Give a finished file its name, durably, unless the name was taken meanwhile."""
    handle = os.open(draft, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
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
    folder = os.open(place.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A directory for drafts, for us only, on the same disk; it and what is in it goes in the end."""
    with tempfile.TemporaryDirectory(prefix=".infra-mcp-", dir=folder) as draft:
        yield Path(draft)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        said = (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
        raise InfraError("ledger-unavailable", f"The backup cannot be made or used: {said}.") from error
