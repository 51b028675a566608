"""Hosts for tests: what runs `infra-mcp connect` as its stdio server, frame by frame or with the SDK's own client.

It is the console script itself that runs, in an environment with none of ours but what is given.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from server_process import wait_until
from shell import OURS, PACKAGE

__all__ = ["MODERN", "SCRIPT", "Host", "client", "environment", "host", "owner", "put_down", "repository"]

SCRIPT = Path(sys.executable).parent / "infra-mcp"
MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
OPENING = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "0"}}


def environment(state: Path, **variables: str) -> dict[str, str]:
    """The variables of a host whose infra repository's state is there."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(OURS)}
    python = os.pathsep.join([PACKAGE, *filter(None, [kept.get("PYTHONPATH")])])
    return kept | {"INFRA_MCP_STATE": str(state), "PYTHONPATH": python, "GIT_CONFIG_GLOBAL": os.devnull} | variables


def repository(folder: Path, policy: str | None = None) -> Path:
    """An infra repository without a commit."""
    subprocess.run(["git", "init", "-q", "-b", "main", folder], check=True)
    if policy is not None:
        (folder / "infra.toml").write_text(policy, encoding="utf-8")
    return folder


class Host:
    """A host with its stdio server, as frames."""

    def __init__(self, process: Process) -> None:
        self.process = process
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stderr is not None
        self._out = BufferedByteReceiveStream(process.stdout)
        self._in = process.stdin
        self._err = process.stderr

    async def send(self, frame: dict[str, Any] | bytes) -> None:
        """Send one frame, or a line as it is."""
        line = frame if isinstance(frame, bytes) else json.dumps(frame).encode()
        with anyio.fail_after(30):
            await self._in.send(line + b"\n")

    async def receive(self, seconds: float = 60.0) -> dict[str, Any]:
        """The next frame."""
        with anyio.fail_after(seconds):
            return dict(json.loads(await self._out.receive_until(b"\n", 64 * 1024 * 1024)))

    async def ask(self, method: str, params: dict[str, Any] | None = None, identity: int | str = 1) -> dict[str, Any]:
        """Send a request of the 2025 era and receive the next frame."""
        await self.send({"jsonrpc": "2.0", "id": identity, "method": method, "params": params or {}})
        return await self.receive()

    async def call(self, tool: str, identity: int | str = 1, **arguments: Any) -> dict[str, Any]:
        """Call a tool in the 2026 era and receive the next frame."""
        return await self.ask("tools/call", {"name": tool, "arguments": arguments, "_meta": MODERN}, identity)

    async def open_session(self) -> dict[str, Any]:
        """The handshake of the 2025 era."""
        answer = await self.ask("initialize", OPENING, "open")
        await self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return answer

    async def close(self) -> None:
        """Close its standard input."""
        await self._in.aclose()

    async def ended(self, seconds: float = 30.0) -> tuple[int, str]:
        """Its exit code and what it said on standard error, once it has ended."""
        said = b""
        with anyio.fail_after(seconds):
            async for part in self._err:
                said += part
            return await self.process.wait(), said.decode()


@asynccontextmanager
async def host(repo: Path, env: dict[str, str], *words: str) -> AsyncIterator[Host]:
    """A host that runs `connect` with these words in the repository; it is ended with the block."""
    process = await anyio.open_process([str(SCRIPT), "connect", *words], cwd=repo, env=env)
    async with process:
        try:
            yield Host(process)
        finally:
            if process.returncode is None:
                process.kill()


@asynccontextmanager
async def client(
    repo: Path, env: dict[str, str], *words: str, mode: str = "auto", **options: Any
) -> AsyncIterator[Client]:
    """The SDK's client over `connect`, in one era."""
    server = StdioServerParameters(command=str(SCRIPT), args=["connect", *words], env=env, cwd=repo)
    async with Client(stdio_client(server), mode=mode, cache=None, **options) as made:
        yield made


def owner(state: Path) -> int:
    """The process id that the server of a state directory noted."""
    return int(json.loads((state / "run" / "http.json").read_text(encoding="utf-8"))["pid"])


@contextmanager
def put_down(state: Path) -> Iterator[None]:
    """End the server that somebody started on demand, when the block ends."""
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            end(owner(state))


def end(pid: int) -> None:
    """End a process that is nobody's child here, hard if it does not go by itself."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        try:
            wait_until(lambda: not _runs(pid), 10)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
