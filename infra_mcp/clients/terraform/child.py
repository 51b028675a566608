"""Runs a plan or an apply as a child that outlives this process: no standard input, a session of its own.

Its output goes into a private file and no pipe, so that an apply comes to its end, and saves its state, when this
process is killed meanwhile. `clients.process` is for everything else.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import Process

from infra_mcp.errors import InfraError
from infra_mcp.text import named, one_line

MAX_OUTPUT: Final = 128 * 1024 * 1024  # bytes
GRACE: Final = 60.0  # seconds that a run may take to stop after it was asked to
_LOOK: Final = 0.05  # seconds between two looks at what it printed


@dataclass(frozen=True)
class Command:
    """A command line and what it runs in."""

    argv: Sequence[str]
    program: str  # the executable's path: what is interrupted, also where it runs in a jail
    cwd: Path
    env: Mapping[str, str]
    folder: Path  # private, for its output
    seconds: float


async def run(command: Command, feed: Callable[[bytes], None], started: Callable[[int], None]) -> int:
    """Run a command to its end. When it takes too long or is cancelled, it is interrupted once, and then killed.

    Args:
        command: what to run.
        feed: takes each line that it prints.
        started: is told the process id.

    Returns:
        Its exit code; minus the signal that ended it.

    Raises:
        InfraError: `setup-failed`: it cannot be started; `run-stopped`: it took too long, or printed too much.
    """
    with _output(command.folder) as out:
        try:
            process = await anyio.open_process(
                list(command.argv),
                stdin=subprocess.DEVNULL,
                stdout=out.fd,
                stderr=subprocess.STDOUT,
                cwd=command.cwd,
                env=dict(command.env),
                start_new_session=True,
            )
        except OSError as error:
            what = f"{named(command.program)} cannot be started: {one_line(os.strerror(error.errno or 0))}."
            raise InfraError("setup-failed", what) from error
        late = await _watched(process, command, out, feed, started)
        end_group(process.pid)
        out.lines(feed, last=True)
        if late:
            raise InfraError("run-stopped", f"{named(command.program)} {late} and was stopped.")
        return process.returncode if process.returncode is not None else -signal.SIGKILL


async def _watched(
    process: Process, command: Command, out: _Output, feed: Callable[[bytes], None], started: Callable[[int], None]
) -> str:
    """Wait for the end and pass lines on; returns why it was stopped, empty where it ended by itself."""
    late = ""
    try:
        started(process.pid)
        with anyio.move_on_after(command.seconds) as waiting:
            async with anyio.create_task_group() as group:

                async def look() -> None:
                    nonlocal late
                    while True:
                        await anyio.sleep(_LOOK)
                        out.lines(feed)
                        if out.size > MAX_OUTPUT:
                            late = "printed too much"
                            waiting.cancel()

                group.start_soon(look)
                await process.wait()
                group.cancel_scope.cancel()
        if process.returncode is None:
            await stop(process.pid, command.program, process.wait)
            late = late or f"did not end within {command.seconds:g} s"
    except BaseException:
        await stop(process.pid, command.program, process.wait)
        raise
    return late


async def stop(pid: int, program: str, wait: Callable[[], Awaitable[object]]) -> None:
    """Interrupt a run once, so that it saves its state; kill it with its own children when it does not end.

    Args:
        pid: of the child.
        program: its executable's path.
        wait: waits until it has ended.
    """
    with anyio.CancelScope(shield=True):
        for one in [one for one in descendants(pid) if _runs(one, program)][:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGINT)
        with anyio.move_on_after(GRACE):
            await wait()
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        await wait()


def end_group(pid: int) -> None:
    """End what a run left behind that is over: a provider goes on when the program is killed.

    Its session has the run's process id, which is not used again while anything of that session is there.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if not Path(f"/proc/{pid}").exists():
            os.killpg(pid, signal.SIGKILL)


def end_work(folder: Path) -> bool:
    """End what a killed server left at work in a folder, known by its working folder. Blocks. Source: proc(5).

    What has a terminal is a person's. Where an apply is among it, all goes on: an apply that is killed may have made
    what no state knows.

    Args:
        folder: of one run, or of several.

    Returns:
        Whether anything goes on.
    """
    inside = folder.resolve()
    found = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cwd") if _is_at(path, inside)]
    found = [pid for pid in found if not _has_terminal(pid)]
    if any("apply" in _words(pid) for pid in found):
        return True
    for pid in found:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return False


def _is_at(link: Path, folder: Path) -> bool:
    with contextlib.suppress(OSError):  # it has ended, or is another user's
        return link.readlink().is_relative_to(folder)
    return False


def _has_terminal(pid: int) -> bool:
    with contextlib.suppress(OSError, IndexError):
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return text.rpartition(")")[2].split()[4] != "0"
    return False


def _words(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
    return []


def descendants(pid: int) -> Iterator[int]:
    """A process and those that it started, the outer ones first. Source: proc(5)."""
    todo = [pid]
    while todo:
        here = todo.pop(0)
        yield here
        with contextlib.suppress(OSError):
            todo += map(int, Path(f"/proc/{here}/task/{here}/children").read_text(encoding="ascii").split())


def _runs(pid: int, program: str) -> bool:
    """Whether a process runs a program; where that cannot be seen, yes."""
    try:
        return Path(f"/proc/{pid}/exe").readlink() == Path(program).resolve()
    except OSError:
        return True


class _Output:
    """A file that a child writes, and that is read as it grows."""

    def __init__(self, folder: Path) -> None:
        fd, path = tempfile.mkstemp(dir=folder, prefix="out-")  # mode 0600
        self.fd, self.path = fd, Path(path)
        self._read = 0
        self._rest = b""

    @property
    def size(self) -> int:
        return os.fstat(self.fd).st_size

    def lines(self, feed: Callable[[bytes], None], *, last: bool = False) -> None:
        """Pass on each line that is new."""
        while piece := os.pread(self.fd, 1 << 20, self._read):
            self._read += len(piece)
            *whole, self._rest = (self._rest + piece).split(b"\n")
            for line in whole:
                feed(line)
        if last and self._rest:
            feed(self._rest)
            self._rest = b""


@contextlib.contextmanager
def _output(folder: Path) -> Iterator[_Output]:
    """A file, which is removed afterwards."""
    one = _Output(folder)
    try:
        yield one
    finally:
        one.path.unlink(missing_ok=True)
        os.close(one.fd)
