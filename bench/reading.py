"""What a reading call costs, and how many tokens the seed's job moves; on the scenario of `make bench`."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from e2e.scenario import Scenario
from mesh import Line
from wire import Http, Peer, Webbed

__all__ = ["contest", "peer_of", "raw_get"]

HERE = Path(__file__).parent
CALLS = 20  # a round
RELEASE = "release/{0} merged, ready to deploy"


async def contest(scenario: Scenario, rounds: int) -> list[Line]:
    """The lines about one peer and infra, on a scenario whose app `docs` deploys on `RELEASE`."""
    return [await _reading(scenario, rounds), *await _traffic(scenario)]


# -- a reading call
async def _reading(scenario: Scenario, rounds: int) -> Line:
    line = Line("status of one app, against a raw GET of its Deployment + echo of a bare mcp server, by HTTP", "ms")
    line.ratio = 1.3
    async with _bare() as bare, raw_get(scenario) as (get, path, identity):
        http, peer = peer_of(scenario)
        parts: list[tuple[float, float]] = []
        for _ in range(rounds):
            ours, echoed, got = [], [], []
            for _ in range(CALLS):
                ours.append(await _timed(peer.tool("status", app="docs")))
                echoed.append(await _timed(bare.tool("echo", text="docs")))
                got.append(await _timed(get.call("GET", path, **identity)))
            line.ours.append(statistics.median(ours))
            parts.append((statistics.median(echoed), statistics.median(got)))
            line.rival.append(sum(parts[-1]))
        http.close()
    echo, raw = (statistics.median(one[at] for one in parts) for at in (0, 1))
    line.note = f"echo {echo:.1f} ms, GET {raw:.1f} ms"
    return line


async def _timed(call: Any) -> float:
    begin = time.perf_counter()
    await call
    return (time.perf_counter() - begin) * 1000


def peer_of(scenario: Scenario) -> tuple[Http, Webbed]:
    """A connection of its own as peer docs."""
    assert scenario.server is not None
    at = urlsplit(scenario.server.url)
    http = Http(str(at.hostname), int(at.port or 0))
    return http, Webbed(http, at.path, scenario.tokens["docs"])


@asynccontextmanager
async def _bare() -> AsyncIterator[Peer]:
    """A bare server in a process of its own."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(HERE / "bare.py"), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    http = Http("127.0.0.1", int(await child.stdout.readline()))
    try:
        yield Webbed(http, "/mcp", None)
    finally:
        http.close()
        child.kill()
        await child.wait()


@asynccontextmanager
async def raw_get(scenario: Scenario) -> AsyncIterator[tuple[Http, str, dict[str, str]]]:
    """A connection to the API server, the path of the app's Deployment, and the headers the server reads it with."""
    config = yaml.safe_load(scenario.cluster_setup.server_config.read_text(encoding="utf-8"))
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    at = urlsplit(cluster["server"])
    tls = None
    if at.scheme == "https":
        tls = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    http = Http(str(at.hostname), int(at.port or 443), tls)
    path = f"/apis/apps/v1/namespaces/{scenario.namespace}/deployments/docs"
    headers = {
        "Authorization": f"Bearer {user['token']}",
        "Impersonate_User": f"system:serviceaccount:{scenario.cluster_setup.accounts}:circle-docs",
    }
    status, body = await http.call("GET", path, **headers)
    if status != 200:
        raise SystemExit(f"the raw GET fails: {status} {body[:300].decode(errors='replace')}")
    try:
        yield http, path, headers
    finally:
        http.close()


# -- what the seed's job moves
class Counted:
    """A peer whose calls are counted: what a host sends and gets, as JSON, in bytes over four."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self.tokens = 0.0

    async def tool(self, name: str, /, **arguments: object) -> dict[str, Any]:
        """Call a tool and count it, name and arguments and all of the result."""
        result = await self._peer.tool(name, **arguments)
        self.tokens += len(json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False).encode()) / 4
        self.tokens += len(json.dumps(result, ensure_ascii=False).encode()) / 4
        return result


async def _traffic(scenario: Scenario) -> list[Line]:
    http, peer = peer_of(scenario)
    listed = len(json.dumps(await peer.request("tools/list", {}), ensure_ascii=False).encode()) / 4
    asked, released = Counted(peer), Counted(peer)
    said = await asked.tool(
        "ask", peer_name="infra", query=f"I need a namespace '{scenario.fresh('job')}' with image-pull secret X"
    )
    await asked.tool("wait_on_ack", correlation_id=said["structuredContent"]["result"])
    await released.tool("notify_peer", peer_name="infra", message=RELEASE.format("3.0.0"))
    async with asyncio.timeout(60):
        while not (box := await released.tool("inbox", wait_seconds=30))["structuredContent"]["messages"]:
            pass
    ids = [one["id"] for one in box["structuredContent"]["messages"]]
    await released.tool("inbox", mark_read=ids)
    http.close()
    whole = asked.tokens + released.tokens
    return [
        Line(
            "tool traffic of the seed's job (namespace asked for and acked, release notified and reported), bytes/4",
            "tokens",
            [whole],
            below=1500.0,
            note=f"ask {asked.tokens:.0f}, notify {released.tokens:.0f}; tools/list beside it {listed:.0f}",
        )
    ]
