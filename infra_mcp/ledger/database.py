"""The connection: one worker thread, one transaction at a time, and every failure as `ledger-unavailable`.

Writes that come while the thread is busy share the next transaction, and so its one wait for the disk.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import Dialect, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import PoolProxiedConnection, StaticPool

from infra_mcp.errors import InfraError
from infra_mcp.ledger.chain import GENESIS
from infra_mcp.ledger.message_digests import MessageDigests
from infra_mcp.ledger.write_queue import Queue, Tx, WriteJob
from infra_mcp.masking import Masker

__all__ = ["Database", "Repository", "Tx", "make_private", "reading", "reading_uri", "translated", "unavailable"]

T = TypeVar("T")

_CHECKED_WHOLE = 32 << 20  # bytes; a larger file is not read through at start


def unavailable(cause: object, what: str = "The ledger cannot be used") -> InfraError:
    """The error of a ledger that cannot be used, with the library's own message and none of its parameters."""
    if isinstance(cause, SQLAlchemyError):
        cause = getattr(cause, "orig", None) or type(cause).__name__
    if isinstance(cause, OSError):
        cause = cause.strerror or type(cause).__name__
    return InfraError("ledger-unavailable", f"{what}: {cause}.")


class Database:
    """The database of one ledger.

    A transaction that has begun is finished whatever happens to its caller: cancelling waits for it. A cancelled caller
    begins none.
    """

    def __init__(self, url: str, busy_seconds: float) -> None:
        name = make_url(url).database or ""
        on_disk = name not in {"", ":memory:"} and not name.startswith("file:")
        self.path: Path | None = Path(name) if on_disk else None
        self._watched: list[FileGuard] = []
        self._damaged = False
        # The parameters are people's texts, which must not get into an error or a log.
        arguments = {"check_same_thread": False, "timeout": busy_seconds}
        self._engine = create_engine(url, hide_parameters=True, connect_args=arguments, poolclass=StaticPool)
        self._writer = self._engine.execution_options()
        event.listen(self._engine, "connect", _connected)
        _begin_by(self._engine.dialect, "BEGIN")
        self._limiter = anyio.CapacityLimiter(1)  # whose turn it is
        self._thread = anyio.CapacityLimiter(1)
        self._queue = Queue()
        self.known: tuple[int, str] = (0, GENESIS)

    async def start(self, prepare: Callable[[Connection], None], check: Callable[[Connection], bool]) -> None:
        """Open the file, make what is missing, and check that it is sound.

        Args:
            prepare: brings the schema up to date, in one write transaction; called when `check` says so.
            check: whether the schema has to be brought up to date; raises, touching nothing, when it is newer.

        Raises:
            InfraError: `ledger-unavailable`, or what `check` raises.
        """
        await anyio.to_thread.run_sync(self._start, prepare, check, limiter=self._limiter)

    async def read(self, step: Callable[[Connection], T]) -> T:
        """Run a step that only reads, on one state of the database.

        Raises:
            InfraError: `ledger-unavailable`.
        """
        return await anyio.to_thread.run_sync(self._read, step, limiter=self._limiter)

    async def write(self, step: Callable[[Tx], T]) -> T:
        """Run a step in a transaction that is durable when this returns; if the step raises, nothing of it was written.

        It may share the transaction with other steps, in the order they came; one that raises is rolled back alone.
        When the transaction itself fails, none of it was written, and every step raises.

        Raises:
            InfraError: `ledger-unavailable`.
        """
        mine = WriteJob(step)
        if await self._queue.joined(mine):  # else another caller has written it
            batch: list[WriteJob[Any]] = []
            try:
                async with self._limiter:
                    batch = self._queue.take()
                    with anyio.CancelScope(shield=True):
                        await anyio.to_thread.run_sync(self._write, batch, limiter=self._thread)
            finally:
                self._queue.done(mine, batch)
        return mine.result()

    async def aclose(self) -> None:
        """Close the connection; what was written stays."""
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._engine.dispose, limiter=self._limiter)

    def _read(self, step: Callable[[Connection], T]) -> T:
        with translated():
            self._look()
            with self._engine.begin() as connection:
                return step(connection)

    def _write(self, batch: Sequence[WriteJob[Any]]) -> None:
        """Run some steps in one transaction. Raises nothing: each step has its result or its error after this."""
        try:
            with translated():
                self._look()
                with self._writer.begin() as connection:
                    tx = Tx(connection, self.known)
                    for step in batch:
                        self._try(tx, step)
            self.known = tx.head or self.known
        except BaseException as error:  # noqa: BLE001 - each caller gets it
            for step in batch:
                step.fail(_own(error))

    @staticmethod
    def _try(tx: Tx, step: WriteJob[Any]) -> None:
        """One step, rolled back alone when it fails; its error ends the transaction if the database rolled back all."""
        run, head = tx.connection.connection.cursor().execute, tx.head
        run("SAVEPOINT step")
        try:
            with translated():
                step.run(tx)
        except Exception as error:  # noqa: BLE001 - its caller gets it
            try:
                run("ROLLBACK TO step")
            except sqlite3.Error:
                raise error from error.__cause__  # a full disk and the like end the transaction
            tx.head = head
            step.fail(error)
        run("RELEASE step")

    def _start(self, prepare: Callable[[Connection], None], check: Callable[[Connection], bool]) -> None:
        with translated():
            if self.path:
                make_private(self.path)
            with self._engine.begin() as connection:
                old = check(connection)
            self._check_file()
            # A write takes its lock at once: SQLite deadlocks where a transaction reads first and then fails to write.
            # A dialect learns from its first connection, so it can be copied only now.
            self._writer.dialect = copy(self._engine.dialect)
            _begin_by(self._writer.dialect, "BEGIN IMMEDIATE")
            if old:
                with self._writer.begin() as connection:
                    prepare(connection)
            with self._engine.begin() as connection:
                newest = connection.execute(text("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1")).first()
            self.known = (newest.seq, newest.hash) if newest else (0, GENESIS)
            if self.path:
                files = (self.path, self.path.with_name(f"{self.path.name}-wal"))
                self._watched = [FileGuard(file) for file in files if file.exists()]

    def _check_file(self) -> None:
        """Set the journal's mode, and check a file of ordinary size: both must be outside a transaction."""
        raw = self._engine.raw_connection()
        try:
            cursor = raw.cursor()
            cursor.execute("PRAGMA journal_mode=WAL")
            if self.path and self.path.stat().st_size <= _CHECKED_WHOLE:
                verdict = cursor.execute("PRAGMA quick_check(1)").fetchone()[0]
                if verdict != "ok":
                    raise unavailable("its file is damaged")
        finally:
            raw.close()

    def _look(self) -> None:
        """Notice files that were removed, replaced or truncated meanwhile: SQLite would go on writing to nowhere."""
        for file in self._watched:
            size = file.truncated_to()
            if size is None:
                continue
            if size or file is self._watched[0]:
                self._damaged = True
            else:
                # The journal is empty: it was moved into the file, or deleted. Cached pages would hide which, so look
                # with a new connection.
                self._engine.dispose()
                self._check_file()
        if self._damaged:
            raise unavailable("its file was truncated while the server ran")


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Raise a row that was edited, and is no value any more, as `ledger-unavailable`."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise unavailable(f"{what} cannot be read; it was changed by someone else") from error


