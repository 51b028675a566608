"""Writes objects of one commit: blobs, trees and the commit, each by a git child that was started beforehand.

Starting a git costs more than what it does here, so the three start together and answer line by line. What they write
is checked by git as ever: `mktree` refuses a tree of objects that are not there, `hash-object` a commit that is none.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from infra_mcp.clients.git.objects import TREE, Entry
from infra_mcp.clients.git.runner import READ_SECONDS, Runner, readable
from infra_mcp.errors import InfraError
from infra_mcp.text import quoted

GITLINK = "160000"


class Writer:
    """The children that write the objects of one commit. Synchronous; for one build.

    Args:
        runner: starts git.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        with contextlib.ExitStack() as begun:  # a start that fails leaves nothing of those before it
            self._folder = begun.enter_context(tempfile.TemporaryDirectory(prefix="infra-mcp-"))
            self._blobs = self._start(begun, "hash-object", "-w", "--no-filters", "--stdin-paths")
            self._trees = self._start(begun, "mktree", "-z", "--batch")
            self._commits = self._start(begun, "hash-object", "-t", "commit", "-w", "--stdin")
            self._end = begun.pop_all()

    def _start(self, begun: contextlib.ExitStack, *args: str) -> subprocess.Popen[bytes]:
        child = self._runner.start(*args, feed=True)
        begun.callback(_end, child)
        return child

    def __enter__(self) -> Self:
        """Ready to write."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._end.close()

    def store(self, contents: Mapping[str, bytes]) -> dict[str, str]:
        """Write blobs exactly as the bytes are (no filters, no line endings); their ids by path."""
        for number, data in enumerate(contents.values()):
            path = Path(self._folder, str(number))
            path.write_bytes(data)
            _feed(self._blobs, f"{path}\n".encode())
        return {path: _line(self._blobs, "hash-object") for path in contents}

    def tree(self, entries: Iterable[tuple[str, Entry]]) -> str:
        """Write one tree; git sorts its entries."""
        lines = [f"{entry.mode} {_kind(entry.mode)} {entry.oid}\t{name}\0" for name, entry in entries]
        _feed(self._trees, ("".join(lines) + "\0").encode("utf-8", "surrogateescape"))
        return _line(self._trees, "mktree")

    def commit(self, data: bytes) -> str:
        """Write the commit; nothing else can be written afterwards."""
        done = self._runner.finish(self._commits, data)
        if done.code:
            raise InfraError("git-failed", f"git hash-object: {done.why}.")
        return done.out.decode().strip()


def _kind(mode: str) -> str:
    return {TREE: "tree", GITLINK: "commit"}.get(mode, "blob")


def _feed(child: subprocess.Popen[bytes], data: bytes) -> None:
    if child.stdin is None:  # pragma: no cover - it was started with a pipe
        return
    with contextlib.suppress(BrokenPipeError):  # the answer tells why
        view = memoryview(data)
        while view:
            view = view[child.stdin.write(view) or 0 :]


def _line(child: subprocess.Popen[bytes], name: str) -> str:
    """One line of the child's answer.

    Raises:
        InfraError: `git-failed`, with what git said, or when it does not answer.
    """
    found = b""
    deadline = time.monotonic() + READ_SECONDS
    while child.stdout is not None and not found.endswith(b"\n"):
        piece = child.stdout.read(1) if readable(child.stdout.fileno(), deadline) else b""
        if not piece:
            said = _end(child)
            why = quoted(said) if said.strip() else "it did not answer"
            raise InfraError("git-failed", f"git {name}: {why}.")
        found += piece
    return found.decode().strip()


def _end(child: subprocess.Popen[bytes]) -> str:
    """Close the child's input, by which it ends, wait for that, and return what it said on standard error."""
    if child.stdin is not None:
        with contextlib.suppress(OSError):
            child.stdin.close()
    try:
        child.wait(timeout=1.0)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    said = ""
    for pipe in (child.stdout, child.stderr):
        if pipe is not None and not pipe.closed:
            said = pipe.read().decode("utf-8", "replace")
            pipe.close()
    return said
