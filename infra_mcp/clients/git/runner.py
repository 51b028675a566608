"""Starts git, always with the same flags and the same clean environment, and waits for its end.

Everything here is synchronous and runs in worker threads. A thread is never abandoned, so a cancelled task still waits
for its git child, and no child is left half done.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from infra_mcp.errors import InfraError
from infra_mcp.text import quoted

# A repository's or a user's configuration must not make git run hooks or daemons, collect garbage, sign, use a
# transport that runs commands, or write index formats that reach beyond the file we name.
HYGIENE: dict[str, str] = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.splitIndex": "false",
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "protocol.ext.allow": "never",
    "commit.gpgSign": "false",
    "i18n.commitEncoding": "UTF-8",
    "log.showSignature": "false",
    "submodule.recurse": "false",
}
SETTINGS = tuple(f"GIT_CONFIG_{name}" for name in ("COUNT", "KEY_", "VALUE_", "GLOBAL", "SYSTEM", "NOSYSTEM"))
READ_SECONDS = 60.0
GRACE_SECONDS = 5.0


class Done(NamedTuple):
    """A git command that has ended."""

    code: int
    out: bytes
    err: str

    @property
    def why(self) -> str:
        """The first line of git's message that gives a reason, quoted."""
        lines = [line.strip() for line in self.err.splitlines() if line.strip()]
        reason = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[0] if lines else "")
        reason = reason.removeprefix("fatal: ").removeprefix("error: ")
        return quoted(reason) if reason else f"it ended with {self.code}"


