"""The rival of the mesh: Repowire's daemon from PyPI, in an environment of its own, on loopback and in a fresh home.

Its peers are had twice: as its users have them, with its own MCP tools over stdio, and by the bare wire that those
speak: HTTP to send, a WebSocket to receive, with the receipts it waits for. All is ended by its own process id.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from wire import FailedError, Http, Stdio, Web, listening, spread

from infra_mcp.settings import cache_home

__all__ = ["VERSION", "Daemon", "Others", "Rival", "Tooled", "UnavailableError", "daemon"]

T = TypeVar("T")

VERSION = "0.17.0"
_NEWS = "build 41 is green"
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


def _environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in {"TMUX", "TMUX_PANE"}}
    return kept | {"HOME": str(home)}


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
    environment = _environment(folder) | {"REPOWIRE_DAEMON__PORT": str(port)}
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


class Others:
    """Two peers of the rival's, by its bare wire. The second answers whatever it is asked."""

    def __init__(self, daemon: Daemon, names: tuple[str, str] = ("asker", "answerer")) -> None:
        self.daemon, self.names = daemon, names

    async def __aenter__(self) -> Self:
        self.asker, self.answerer = [await Rival.join(self.daemon, name) for name in self.names]
        self.notified = 0
        self.more = asyncio.Event()
        self.task = asyncio.create_task(self._answer())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.asker.close()
        self.answerer.close()

    async def _answer(self) -> None:
        while True:
            frame = await self.answerer.receive()
            if frame["type"] == "ask":
                await self.ack(frame["correlation_id"])
            elif frame["type"] == "notify":
                self.notified += 1
                self.more.set()

    async def ack(self, ask: str) -> None:
        """Answer an ask."""
        await self.answerer.ack(ask, "done")

    async def round_trip(self) -> float:
        """Milliseconds from the ask to its ack at the asker."""
        begin = time.perf_counter()
        ask = await self.asker.ask(self.names[1], "is the schema migrated?")
        while ask not in (await self.asker.receive()).get("text", ""):
            pass
        return (time.perf_counter() - begin) * 1000

    async def notify(self, count: int, side_by_side: int) -> float:
        """Notifies a second, until the receiver has the last."""
        connections = [self.daemon.http() for _ in range(side_by_side)]
        for one in connections:
            await one.call("GET", "/health")
        spent = await self._until_received(
            count, connections, lambda http: self.asker.notify(http, self.names[1], _NEWS)
        )
        for one in connections:
            one.close()
        return count / spent

    async def _until_received(self, count: int, senders: list[T], send: Callable[[T], Awaitable[object]]) -> float:
        wanted = self.notified + count
        begin = time.perf_counter()
        await spread(senders, count, send)
        while self.notified < wanted:
            self.more.clear()
            await self.more.wait()
        return time.perf_counter() - begin


class Tooled(Others):
    """The same with its own MCP tools over stdio on both sides; what comes is brought by WebSocket, as to its hooks."""

    def __init__(self, daemon: Daemon) -> None:
        super().__init__(daemon, ("asking", "answering"))

    async def __aenter__(self) -> Self:
        self.tools = [await self._run(name) for name in self.names]
        await super().__aenter__()
        for one in self.tools:
            await one.tool("whoami")  # it takes the identity of the peer of its name
        self.receipts = asyncio.create_task(self._receive())
        return self

    async def _receive(self) -> None:
        while True:  # an answer that comes before it is waited for is pushed, and wants its receipt
            await self.asker.receive()

    async def _run(self, name: str) -> Stdio:
        folder = self.daemon.home / name
        folder.mkdir(exist_ok=True)
        env = _environment(self.daemon.home) | {
            "REPOWIRE_DAEMON_URL": f"http://127.0.0.1:{self.daemon.port}",
            "REPOWIRE_DISPLAY_NAME": name,
        }
        return await Stdio.run([str(installed() / "bin" / "repowire"), "mcp"], env, folder)

    async def __aexit__(self, *_: object) -> None:
        self.receipts.cancel()
        await asyncio.gather(self.receipts, return_exceptions=True)
        await super().__aexit__()
        for one in self.tools:
            await one.close()

    async def ack(self, ask: str) -> None:
        await self.tools[1].tool("ack", correlation_id=ask, message="done")

    async def round_trip(self) -> float:
        begin = time.perf_counter()
        ask = await self.tools[0].say("ask", peer_name=self.names[1], query="is the schema migrated?")
        said = await self.tools[0].say("wait_on_ack", correlation_id=ask)
        if json.loads(said)["reply"] != "done":
            raise FailedError(said)
        return (time.perf_counter() - begin) * 1000

    async def notify(self, count: int, side_by_side: int) -> float:
        send = functools.partial(Stdio.say, self.tools[0], "notify_peer", peer_name=self.names[1], message=_NEWS)
        return count / await self._until_received(count, [None] * side_by_side, lambda _: send())
