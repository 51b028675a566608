"""Starts git: always the same flags, the same clean environment, and an end that is waited for.

Everything here is synchronous and runs in worker threads. A thread is never abandoned, so a cancelled task still waits
for its git child, and no child is left half done.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from infra_mcp.errors import InfraError
from infra_mcp.text import quoted

# What a repository's or a user's configuration must not do to us: run hooks or daemons, collect garbage, sign, reach
# for a transport that runs commands, or write index formats that reach beyond the file we name.
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
SETTINGS = (
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_KEY_",
    "GIT_CONFIG_VALUE_",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
)
READ_SECONDS = 60.0
GRACE_SECONDS = 5.0


class Done(NamedTuple):
    """A git command that has ended."""

    code: int
    out: bytes
    err: str

    @property
    def why(self) -> str:
        """The first telling line of what git said, as a quotation."""
        lines = [line.strip() for line in self.err.splitlines() if line.strip()]
        said = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[0] if lines else "")
        said = said.removeprefix("fatal: ").removeprefix("error: ")
        return quoted(said) if said else f"it ended with {self.code}"


class Runner:
    """Starts git in one repository.

    Args:
        repo: the top of a working tree.
        keep: file descriptors that the children inherit.
        seconds: how long a command may take.
    """

    def __init__(self, repo: Path, *, keep: Sequence[int] = (), seconds: float = READ_SECONDS) -> None:
        self.repo = repo
        self._keep = tuple(keep)
        self._seconds = seconds

    @cached_property
    def common_folder(self) -> Path:
        """The git folder that all worktrees of the repository share."""
        return self.path("rev-parse", "--path-format=absolute", "--git-common-dir")

    def path(self, *args: str, at: Path | None = None) -> Path:
        """The path that `git ARGS` answers with."""
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
            feed: whether standard input is a pipe; it is closed otherwise.
            config: settings beyond `HYGIENE`.
            quiet: whether what it says on standard error is dropped.

        Raises:
            InfraError: `setup-failed`, when there is no git.
        """
        top = at or self.repo
        try:
            return subprocess.Popen(
                ["git", "-C", str(top), *args],
                stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL if quiet else subprocess.PIPE,
                env=_environment(top, {**HYGIENE, **(config or {})}),
                pass_fds=self._keep,
                start_new_session=True,
                bufsize=0,
            )
        except FileNotFoundError as error:
            raise InfraError(
                "setup-failed", "git is not installed, or not on PATH.", next_step="Install git 2.36 or newer."
            ) from error

    def finish(self, child: subprocess.Popen[bytes], data: bytes | None = None) -> Done:
        """Feed the child, wait for its end and return it; one that takes too long is told to stop, then killed.

        Raises:
            InfraError: `git-failed`, when it did not end in time.
        """
        try:
            out, err = child.communicate(data, timeout=self._seconds)
        except subprocess.TimeoutExpired as error:
            _stop(child)
            raise InfraError("git-failed", f"git did not end within {self._seconds:g} s and was stopped.") from error
        return Done(child.returncode, out, (err or b"").decode("utf-8", "replace"))

    def run(
        self,
        *args: str,
        data: bytes | None = None,
        check: bool = True,
        at: Path | None = None,
        config: Mapping[str, str] | None = None,
    ) -> Done:
        """Run `git ARGS` to its end.

        Args:
            *args: the command and its arguments.
            data: what to feed; nothing when None.
            check: whether a non-zero end is an error.
            at: as in `start`, like the rest.
            config: settings beyond `HYGIENE`.

        Raises:
            InfraError: `git-failed`, naming the command and the first line git said.
        """
        child = self.start(*args, at=at, feed=data is not None, config=config)
        done = self.finish(child, data)
        if check and done.code:
            raise InfraError("git-failed", f"git {args[0]}: {done.why}.")
        return done


def _environment(top: Path, config: Mapping[str, str]) -> dict[str, str]:
    """Our environment without what would steer git, and without our own tokens.

    Settings stay wherever they stand: a repository may be one's own, or safe, only by those of the environment.
    """
    ours = ("GIT_", "INFRA_MCP_")
    clean = {k: v for k, v in os.environ.items() if k.startswith(SETTINGS) or not k.startswith(ours)}
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
        # Traces that a setting writes to standard error would be taken for git's reasons.
        "GIT_TRACE2": "0",
        "GIT_TRACE2_PERF": "0",
        "GIT_TRACE2_EVENT": "0",
        # Were the repository gone, git would look for one further up.
        "GIT_CEILING_DIRECTORIES": str(top.resolve().parent),
    }


def readable(descriptor: int, deadline: float) -> bool:
    """Wait until there is something to read, or the end, by the monotonic clock; any descriptor, above 1023 too."""
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(max(0.0, deadline - time.monotonic()) * 1000))


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End a child and its own children: politely first, so that git removes its lock files."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.communicate(timeout=GRACE_SECONDS)
            return
