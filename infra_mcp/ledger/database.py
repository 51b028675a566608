"""The connection: one worker thread, one transaction at a time, and every failure as `ledger-unavailable`.

Writes that come while the thread is busy share the next transaction, and so its one wait for the disk.
"""

from __future__ import annotations

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
from infra_mcp.ledger.files import FileGuard, make_private
from infra_mcp.ledger.write_queue import Queue, Tx, WriteJob

__all__ = ["Database", "Tx", "unavailable"]

T = TypeVar("T")

_CHECKED_WHOLE = 32 << 20  # bytes; a larger file is not read through at start


def unavailable(cause: object) -> InfraError:
    """The one error of this room, with the library's own words and none of its parameters."""
    if isinstance(cause, SQLAlchemyError):
        cause = getattr(cause, "orig", None) or type(cause).__name__
    if isinstance(cause, OSError):
        cause = cause.strerror or type(cause).__name__
    return InfraError("ledger-unavailable", f"The ledger cannot be used: {cause}.")


class Database:
    """The database of one ledger.

    A transaction that has begun is finished whatever happens to its caller: cancelling waits for it. What has not
    begun is not made for a caller that was cancelled.
    """

    def __init__(self, url: str, busy_seconds: float) -> None:
        place = make_url(url)
        name = place.database or ""
        self._sqlite = place.get_backend_name() == "sqlite"
        on_disk = self._sqlite and name not in {"", ":memory:"} and not name.startswith("file:")
        self.path: Path | None = Path(name) if on_disk else None
        self._watched: list[FileGuard] = []
        self._damaged = False
        # The parameters hold people's words; they have no place in an error or a log.
        arguments: dict[str, Any] = {"check_same_thread": False, "timeout": busy_seconds} if self._sqlite else {}
        pool: dict[str, Any] = {"poolclass": StaticPool} if self._sqlite else {}
        self._engine = create_engine(url, hide_parameters=True, connect_args=arguments, **pool)
        self._writer = self._engine.execution_options()
        if self._sqlite:
            event.listen(self._engine, "connect", _connected)
            _begin_by(self._engine.dialect, "BEGIN")
        self._limiter = anyio.CapacityLimiter(1)  # whose turn it is
        self._thread = anyio.CapacityLimiter(1)
        self._queue = Queue()
        self.known: tuple[int, str] = (0, GENESIS)

    async def start(self, prepare: Callable[[Connection], None], check: Callable[[Connection], bool]) -> None:
        """Open the file, make what is missing, and look whether it is sound.

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

        It may share the transaction with other steps, in the order they came. One that raises takes nothing of the
        others with it. When the transaction itself fails, none of it was written, and all are told.

        Raises:
            InfraError: `ledger-unavailable`.
        """
        mine = WriteJob(step)
        if await self._queue.joined(mine):  # else somebody else has made it
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
        with _translated():
            self._look()
            with self._engine.begin() as connection:
                return step(connection)

    def _write(self, batch: Sequence[WriteJob[Any]]) -> None:
        """Make some steps one transaction. Raises nothing: each step has its result or its error after this."""
        try:
            with _translated():
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
        """One step, taken back alone when it fails.

        Raises:
            Exception: the step's, when the database has given up the whole transaction over it.
        """
        run, head = tx.connection.connection.cursor().execute, tx.head
        run("SAVEPOINT step")
        try:
            with _translated():
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
        with _translated():
            if self.path:
                make_private(self.path)
            with self._engine.begin() as connection:
                old = check(connection)
            if self._sqlite:
                self._settle()
                # A write takes its lock at once: to begin by reading and fail when first writing is how SQLite
                # deadlocks. A dialect learns from its first connection, so only now is it whole to be copied.
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

    def _settle(self) -> None:
        """What must stand outside a transaction: the journal's mode, and a look through a file of ordinary size."""
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
        """Notice files that were removed, exchanged or cut under us: SQLite would go on writing into nowhere."""
        for file in self._watched:
            size = file.truncated_to()
            if size is None:
                continue
            if size or file is self._watched[0]:
                self._damaged = True
            else:
                # The journal at nothing: someone moved all of it into the file, or threw it away. Pages remembered
                # would hide which, so look with a new connection.
                self._engine.dispose()
                self._settle()
        if self._damaged:
            raise unavailable("its file was cut while the server ran")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise unavailable(error) from error
    except UnicodeEncodeError:  # a lone surrogate in an id or a filter; texts to keep are cleaned before
        raise InfraError("invalid-argument", "The text holds what is no character.") from None


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


def _begin_by(dialect: Dialect, words: str) -> None:
    """Give a dialect its words to begin a transaction with. As an engine's event they would slow every statement."""

    def begin(raw: PoolProxiedConnection) -> None:
        raw.cursor().execute(words)

    dialect.do_begin = begin  # type: ignore[method-assign,assignment]