def make_private(path: Path) -> None:
    """Make or take the file with mode 0600 in a directory with mode 0700. SQLite gives its other files this mode."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = path.parent.stat()
    if folder.st_uid == os.geteuid() and not folder.st_mode & 0o1000:  # /tmp and the like are shared
        path.parent.chmod(0o700)
    if path.is_dir():
        raise IsADirectoryError(None, "a directory is in its place")
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        if path.stat().st_uid == os.geteuid() and path.stat().st_mode & 0o077:
            path.chmod(0o600)


def reading_uri(path: Path) -> str:
    """The URI by which SQLite opens a file to look at it, and makes none beside it."""
    # Without a journal no one writes it, and SQLite would make one just to read.
    how = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "mode=ro&immutable=1"
    return f"{path.absolute().as_uri()}?{how}"


class FileGuard:
    """An existing file that may only grow, and must stay the same file: SQLite would go on writing to a removed one.

    Only `stat` is used: opening and closing the file would drop SQLite's own locks, since POSIX locks belong to a
    process and end with any of its handles.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        status = path.stat()
        self._identity, self._size = (status.st_dev, status.st_ino), status.st_size

    def truncated_to(self) -> int | None:
        """The size it was truncated to since the last call, or None; raises `OSError` when it was replaced."""
        status = self.path.stat()
        if (status.st_dev, status.st_ino) != self._identity:
            raise FileNotFoundError(None, "its file was replaced while the server ran")
        before, self._size = self._size, status.st_size
        return status.st_size if status.st_size < before else None


class Repository:
    """Some tables of one ledger, and what their writes need: one transaction for each public write.

    Attributes:
        masker: masks texts here; the same must mask what leaves by other ways.
    """

    def __init__(self, database: Database, masker: Masker, digests: MessageDigests) -> None:
        self._database, self.masker, self._digests = database, masker, digests


@contextmanager
def translated(what: str = "The ledger cannot be used") -> Iterator[None]:
    """Raise errors of SQLite and of files as `ledger-unavailable`."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise unavailable(error, what) from error
    except UnicodeEncodeError:  # a lone surrogate in an id or a filter; texts to keep are cleaned before
        raise InfraError("invalid-argument", "The text contains an invalid character.") from None


def _own(error: BaseException) -> BaseException:
    """An error for one of several callers: one that several tasks raise would gather all their traces."""
    if not isinstance(error, InfraError):
        return error
    own = InfraError(error.code, error.what, next_step=error.next_step, rule=error.rule)
    own.__cause__ = error.__cause__
    return own


def _connected(raw: Any, _record: object) -> None:  # noqa: ANN401 - a DBAPI connection
    raw.isolation_level = None  # the driver must not begin transactions on its own; `_begin_by` does
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "recursive_triggers=ON", "cell_size_check=ON"):
        raw.execute(f"PRAGMA {pragma}")


def _begin_by(dialect: Dialect, statement: str) -> None:
    """Set the statement by which a dialect begins a transaction. As an engine's event it would slow every statement."""

    def begin(raw: PoolProxiedConnection) -> None:
        raw.cursor().execute(statement)

    dialect.do_begin = begin  # type: ignore[method-assign,assignment]
