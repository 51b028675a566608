"""What a command does when it is told to stop: it says what goes on without it, and leaves at once.

A pipeline that is cancelled sends SIGTERM (some send SIGINT first); a person presses Ctrl-C. The change itself is the
server's work and is not stopped by that; `infra-mcp request cancel` is for that.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from infra_mcp.cli.output import note

__all__ = ["INTERRUPTED", "TERMINATED", "Terminated", "goes_on", "stoppable"]

INTERRUPTED, TERMINATED = 130, 143  # the exit codes shells know these ends by: 128 and the signal's number


class Terminated(BaseException):
    """SIGTERM came. Like KeyboardInterrupt no `except Exception` may keep it."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn the first SIGTERM into `Terminated` while the block runs; a second one ends the process as ever."""

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - what a handler is given
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread, which alone gets signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def goes_on(words: Callable[[], str]) -> Iterator[None]:
    """Say `words` on stderr when the block is stopped by SIGTERM or Ctrl-C, and pass that on with them as a note."""
    try:
        yield
    except (KeyboardInterrupt, Terminated) as stop:
        stop.add_note(words())
        note(words())
        raise
