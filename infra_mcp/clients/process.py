"""Runs a program of others to its end: an argument list and no shell, bounded in time, output and memory.

The child has a session of its own, no terminal, no standard input but the given bytes, and exactly the given
environment. It never outlives its caller's block, except a server that is killed.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import ByteReceiveStream, Process

MAX_OUTPUT: Final = 32 * 1024 * 1024  # bytes
MAX_ERRORS: Final = 64 * 1024  # bytes
_MAX_LINE: Final = 4096  # bytes of a line that is reported


@dataclass(frozen=True)
class Ended:
    """A program that has ended."""

    code: int  # its exit code, or minus the signal that ended it
    out: bytes = field(repr=False)
    err: bytes = field(repr=False)
    timed_out: bool = False
    overflowed: bool = False  # it printed more than it may, and was stopped


async def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    seconds: float,
    given: bytes | None = None,
    on_line: Callable[[str], None] | None = None,
    grace: float = 0.0,
    max_output: int = MAX_OUTPUT,
    max_errors: int = MAX_ERRORS,
    max_memory: int | None = None,
    keep_open: Sequence[int] = (),
) -> Ended:
    """Run a program.

    Args:
        argv: the program's path, and its arguments.
        cwd: its working directory.
        env: its whole environment.
        seconds: how long it may take; then it is stopped.
        given: its standard input; closed where there is none.
        on_line: gets each line of its standard error, as it comes.
        grace: seconds that it gets to end in order, after SIGTERM, before it is killed.
        max_output: bytes of standard output.
        max_errors: bytes of standard error.
        max_memory: bytes of data it may allocate, where the system can bound that.
        keep_open: descriptors of ours that stay open in it.

    Raises:
        OSError: it cannot be started.
    """
    stdin = subprocess.DEVNULL if given is None else subprocess.PIPE
    process = await anyio.open_process(
        argv, stdin=stdin, cwd=cwd, env=dict(env), start_new_session=True, pass_fds=tuple(keep_open)
    )
    out, err = _Output(process, max_output), _Output(process, max_errors, on_line)
    in_time = False
    try:
        _bound_memory(process.pid, max_memory)
        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as group:
                group.start_soon(_give, process, given)
                group.start_soon(out.read, process.stdout)
                group.start_soon(err.read, process.stderr)
            await process.wait()
            in_time = True
    finally:
        with anyio.CancelScope(shield=True):
            if not in_time:
                await _stop(process, grace)
            await process.aclose()
    return Ended(process.returncode or 0, bytes(out.data), bytes(err.data), not in_time, out.is_full or err.is_full)


async def _give(process: Process, given: bytes | None) -> None:
    if given is None or process.stdin is None:
        return
    with contextlib.suppress(anyio.BrokenResourceError, BrokenPipeError, ConnectionError):  # it did not want all of it
        async with process.stdin:
            await process.stdin.send(given)


async def _stop(process: Process, grace: float) -> None:
    """Stop the child with all its own children: in order first, where it gets the time."""
    if process.returncode is None and grace:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        with anyio.move_on_after(grace):
            await process.wait()
    _kill(process)


@dataclass
class _Output:
    """What a child prints, up to a bound; above it the child is killed."""

    process: Process
    most: int
    on_line: Callable[[str], None] | None = None

    def __post_init__(self) -> None:
        self.data = bytearray()
        self.is_full = False
        self._told = 0

    async def read(self, stream: ByteReceiveStream | None) -> None:
        if stream is None:  # pragma: no cover - it is started with pipes
            raise AssertionError
        async for piece in stream:
            self.data += piece
            self._tell()
            if len(self.data) > self.most:
                self.is_full = True
                _kill(self.process)
                return

    def _tell(self) -> None:
        while self.on_line is not None and (end := self.data.find(b"\n", self._told)) >= 0:
            line, self._told = self.data[self._told : min(end, self._told + _MAX_LINE)], end + 1
            self.on_line(line.decode("utf-8", "replace"))


def _bound_memory(pid: int, most: int | None) -> None:
    """Bound the child's data where the system can do that from outside."""
    if most is not None and hasattr(resource, "prlimit"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            resource.prlimit(pid, resource.RLIMIT_DATA, (most, most))


def _kill(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
