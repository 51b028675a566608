"""The runs of a workspace on this machine: one at a time, each noted while it goes on.

A run outlives a server that is killed: it comes to its end, and the next server waits for it. One that is killed itself
leaves its note and, with some backends, the lock of the state.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from time import time
from typing import Final

import anyio

from infra_mcp.clients.terraform import Lock, TerraformError, end_group
from infra_mcp.errors import Unavailable

_SLACK: Final = 5.0  # seconds between the note of a run and its lock
_LOOK: Final = 0.2  # seconds between two looks at a run of another server
_MAX_NOTES: Final = 100


@dataclass(frozen=True)
class Note:
    """A run that was started and not seen to end."""

    pid: int
    began: float  # seconds since the epoch
    birth: str  # when the process began, as the system counts: a process id alone is used again
    is_apply: bool
    folder: str

    @property
    def lives(self) -> bool:
        """Whether the process is still there."""
        return _birth(self.pid) == self.birth != ""


class Runs:
    """The notes of a workspace's runs, in its own folder."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self._notes = base / "runs"

    @contextlib.contextmanager
    def noted(self, folder: Path, *, is_apply: bool) -> Iterator[Callable[[int], None]]:
        """For the time of a run: a function that notes its process id. The note stays when the run is killed."""
        path: Path | None = None

        def note(pid: int) -> None:
            nonlocal path
            path = self._notes / f"{pid}.json"
            self._notes.mkdir(parents=True, exist_ok=True, mode=0o700)
            made = Note(pid, time(), _birth(pid), is_apply, str(folder))
            path.write_text(json.dumps(asdict(made)), encoding="utf-8")

        try:
            yield note
        except TerraformError as error:
            if error.code < 0:  # killed: it may have left a lock
                path = None
            raise
        except BaseException:
            path = None
            raise
        finally:
            if path:
                path.unlink(missing_ok=True)

    def left(self) -> list[Note]:
        """The runs that were not seen to end, the first one first."""
        found = []
        for path in sorted(self._notes.glob("*.json"))[:_MAX_NOTES] if self._notes.is_dir() else ():
            try:
                found.append(Note(**json.loads(path.read_text(encoding="utf-8"))))
            except (ValueError, TypeError, OSError):
                path.unlink(missing_ok=True)
        return sorted(found, key=lambda one: one.began)

    def forget(self) -> None:
        """Forget the runs that are over: the state was locked and written since."""
        for one in self.left():
            if not one.lives:
                (self._notes / f"{one.pid}.json").unlink(missing_ok=True)

    async def wait(self, seconds: float, say: Callable[[str], None]) -> None:
        """Wait for a run of a server that was killed. A plan is ended; an apply comes to its own end.

        What a run that was killed itself left behind is ended: its providers would go on unseen.

        Raises:
            Unavailable: it takes longer.
        """
        for one in self.left():
            if one.lives and not one.is_apply:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(one.pid, signal.SIGKILL)
            with anyio.move_on_after(seconds):
                while one.lives:
                    say("waiting for an apply that a former server began")
                    await anyio.sleep(_LOOK)
            if one.lives:
                what = f"An apply that a former server began still runs after {seconds:g} s (process {one.pid})."
                raise Unavailable("workspace-locked", what)
            end_group(one.pid)

    def owns(self, lock: Lock) -> bool:
        """Whether a lock is of one of our runs that is no more: by its holder, and by when it was taken."""
        who = f"{pwd.getpwuid(os.getuid()).pw_name}@{socket.gethostname()}"
        taken = _moment(lock.created)
        if lock.who != who or taken is None or not lock.id:
            return False
        runs = self.left()
        if any(one.lives for one in runs):
            return False
        return any(one.began - _SLACK <= taken <= one.began + _SLACK for one in runs)


def _moment(text: str) -> float | None:
    """A time as Go prints it (2026-11-30 05:55:45.110874226 +0000 UTC), in seconds since the epoch."""
    day, _, rest = text.partition(" ")
    clock, _, zone = rest.partition(" ")
    with contextlib.suppress(ValueError):
        whole, _, part = clock.partition(".")
        made = datetime.strptime(f"{day} {whole} {zone.split(' ')[0]}", "%Y-%m-%d %H:%M:%S %z")
        return made.timestamp() + (float(f"0.{part}") if part else 0.0)
    return None


def _birth(pid: int) -> str:
    """When a process began, in clock ticks since the system's start; empty for one that is gone. Source: proc(5)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in {"Z", "X"} else fields[19]
