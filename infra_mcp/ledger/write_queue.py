"""Steps that wait to be written: the caller of one leads, and writes all that wait by then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import anyio
from sqlalchemy import Connection

from infra_mcp.errors import InfraError

T = TypeVar("T")

MAX_BATCH = 256  # steps of one transaction: more would keep readers waiting


@dataclass
class Tx:
    """A write transaction: its connection, and the head of the chain inside it."""

    connection: Connection
    known: tuple[int, str]  # the newest event this process knows to be durable
    head: tuple[int, str] | None = None  # the newest event, once looked up or added


class WriteJob(Generic[T]):
    """One step of a transaction, and then its result or its error."""

    def __init__(self, step: Callable[[Tx], T]) -> None:
        self._step = step
        self._value: T | None = None
        self._error: BaseException | None = None
        self._has_run = False
        self.begun = False
        self.turn = anyio.Event()  # it has ended, or its caller must lead

    def run(self, tx: Tx) -> None:
        """Run the step."""
        self._value = self._step(tx)
        self._has_run = True

    def fail(self, error: BaseException) -> None:
        """Note that it failed or was rolled back. The first error stays: it is the step's own."""
        self._error = self._error or error

    def result(self) -> T:
        """The step's result, or the error it or the transaction failed with, raised."""
        if self._error is not None:
            raise self._error
        if not self._has_run:  # its leader could not start the worker thread
            raise InfraError("ledger-unavailable", "The write could not be started.")
        return self._value  # type: ignore[return-value]  # None only where the step returned None


class Queue:
    """The steps that wait. It runs on the event loop only, without a pause inside."""

    def __init__(self) -> None:
        self._waiting: list[WriteJob[Any]] = []
        self._led = False

    async def joined(self, mine: WriteJob[Any]) -> bool:
        """Add a step; returns once it has ended, or once its caller must lead (true).

        A cancelled caller removes its step, unless that has begun: then it waits for its end.
        """
        self._waiting.append(mine)
        if not self._led:
            self._led = True
            return True
        try:
            await mine.turn.wait()
        except BaseException:
            if mine.begun:
                with anyio.CancelScope(shield=True):
                    await mine.turn.wait()
            else:
                self._waiting.remove(mine)
                if mine.turn.is_set():  # it had to lead
                    self._hand_on()
            raise
        return not mine.begun

    def take(self) -> list[WriteJob[Any]]:
        """The steps of the next transaction, in the order they came."""
        batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
        for step in batch:
            step.begun = True
        return batch

    def done(self, leader: WriteJob[Any], batch: Sequence[WriteJob[Any]]) -> None:
        """A transaction has ended, or its leader was cancelled before it began: wake the callers, and hand on."""
        for step in batch:
            step.turn.set()
        if not leader.begun:
            self._waiting.remove(leader)
        self._hand_on()

    def _hand_on(self) -> None:
        if self._waiting:
            self._waiting[0].turn.set()
        else:
            self._led = False
