"""The server's log: one formatter and one filter for every record, also those of dependencies.

Dependencies log what strangers send, unchanged and as often as it comes. Here a record is one printable line, cut,
with secrets and session ids replaced; an exception adds its place and kind, not its message, which may contain
arguments. Of records from one place in the code some are kept, then one every ten seconds, with the number left out.
With `INFRA_MCP_LOG=json` the line is a JSON object, and names the request and the trace that the record is about.
"""

from __future__ import annotations

import json
import logging
import os
import re
import stat
import sys
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from infra_mcp.masking import Masker
from infra_mcp.settings import log_form
from infra_mcp.telemetry import ids_here
from infra_mcp.text import one_line

_MAX_LINE: Final = 2_000  # characters of a record
_FRAMES: Final = 12  # of an exception, the innermost ones
_BURST: Final = 20.0  # records of one place at once
_EVERY: Final = 10.0  # seconds between two records of one place afterwards
_MAX_FILE: Final = 8 * 1024 * 1024  # bytes of our own log file; the previous one is kept
_SESSION: Final = re.compile(r"(?<![0-9A-Za-z])[0-9a-f]{32}(?![0-9A-Za-z])")


class OneLine(logging.Formatter):
    """A record as one printable line; an exception's frames follow on lines of their own."""

    def __init__(self) -> None:
        super().__init__()
        self._masker = Masker(os.urandom(32))

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        left_out = getattr(record, "left_out", 0)
        more = f" ({left_out} more like it were left out)" if left_out else ""
        head = one_line(f"{self.formatTime(record)} {record.levelname} {record.name}:", _MAX_LINE)
        lines = [f"{head} {self._message(record)}{more}", *(f"  {line}" for line in _where(record))]
        return "\n".join(lines)

    def _message(self, record: logging.LogRecord) -> str:
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - a dependency may pass wrong arguments
            message = str(record.msg)
        return one_line(_SESSION.sub("(an id)", self._masker.mask(message[: 4 * _MAX_LINE])), _MAX_LINE)


class OneObject(OneLine):
    """A record as a JSON object on one line, with the request and the trace that it is about; the same is masked."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        found: dict[str, Any] = {"time": at, "level": record.levelname, "logger": one_line(record.name, _MAX_LINE)}
        found |= {"message": self._message(record)} | ids_here()
        if left_out := getattr(record, "left_out", 0):
            found["left_out"] = left_out
        if frames := _where(record):
            found |= {"error": frames.pop(), "frames": frames}
        return json.dumps(found)


def _where(record: logging.LogRecord) -> list[str]:
    """The innermost frames of a record's exception, and its kind; not its message."""
    if not record.exc_info or (error := record.exc_info[1]) is None:
        return []
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    where = [one_line(f"{one.filename}:{one.lineno} in {one.name}", _MAX_LINE // 4) for one in frames]
    return [*where, type(error).__name__]


class Folding(logging.Filter):
    """Lets some records of each place in the code through; a later one counts those left out."""

    def __init__(self) -> None:
        super().__init__()
        self._places: dict[tuple[str, str, int], tuple[float, float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is kept."""
        place = (record.name, record.pathname, record.lineno)
        now = time.monotonic()
        left, since, skipped = self._places.get(place, (_BURST, now, 0))
        left = min(_BURST, left + (now - since) / _EVERY)
        kept = left >= 1.0
        self._places[place] = (left - 1.0, now, 0) if kept else (left, now, skipped + 1)
        if kept and skipped:
            record.left_out = skipped
        return kept


class _Bounded(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to standard error; where that is the given file, a full one is renamed and a new one begun."""

    def __init__(self, path: Path | None) -> None:
        super().__init__(sys.stderr)
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        if self._path is not None:
            self._rotate(self._path)
        super().emit(record)

    def _rotate(self, path: Path) -> None:
        try:
            there = os.fstat(2)
            if not stat.S_ISREG(there.st_mode) or there.st_size < _MAX_FILE:
                return
            path.replace(path.with_name(f"{path.name}.1"))
            fresh = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        except OSError:
            return  # the old file goes on
        for descriptor in (1, 2):
            if os.path.samestat(os.fstat(descriptor), there):
                os.dup2(fresh, descriptor)
        os.close(fresh)


def to_stderr(path: Path | None) -> None:
    """Log to standard error from now on, unless logging is configured already.

    Args:
        path: the file that standard error is, where it is the server's own log; else None.
    """
    root = logging.getLogger()
    if root.handlers:
        return
    handler = _Bounded(path)
    handler.setFormatter(OneObject() if log_form() == "json" else OneLine())
    handler.addFilter(Folding())
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    for noisy in ("mcp", "uvicorn", "sse_starlette", "alembic", "httpx2"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
