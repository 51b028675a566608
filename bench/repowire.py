"""The rival of the mesh: Repowire's daemon from PyPI, in an environment of its own, on loopback and in a fresh home.

Its peers speak what its own clients speak: HTTP to send, a WebSocket to receive, with the receipts it waits for. It is
ended by its own process id.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from wire import FailedError, Http, Web, listening

from infra_mcp.settings import cache_home

__all__ = ["VERSION", "Daemon", "Rival", "UnavailableError", "daemon"]

VERSION = "0.17.0"
# Unpinned it takes an mcp and a fastapi that it cannot be imported with.
_WANTED = (f"repowire=={VERSION}", "mcp<2", "fastapi<0.129")


class UnavailableError(Exception):
    """The rival cannot be had here; why."""


def installed() -> Path:
    """The rival's environment, made when it is first wanted and kept in the cache.

    Raises:
        UnavailableError: pip cannot get it.
    """
    home = cache_home() / "bench" / f"repowire-{VERSION}"
    done = home / ".made"
    if not done.exists():
        for argv in (
            [sys.executable, "-m", "venv", "--clear", str(home)],
            [str(home / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", *_WANTED],
        ):
            made = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=600
            )
            if made.returncode:
                said = (made.stderr.strip().splitlines() or ["no word why"])[-1]
                raise UnavailableError(f"it cannot be installed here: {said}")
        done.touch()
    return home


@dataclass
class Daemon:
    """A running daemon."""

    port: int
    home: Path
    pid: int

    def http(self) -> Http:
        """A connection of one's own."""
        return Http("127.0.0.1", self.port)


@asynccontextmanager
async def daemon(folder: Path) -> AsyncIterator[Daemon]:
    """Run a daemon whose home is the folder.

    Raises:
        UnavailableError: it is not there, or does not come up.
    """
    venv = await asyncio.to_thread(installed)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name not in {"TMUX", "TMUX_PANE"}}
    environment |= {"HOME": str(folder), "REPOWIRE_DAEMON__PORT": str(port)}
    argv = [str(venv / "bin" / "repowire"), "serve", "--host", "127.0.0.1", "--port", str(port), "--no-install-hooks"]
    with (folder / "daemon.log").open("wb") as log:
        child = await asyncio.create_subprocess_exec(
            *argv, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        running = Daemon(port, folder, child.pid)
        try:
            await listening(lambda: running.http().call("GET", "/health"), 60)
        except TimeoutError:
            raise UnavailableError(f"it does not come up; see {folder / 'daemon.log'}") from None
        yield running
    finally:
        if child.returncode is None:
            child.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(child.wait(), 10)
            except TimeoutError:
                child.kill()
                await child.wait()


@dataclass
class Rival:
    """One of its peers: a WebSocket that receives, and an HTTP connection that sends."""

    http: Http
    web: Web
    identity: str
    name: str

    @classmethod
    async def join(cls, at: Daemon, name: str) -> Self:
        """Register, connect, and take the name."""
        folder = at.home / name
        folder.mkdir(exist_ok=True)
        common = {"circle": "bench", "role": "agent", "path": str(folder), "backend": "claude-code"}
        http = at.http()
        found = await _json(http, "POST", "/peers", {"name": name, **common})
        web = await Web.open("127.0.0.1", at.port, "/ws")
        await web.send(
            {"type": "connect", "peer_id": found["peer_id"], "display_name": found["display_name"], **common}
            | {"hook_version": 1, "capabilities": ["delivery_receipts"]}
        )
        said = await web.receive()
        if said.get("type") != "connected":
            raise FailedError(f"the rival refuses: {said}")
        await web.send({"type": "update_display_name", "display_name": name})
        return cls(http, web, said["session_id"], name)

    async def ask(self, to: str, text: str) -> str:
        """Ask; the id."""
        body = {"from_peer": self.identity, "to_peer": to, "text": text}
        return str((await _json(self.http, "POST", "/ask", body))["correlation_id"])

    async def ack(self, ask_id: str, message: str) -> None:
        """Answer an ask."""
        body = {"correlation_id": ask_id, "from_peer": self.identity, "message": message}
        await _json(self.http, "POST", "/ack", body)

    async def notify(self, http: Http, to: str, text: str) -> None:
        """Notify, over the connection given."""
        await _json(http, "POST", "/notify", {"from_peer": self.identity, "to_peer": to, "text": text})

    async def receive(self) -> dict[str, Any]:
        """The next message, once its receipt is given: without one each message waits 0.75 s for it."""
        while True:
            frame = await self.web.receive()
            if frame["type"] == "ping":
                await self.web.send({"type": "pong"})
                continue
            if frame.get("delivery_id"):
                receipt = {"type": "delivery_ack", "delivery_id": frame["delivery_id"], "status": "injected"}
                await self.web.send(receipt | {"message_type": frame["type"]})
            return frame

    def close(self) -> None:
        """Leave."""
        self.web.close()
        self.http.close()


async def _json(http: Http, method: str, path: str, body: object) -> dict[str, Any]:
    status, answer = await http.call(method, path, body)
    if status != 200:
        raise FailedError(f"{method} {path}: {status} {answer[:300].decode(errors='replace')}")
    return dict(json.loads(answer))
