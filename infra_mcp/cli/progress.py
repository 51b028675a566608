"""How far something is, on stderr: one live line on a terminal, plain lines where nobody looks on."""

from __future__ import annotations

import os
import sys
import time
from typing import Any, Self

from infra_mcp.cli.output import note
from infra_mcp.text import one_line

_AGAIN = 30.0  # seconds after which a plain line that says the same is printed again, so that a log shows life
_LONGEST = 300  # characters of one message


class Progress:
    """Call it with each message while the block runs.

    On a terminal the newest message stands in one line with the time passed, and is gone at the end. Elsewhere each
    message is a line when it says something new, and again every half minute.

    Args:
        quiet: show nothing, for those who parse what a command prints.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._live: Any = None
        self._task: Any = None
        self._last = ""
        self._at = 0.0

    def __enter__(self) -> Self:
        if not self._quiet and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb":
            self._live = _live()
            self._live.start()
        return self

    def __call__(self, message: str) -> None:
        """Show a message; what others wrote in it reaches the terminal as plain text only."""
        shown = one_line(message, _LONGEST)
        if self._quiet or not shown:
            return
        if self._live is not None:
            if self._task is None:
                self._task = self._live.add_task(shown, total=None)
            self._live.update(self._task, description=shown)
            return
        now = time.monotonic()
        if shown != self._last or now - self._at >= _AGAIN:
            note(shown)
            self._last, self._at = shown, now

    def __exit__(self, *exception: object) -> None:
        if self._live is not None:
            self._live.stop()


def _live() -> Any:  # noqa: ANN401 - a rich.progress.Progress, which is not imported here
    from rich import progress  # noqa: PLC0415 - 80 ms, and only for a terminal
    from rich.console import Console  # noqa: PLC0415 - the same

    columns = (
        progress.SpinnerColumn(),
        progress.TextColumn("{task.description}", markup=False),
        progress.TimeElapsedColumn(),
    )
    return progress.Progress(*columns, console=Console(stderr=True), transient=True)
