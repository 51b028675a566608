"""The processes of one sandbox: found by the path they were started with, and ended by their ids.

No pid file is trusted: after a reboot its number may be anybody's, and a sandbox killed while starting may have none.
A process that is started from a sandbox's folder has that path as its first argument.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

import anyio

from infra_mcp.errors import InfraError
from infra_mcp.sandbox.places import Place

# What runs when a sandbox is up, by the names kwokctl gives them.
COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok-controller")

_MAX_END = 10.0  # seconds from SIGKILL to being gone
_POLL = 0.02  # seconds


class Child(NamedTuple):
    """A process of a sandbox."""

    pid: int
    name: str  # of its program
    passing: bool  # whether it only prints its version, which kwokctl asks for before it starts anything


def running(place: Place) -> list[Child]:
    """The processes of this sandbox, also those of a start that was interrupted."""
    return [
        Child(pid, Path(argv[0]).name, passing="--version" in argv)
        for pid, argv in _all_processes()
        if _belongs(argv, place)
    ]


def components(place: Place) -> set[str]:
    """The names of the components that run."""
    return {child.name for child in running(place) if not child.passing}.intersection(COMPONENTS)


async def end(place: Place) -> int:
    """End all of them by SIGKILL and wait until they are gone; returns how many there were.

    Again until none is found, since a kwokctl that is still starting a cluster may have started one more meanwhile.

    Raises:
        InfraError: `setup-failed`, when one cannot be ended, for example another user's.
    """
    ended = set()  # their data goes too, or is on disk already
    deadline = anyio.current_time() + _MAX_END
    while children := running(place):
        for child in sorted(children, key=lambda child: child.name != "kwokctl"):
            try:
                if _kill(child.pid, place):
                    ended.add(child.pid)
            except PermissionError as error:
                what = f"Process {child.pid} ({child.name}) of sandbox {place.name} belongs to another user."
                raise InfraError("setup-failed", what, next_step="Ask its owner to run the same command.") from error
        if anyio.current_time() > deadline:
            pids = ", ".join(f"{child.pid} ({child.name})" for child in children)
            raise InfraError("setup-failed", f"Processes of sandbox {place.name} do not end: {pids}.")
        await anyio.sleep(_POLL)
    return len(ended)


def _belongs(argv: list[str], place: Place) -> bool:
    """Whether a command line is a component of this place, or the kwokctl that starts it."""
    is_kwokctl = Path(argv[0]).name == "kwokctl" and os.fspath(place.config) in argv
    return is_kwokctl or argv[0].startswith(f"{place.cluster}{os.sep}bin{os.sep}")


def _kill(pid: int, place: Place) -> bool:
    """Send SIGKILL to `pid` if it is still ours; through a pid descriptor where there is one, so never to another."""
    if sys.platform != "linux":
        os.kill(pid, signal.SIGKILL)
        return True
    with suppress(ProcessLookupError), ExitStack() as stack:
        descriptor = os.pidfd_open(pid)
        stack.callback(os.close, descriptor)
        argv = _argv(pid)
        if argv and _belongs(argv, place):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            return True
    return False


def _all_processes() -> Iterator[tuple[int, list[str]]]:
    """Every process's id and command line; those that ended and were not waited for have none."""
    if sys.platform != "linux":
        ps = ["ps", "-axww", "-o", "pid=,args="]
        done = subprocess.run(ps, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
        for line in done.stdout.splitlines():
            pid, *argv = line.split()  # an argument with a space comes apart; our paths have none
            if argv:
                yield int(pid), argv
        return
    pids = (int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit())
    yield from ((pid, argv) for pid in pids if (argv := _argv(pid)))


def _argv(pid: int) -> list[str] | None:
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    return [os.fsdecode(part) for part in line.split(b"\0")[:-1]] or None
