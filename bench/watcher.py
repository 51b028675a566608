"""A watcher of an API server that adds nothing: one chunked HTTP answer, each line noted with the time it came."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from wire import Http

__all__ = ["Rollout", "watching"]

_BEGIN_SECONDS = 10.0  # until an API server has answered a watch


class Rollout:
    """When a version of a Deployment was written, when its last pod was ready, and when its controller said so.

    Args:
        image: of the new version.
        replicas: how many pods there are to be.
    """

    def __init__(self, image: str, replicas: int) -> None:
        self._image, self._replicas = image, replicas
        self._ready: set[str] = set()
        self.written = self.ready = self.complete = 0.0

    def see(self, live: dict[str, Any], now: float) -> None:
        """Take in an object of a watch."""
        spec, seen = live["spec"], live.get("status", {})
        if live["kind"] == "Pod":
            ready = any(one["type"] == "Ready" and one["status"] == "True" for one in seen.get("conditions", ()))
            if ready and spec["containers"][0]["image"] == self._image:
                self._ready.add(live["metadata"]["name"])
            if len(self._ready) >= self._replicas:
                self.ready = self.ready or now
        elif spec["template"]["spec"]["containers"][0]["image"] == self._image:
            self.written = self.written or now
            counted = (seen.get(name) for name in ("replicas", "updatedReplicas", "availableReplicas"))
            if seen.get("observedGeneration") == live["metadata"]["generation"] and set(counted) == {self._replicas}:
                self.complete = self.complete or now


@asynccontextmanager
async def watching(connect: Http, paths: list[str], headers: dict[str, str], rollout: Rollout) -> AsyncIterator[None]:
    """Watch collections while the block runs, each on a connection like the one given."""
    begun = [asyncio.Event() for _ in paths]
    followed = [
        asyncio.create_task(_follow(connect, path, headers, rollout, event))
        for path, event in zip(paths, begun, strict=True)
    ]
    try:
        await asyncio.wait_for(asyncio.gather(*(event.wait() for event in begun)), _BEGIN_SECONDS)
        yield
    finally:
        for one in followed:
            one.cancel()
        await asyncio.gather(*followed, return_exceptions=True)


async def _follow(like: Http, path: str, headers: dict[str, str], rollout: Rollout, begun: asyncio.Event) -> None:
    reader, writer = await asyncio.open_connection(
        like.host, like.port, ssl=like.tls, limit=16 << 20, server_hostname=like.host if like.tls else None
    )
    head = {"Host": f"{like.host}:{like.port}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = [f"GET {path}?watch=1 HTTP/1.1", *(f"{name}: {value}" for name, value in head.items()), "", ""]
    writer.write("\r\n".join(lines).encode())
    try:
        status = await reader.readline()
        if b" 200 " not in status:
            raise SystemExit(f"the watch fails: {status.decode()}")
        await reader.readuntil(b"\r\n\r\n")
        begun.set()  # what happens from here on is seen
        rest = b""
        while size := int(await reader.readline(), 16):
            *events, rest = (rest + await reader.readexactly(size)).split(b"\n")
            now = time.perf_counter()
            await reader.readline()
            for event in events:
                rollout.see(json.loads(event)["object"], now)
    finally:
        writer.close()
