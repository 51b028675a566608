"""The command line as a person or a pipeline runs it: a process of its own, against a server in this process."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import Process
from running_server import RunningServer, running_server

import infra_mcp

__all__ = ["ARGV", "Done", "Shell", "distinct", "shell", "stop_started"]

PACKAGE = str(Path(infra_mcp.__file__).parents[1])
ARGV = [sys.executable, "-m", "infra_mcp.cli.main"]
# What would change what a command does, and is set where tests run as a pipeline.
OURS = ("INFRA_MCP_", "XDG_", "GIT_", "KUBECONFIG", "GITHUB_", "CI_")


class Done:
    """A command that has ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def __repr__(self) -> str:
        return f"exit {self.code}\n--- out\n{self.out}\n--- err\n{self.err}"


class Shell:
    """Runs the command in a repository of `folder`, with `folder/state` and only these variables of ours."""

    def __init__(self, folder: Path, repo: str = "repo", **variables: str) -> None:
        self.folder, self.repo = folder, folder / repo
        kept = {k: v for k, v in os.environ.items() if not k.startswith(OURS) and k not in {"CI", "SSL_CERT_FILE"}}
        python = os.pathsep.join([PACKAGE, *filter(None, [kept.get("PYTHONPATH")])])
        self.env = kept | {"INFRA_MCP_STATE": str(folder / "state"), "PYTHONPATH": python} | variables

    def but(self, **variables: str) -> Shell:
        """The same shell with more variables."""
        other = Shell(self.folder, self.repo.name)
        other.env = self.env | variables
        return other

    async def __call__(
        self, *words: str, stdin: bytes | None = None, token: str | None = None, argv: list[str] | None = None
    ) -> Done:
        with anyio.fail_after(60):
            done = await anyio.run_process(
                [*(argv or ARGV), *words],
                input=stdin or b"",
                env=self._env(token),
                cwd=self.repo,
                check=False,
            )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    @asynccontextmanager
    async def start(self, *words: str, token: str | None = None) -> AsyncIterator[Process]:
        """Start a command and leave it running; it is ended with the block."""
        process = await anyio.open_process([*ARGV, *words], env=self._env(token), cwd=self.repo)
        async with process:
            try:
                yield process
            finally:
                if process.returncode is None:
                    process.kill()

    def _env(self, token: str | None) -> dict[str, str]:
        return self.env | ({"INFRA_MCP_TOKEN": token} if token else {})


@asynccontextmanager
async def shell(tmp_path: Path, channel: str = "unix", **options: Any) -> AsyncIterator[tuple[RunningServer, Shell]]:
    """A running server, and a shell in its repository."""
    await anyio.run_process(["git", "init", "-q", "-b", "main", str(tmp_path / "repo")])
    async with running_server(tmp_path, channel, **options) as at:
        yield at, Shell(tmp_path)


def distinct(at: RunningServer) -> list[Any]:
    """The submissions of a server by their keys: a command that waits sends the same one again."""
    return list({one.idempotency_key or id(one): one for one in at.engine.submitted}.values())


def stop_started(state: Path) -> None:
    """End the server that a command started on demand, by the pid it noted; nothing where there is none."""
    note = state / "run" / "http.json"
    if note.exists():
        try:
            os.kill(json.loads(note.read_text(encoding="utf-8"))["pid"], signal.SIGTERM)
        except ProcessLookupError:
            return
