"""Steps that wait to be written, and who writes them: one of their callers leads, for all that wait by then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import anyio
from sqlalchemy import Connection

T = TypeVar("T")

MOST = 256  # steps of one transaction: more would keep readers waiting


@dataclass
class Tx:
    """A write transaction: its connection, and the head of the chain inside it."""

    connection: Connection
    known: tuple[int, str]  # the newest event this process knows to be durable
    head: tuple[int, str] | None = None  # the newest event, once looked up or added


class WriteJob(Generic[T]):
    """One step of a transaction: what it is to do, and then its result or its error."""

    def __init__(self, step: Callable[[Tx], T]) -> None:
        self._step = step
        self._value: T | None = None
        self._error: BaseException | None = None
        self._made = False
        self.begun = False
        self.turn = anyio.Event()  # it is made, or its caller is to lead

    def run(self, tx: Tx) -> None:
        """Do it."""
        self._value = self._step(tx)
        self._made = True

    def fail(self, error: BaseException) -> None:
        """It was not made, or taken back. The first error stays: it is the step's own."""
        self._made = False
        self._error = self._error or error

    def result(self) -> T:
        """What it gave.

        Raises:
            BaseException: what it, or the transaction, failed with.
        """
        if self._error is not None:
            raise self._error
        if not self._made:  # pragma: no cover - it is made or has failed
            msg = "the step was never made"
            raise RuntimeError(msg)
        return self._value  # type: ignore[return-value]  # None only where the step gave None


class Queue:
    """The steps that wait. All of it runs on the event loop, between two of its pauses."""

    def __init__(self) -> None:
        self._waiting: list[WriteJob[Any]] = []
        self._led = False

    async def joined(self, mine: WriteJob[Any]) -> bool:
        """Add a step; returns once it is made, or once its caller must lead (true).

        A caller that is cancelled takes its step away, unless that has begun: then it waits for its end.
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
                self._leave(mine)
            raise
        return not mine.begun

    def take(self) -> list[WriteJob[Any]]:
        """The steps of the next transaction, in the order they came."""
        batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        for step in batch:
            step.begun = True
        return batch

    def done(self, leader: WriteJob[Any], batch: Sequence[WriteJob[Any]]) -> None:
        """A transaction has ended, or its leader was cancelled before it began: wake who waited, and hand on."""
        for step in batch:
            step.turn.set()
        if not leader.begun:
            self._waiting.remove(leader)
        self._hand_on()

    def _leave(self, mine: WriteJob[Any]) -> None:
        self._waiting.remove(mine)
        if mine.turn.is_set():  # it was to lead
            self._hand_on()

    def _hand_on(self) -> None:
        if self._waiting:
            self._waiting[0].turn.set()
        else:
            self._led = False
