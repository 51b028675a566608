"""What a command does when it is told to stop: it says what goes on without it, and leaves at once.

A pipeline that is cancelled sends SIGTERM (some send SIGINT first); a person presses Ctrl-C. That does not stop the
change itself, which is the server's work; `infra-mcp request cancel` does.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from infra_mcp.cli.output import note

INTERRUPTED, TERMINATED = 130, 143  # the exit codes shells know these ends by: 128 and the signal's number


class Terminated(BaseException):
    """SIGTERM came. As with KeyboardInterrupt, no `except Exception` may catch it."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn the first SIGTERM into `Terminated` while the block runs; a second one ends the process."""

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
def goes_on(message: Callable[[], str]) -> Iterator[None]:
    """Print `message` on stderr when the block is stopped by SIGTERM or Ctrl-C, and pass that on with it as a note."""
    try:
        yield
    except (KeyboardInterrupt, Terminated) as stop:
        stop.add_note(message())
        note(message())
        raise
