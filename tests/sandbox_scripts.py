"""What tests put on a machine, and what they look up on it."""

import os
import resource
import subprocess
from pathlib import Path

import anyio

__all__ = ["appears", "few_descriptors", "kubectl", "listening", "says", "script"]


def script(path: Path, body: str) -> Path:
    """A small program at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def says(path: Path, text: str) -> Path:
    """A program that says only `text`."""
    return script(path, f"cat <<'END'\n{text}\nEND")


async def appears(path: Path) -> None:
    """Wait until another process has made the file; a deadline is the caller's."""
    while not await anyio.Path(path).exists():  # noqa: ASYNC110 - nothing in this process could set an event
        await anyio.sleep(0.01)


def listening(pids):
    """(address, port) of every TCP socket that one of these processes listens on, from /proc."""
    inodes = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            target = os.fspath(descriptor.readlink())
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A" and columns[9] in inodes:  # LISTEN
                address, port = columns[1].split(":")
                found.add((address, int(port, 16)))
    return found


def kubectl(plane, *words):
    """Run kubectl as the administrator of `plane`; returns what it prints."""
    argv = [plane.kubectl, "--kubeconfig", plane.kubeconfig, "--context", plane.context]
    done = subprocess.run(
        [*argv, "--cache-dir", Path(plane.kubeconfig).parent / "cache", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def few_descriptors() -> None:
    """Let this process have 1,024 descriptors and no more: the setup of a server that is to run short of them."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
