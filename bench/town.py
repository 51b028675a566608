"""A real server with many peers and no cluster: what the mesh is measured and soaked on."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from server_process import ServerProcess, start_server
from wire import Http, Peer, Socket, Webbed

from infra_mcp.ledger import Ledger
from infra_mcp.server.ownership import owned
from infra_mcp.settings import Settings

__all__ = ["TICK", "Resident", "Town", "asks_in", "memory", "notes_in", "town"]

TICK = 1000 / os.sysconf("SC_CLK_TCK")  # milliseconds


@dataclass(frozen=True)
class Resident:
    """A peer and its token."""

    name: str
    circle: str
    token: str


@dataclass
class Town:
    """A running server and the peers it knows."""

    settings: Settings
    server: ServerProcess
    residents: list[Resident]
    connections: list[Http] = field(default_factory=list)

    def http(self) -> Http:
        """A connection to the HTTP channel."""
        at = urlsplit(self.server.url)
        assert at.hostname is not None
        assert at.port is not None
        self.connections.append(Http(at.hostname, at.port))
        return self.connections[-1]

    def over(self, http: Http, who: Resident) -> Peer:
        """A peer on an HTTP connection; several may share one in turn."""
        return Webbed(http, urlsplit(self.server.url).path, who.token)

    async def socket(self, who: Resident) -> Socket:
        """A peer on a connection of its own to the unix socket."""
        return await Socket.open(self.server.socket, token=who.token)


@asynccontextmanager
async def town(
    home: Path, circles: int, each: int, *, setup: Callable[[], None] | None = None, env: dict[str, str] | None = None
) -> AsyncIterator[Town]:
    """A server with `circles` circles of `each` peers, in an empty folder; stopped at the end.

    There is no policy in force and no cluster: peers may talk, and change nothing.
    """
    (home / "repo").mkdir()
    init = ["git", "init", "-q", "-b", "main", str(home / "repo")]
    await asyncio.to_thread(partial(subprocess.run, init, check=True))
    settings = Settings(repo=home / "repo", state_dir=home / "state", kubeconfig=home / "none")
    residents = []
    with owned(settings.state_dir):
        ledger = await Ledger.open_in(settings.state_dir)
        try:
            for number in range(circles * each):
                circle, name = f"c{number // each}", f"p{number}"
                await ledger.add_peer(name, circle)
                residents.append(Resident(name, circle, await ledger.issue_token(name)))
        finally:
            await ledger.aclose()
    server = await asyncio.to_thread(partial(start_server, settings, env, setup=setup))
    made = Town(settings, server, residents)
    try:
        yield made
    finally:
        for one in made.connections:
            one.close()
        await asyncio.to_thread(made.server.stop)


def memory(pid: int) -> dict[str, int]:
    """What a process holds: resident bytes, threads and open files; and the ticks it has computed for (`TICK` each)."""
    computed = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines())
    return {
        "rss": int(lines["VmRSS"].split()[0]) * 1024,
        "threads": int(lines["Threads"]),
        "ticks": int(computed[11]) + int(computed[12]),
        "files": len(os.listdir(f"/proc/{pid}/fd")),  # noqa: PTH208 - names are enough
    }


def asks_in(box: dict[str, Any]) -> list[str]:
    """The ids of the open asks in an inbox's data."""
    return [str(one["id"]) for one in box["asks"]]


def notes_in(box: dict[str, Any]) -> list[str]:
    """The ids of what else is to be marked read in an inbox's data: messages, and acks of one's own asks."""
    return [str(one["id"]) for one in (*box["messages"], *box["acks"])]
