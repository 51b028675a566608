"""What commands print: short plain lines, or JSON for those who parse, and on stderr how far something is."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any, Self

from infra_mcp.codes import CODES, Exit
from infra_mcp.errors import InfraError
from infra_mcp.text import escaped, one_line

_AGAIN = 30.0  # seconds after which a plain line that says the same is printed again, so that a log shows life
_LONGEST = 300  # characters of one message


def show(as_json: bool, data: Any, text: str) -> int:  # noqa: ANN401 - any JSON value
    """Print the answer of a command on stdout, `data` as JSON or `text`, and return the exit code of success."""
    # In JSON an escape is the same text, so nothing is lost to those who parse.
    print(escaped(json.dumps(data, indent=2, ensure_ascii=False) if as_json else text))
    return int(Exit.LANDED)


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def note(text: str) -> None:
    """Print a message on stderr."""
    print(escaped(text), file=sys.stderr, flush=True)


def agreed(question: str) -> bool:
    """Ask a person who sits at a terminal."""
    note(f"{question} [y/N]")
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def fail(as_json: bool, error: InfraError) -> int:
    """Print a failure and return its exit code; as JSON it goes to stdout, where the answer would be."""
    if as_json:
        show(True, error.as_dict() | {"exit": int(error.exit)}, "")
    else:
        note(f"{error.code}: {error.what}\n  {error.next_step}")
    return int(error.exit)


def text_of(result: dict[str, Any]) -> str:
    """The text of a tool's result."""
    return "\n".join(part.get("text", "") for part in result.get("content", ()) if part.get("type") == "text")


def show_result(as_json: bool, result: dict[str, Any], text: str | None = None) -> int:
    """Print the result of a tool and return the exit code it means."""
    data = result.get("structuredContent") or {}
    if result.get("isError") and not as_json:
        note(text_of(result))
    else:
        show(as_json, data, text_of(result) if text is None else text)
    if "exit" in data:
        return int(data["exit"])
    if result.get("isError"):
        code = str(data.get("code", "internal"))
        return int(CODES[code].exit if code in CODES else Exit.FAILED)
    return int(Exit.LANDED)


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
