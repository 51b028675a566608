"""Progress of tasks that take minutes: a line redrawn on a terminal, else a plain line every ten seconds."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import TextIO

_PLAIN_EVERY = 10.0  # seconds
_REDRAW_EVERY = 0.2  # seconds
_TRUST_AFTER = 0.03  # the part that must be done before a rate says anything


def duration(seconds: float) -> str:
    """A time for people: `40 s`, `6 min`, `1 h 5 min`."""
    if seconds < 90:  # noqa: PLR2004 - up to here seconds are easier to read than minutes
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"  # noqa: PLR2004 - an hour


class Progress:
    """Reports on one stream how far a task is.

    Args:
        stream: where to write; None writes nothing.
        clock: seconds that only grow.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._terminal = stream is not None and stream.isatty()
        self._title = ""
        self._started = 0.0
        self._shown: float | None = None
        self._drawn = False

    def say(self, text: str) -> None:
        """Write one line that stays."""
        self.close()
        self._write(text + "\n")

    def update(self, title: str, done: float, total: float, unit: str = "") -> None:
        """Report how far the task called `title` is; its time left is estimated from its own first update.

        Args:
            title: what is being done; another title is another task.
            done: how much is done, from 0 to `total`.
            total: how much there is to do; 0 when not known yet.
            unit: what is counted; empty to show only the percentage.
        """
        now = self._clock()
        if title != self._title:
            self._title, self._started, self._shown = title, now, None
        every = _REDRAW_EVERY if self._terminal else _PLAIN_EVERY
        if self._shown is not None and now - self._shown < every:
            return
        self._shown = now
        text = self._line(done, total, unit, now - self._started)
        if self._terminal:
            self.close()
            self._write(text[: shutil.get_terminal_size().columns - 1])
            self._drawn = True
        else:
            self._write(text + "\n")

    def close(self) -> None:
        """Remove a line that is being redrawn."""
        if self._drawn:
            self._write("\r\x1b[K")
            self._drawn = False

    def _line(self, done: float, total: float, unit: str, elapsed: float) -> str:
        if not total:
            return self._title + (f": {done:.0f} {unit}" if unit and done else "")
        part = min(1.0, done / total)
        counts = f" ({done:.0f} of {total:.0f} {unit})" if unit else ""
        left = f", about {duration(elapsed / part * (1 - part))} left" if _TRUST_AFTER <= part < 1 else ""
        return f"{self._title}: {part:.0%}{counts}{left}"

    def _write(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(text)
            self._stream.flush()