@dataclass(eq=False)
class Runner:
    """Starts git in one repository."""

    repo: Path  # the top of a working tree
    keep: tuple[int, ...] = ()  # file descriptors that the children inherit
    seconds: float = READ_SECONDS  # how long a command may take
    home: Path | None = None  # another home than the user's: curl always reads the logins of ~/.netrc
    room: int | None = None  # bytes that a file which the children write may have, where the system can bound it

    @cached_property
    def common_folder(self) -> Path:
        """The git folder that all worktrees of the repository share."""
        return self.path("rev-parse", "--path-format=absolute", "--git-common-dir")

    def path(self, *args: str, at: Path | None = None) -> Path:
        """The path that `git ARGS` prints."""
        return Path(self.run(*args, at=at).out.decode("utf-8", "surrogateescape").rstrip("\n"))

    def start(
        self,
        *args: str,
        at: Path | None = None,
        feed: bool = False,
        config: Mapping[str, str] | None = None,
        quiet: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Start `git ARGS` in its own session and return the child.

        Args:
            *args: the command and its arguments.
            at: the working tree to run in, when it is not the repository's own.
            feed: whether standard input is a pipe; it is the null device otherwise.
            config: settings beyond `HYGIENE`.
            quiet: whether its standard error is dropped.

        Raises:
            InfraError: `setup-failed`, when there is no git.
        """
        top = at or self.repo
        try:
            child = subprocess.Popen(
                ["git", "-C", str(top), *args],
                stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL if quiet else subprocess.PIPE,
                env=_environment(top, {**HYGIENE, **(config or {})}, self.home),
                pass_fds=self.keep,
                start_new_session=True,
                bufsize=0,
            )
        except FileNotFoundError as error:
            what = "git is not installed, or not on PATH."
            raise InfraError("setup-failed", what, next_step="Install git 2.36 or newer.") from error
        if self.room is not None and hasattr(resource, "prlimit"):
            with contextlib.suppress(ProcessLookupError):  # it has ended already
                resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (self.room, self.room))
        return child

    def run(
        self,
        *args: str,
        check: bool = True,
        at: Path | None = None,
        config: Mapping[str, str] | None = None,
        feed: bytes | None = None,
    ) -> Done:
        """Run `git ARGS` to its end; one that takes too long is asked to stop, then killed.

        Args:
            *args: the command and its arguments.
            check: whether a non-zero end is an error.
            at: as in `start`.
            config: as in `start`.
            feed: for its standard input.

        Raises:
            InfraError: `git-failed`, with git's reason, or when it did not end in time.
        """
        child = self.start(*args, at=at, config=config, feed=feed is not None)
        try:
            out, err = child.communicate(feed, timeout=self.seconds)
        except subprocess.TimeoutExpired as error:
            _stop(child)
            raise InfraError("git-failed", f"git did not end within {self.seconds:g} s and was stopped.") from error
        done = Done(child.returncode, out, err.decode("utf-8", "replace"))
        if check and done.code:
            raise InfraError("git-failed", f"git {args[0]}: {done.why}.")
        return done

    def batch(self, *args: str, quiet: bool = False) -> Batch:
        """Start `git ARGS`, a command that answers its input line by line."""
        return Batch(args[0], self.start(*args, feed=True, quiet=quiet))


class Batch:
    """A git child that answers its input, until that is closed."""

    def __init__(self, name: str, child: subprocess.Popen[bytes]) -> None:
        if child.stdin is None or child.stdout is None:  # pragma: no cover - `batch` starts it with pipes
            raise AssertionError
        self.name = name
        self._child = child
        self._input, self._output = child.stdin, child.stdout
        self._buffer = bytearray()

    def write(self, data: bytes, *, last: bool = False) -> None:
        """Write all of it; after the last, the input is closed."""
        with contextlib.suppress(BrokenPipeError):  # a child that has ended is noticed when its answer is read
            view = memoryview(data)
            while view:
                view = view[self._input.write(view) or 0 :]
            if last:
                self._input.close()

    def read_line(self, deadline: float) -> bytes:
        """The next line of the answer, without its end.

        Raises:
            EOFError: the child has ended, with what it wrote to standard error.
            InfraError: `git-failed`, when it does not answer by the deadline.
        """
        while (end := self._buffer.find(b"\n")) < 0:
            self._fill(deadline)
        return self.read(end + 1, deadline)[:-1]

    def read(self, size: int, deadline: float) -> bytes:
        """The next bytes of the answer; raises as `read_line`."""
        while len(self._buffer) < size:
            self._fill(deadline)
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def close(self) -> str:
        """End the child by closing its pipes, wait for that, and return what it wrote to standard error."""
        for pipe in (self._input, self._output):
            with contextlib.suppress(OSError):
                pipe.close()
        try:
            self._child.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        errors = self._child.stderr
        if errors is None or errors.closed:
            return ""
        with errors:
            return errors.read().decode("utf-8", "replace")

    def _fill(self, deadline: float) -> None:
        poller = select.poll()  # unlike select, for descriptors above 1023 too
        poller.register(self._output, select.POLLIN)
        if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise InfraError("git-failed", f"git {self.name} did not answer within {READ_SECONDS:g} s.")
        piece = os.read(self._output.fileno(), 1 << 20)
        if not piece:
            raise EOFError(self.close())
        self._buffer += piece


def _environment(top: Path, config: Mapping[str, str], home: Path | None) -> dict[str, str]:
    """Our environment without variables that would steer git, and without our own tokens.

    Git settings in the environment stay: a repository may be one's own, or safe, only by them. So do those of the user
    (proxies, certificates) where git gets another home.
    """
    ours = ("GIT_", "INFRA_MCP_")
    clean = {k: v for k, v in os.environ.items() if k.startswith(SETTINGS) or not k.startswith(ours)}
    if home:
        users = Path(clean.get("HOME") or "/")
        if "GIT_CONFIG_GLOBAL" not in clean and (users / ".gitconfig").is_file():
            config = {"include.path": str(users / ".gitconfig"), **config}
        clean = {"XDG_CONFIG_HOME": str(users / ".config")} | clean | {"HOME": str(home)}
    count = clean.get("GIT_CONFIG_COUNT", "")
    first = int(count) if count.isdecimal() else 0
    for number, (key, value) in enumerate(config.items(), first):  # after the user's, whose last one counts
        clean |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    clean["GIT_CONFIG_COUNT"] = str(first + len(config)) if count.isdecimal() or not count else count
    return clean | {
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        # Traces on standard error would be taken for git's reasons.
        "GIT_TRACE2": "0",
        "GIT_TRACE2_PERF": "0",
        "GIT_TRACE2_EVENT": "0",
        # If the repository were gone, git would look for one further up.
        "GIT_CEILING_DIRECTORIES": str(top.resolve().parent),
    }


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End a child and its own children: by SIGTERM first, so that git removes its lock files."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.communicate(timeout=GRACE_SECONDS)
            return
