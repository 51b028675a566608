"""A connection to the real API server, and the same server behind a proxy that breaks on command."""

import asyncio
import json
import ssl
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from infra_mcp.clients.kube import Cluster, transport, watch
from infra_mcp.clients.kube.credentials import load
from infra_mcp.model.object_ref import ObjectRef


@pytest.fixture
async def cluster(control_plane) -> AsyncIterator[Cluster]:
    async with Cluster.connect("test", control_plane.kubeconfig, control_plane.context) as connected:
        yield connected


@pytest.fixture
async def space(cluster: Cluster) -> str:
    """A namespace of its own for one test; it is left to be deleted with its contents."""
    name = f"kube-{uuid.uuid4().hex[:10]}"
    await cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, as_user=None)
    yield name
    await cluster._transport.request("DELETE", f"/api/v1/namespaces/{name}")


@dataclass
class Fault:
    """What to do with the next requests that match.

    Args:
        match: part of "METHOD path?query".
        do: `answer` with status, headers and body; `reset-before` or `reset-after` the real server had the request;
            `hang` without an answer; `cut` the real answer after its first chunk of body.
        times: how often.
    """

    match: str
    do: str = "answer"
    times: int = 1
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    body: object = None


class FaultProxy:
    """The real API server, reached over plain HTTP through a proxy that does what `faults` says, then forwards.

    Only for what the real server cannot be made to do: it never loses a connection or a credential on command.
    """

    def __init__(self, upstream: str, context: ssl.SSLContext) -> None:
        self._upstream = urlsplit(upstream)
        self._ssl = context
        self.faults: list[Fault] = []
        self.seen: list[tuple[str, dict[str, str]]] = []  # "METHOD target" and headers, in order
        self.url = ""
        self._came = asyncio.Event()

    def count(self, match: str) -> int:
        return sum(match in line for line, _ in self.seen)

    async def until(self, match: str) -> None:
        """Wait until a matching request has come."""
        async with asyncio.timeout(10):
            while not self.count(match):
                self._came.clear()
                await self._came.wait()

    async def serve(self) -> AsyncIterator[None]:
        tasks: set[asyncio.Task] = set()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.add(asyncio.current_task())
            try:
                # A cancelled handler would be logged as an error by asyncio's streams (Python 3.11).
                with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                    await self._one(reader, writer)
            finally:
                writer.close()
                with suppress(ConnectionError):
                    await writer.wait_closed()

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # aborted transports close on the next turn of the loop

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        request, *lines = head.split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        method, target, _ = request.split(" ")
        self.seen.append((f"{method} {target}", headers))
        self._came.set()
        fault = next((f for f in self.faults if f.times and f.match in f"{method} {target}"), None)
        if fault is None:
            await self._forward(request, headers, body, writer)
            return
        fault.times -= 1
        if fault.do == "answer":
            data = fault.body if isinstance(fault.body, bytes) else json.dumps(fault.body or {}).encode()
            lines = "".join(f"{k}: {v}\r\n" for k, v in fault.headers.items())
            writer.write(
                f"HTTP/1.1 {fault.status} X\r\nContent-Length: {len(data)}\r\nConnection: close\r\n{lines}\r\n".encode()
                + data
            )
            await writer.drain()
        elif fault.do == "hang":
            await asyncio.Event().wait()  # until the proxy is closed
        else:
            if fault.do != "reset-before":
                await self._forward(
                    request, headers, body, writer if fault.do == "cut" else None, cut=fault.do == "cut"
                )
            writer.transport.abort()

    async def _forward(
        self,
        request: str,
        headers: dict[str, str],
        body: bytes,
        writer: asyncio.StreamWriter | None,
        *,
        cut: bool = False,
    ) -> None:
        up_reader, up_writer = await asyncio.open_connection(
            self._upstream.hostname, self._upstream.port, ssl=self._ssl
        )
        kept = {k: v for k, v in headers.items() if k not in {"host", "connection", "authorization"}}
        kept |= {"host": self._upstream.netloc, "connection": "close"}
        lines = [request, *(f"{k}: {v}" for k, v in kept.items()), "", ""]
        up_writer.write("\r\n".join(lines).encode() + body)
        seen = b""
        try:
            while data := await up_reader.read(65536):
                seen += data if cut else b""
                if writer is not None:
                    writer.write(data)
                    await writer.drain()
                if seen.partition(b"\r\n\r\n")[2]:  # the head may come by itself, or with the first of the body
                    break
        finally:
            up_writer.transport.abort()


@pytest.fixture
async def proxy(control_plane):
    login = await load(control_plane.kubeconfig, control_plane.context)
    made = FaultProxy(login.host, login.rest.ssl_context)
    async for _ in made.serve():
        yield made


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("first", encoding="utf-8")
    return path


@pytest.fixture
async def broken(proxy: FaultProxy, token_file: Path, tmp_path: Path, monkeypatch) -> AsyncIterator[Cluster]:
    """A cluster reached through the proxy, with short time limits and discovery done."""
    monkeypatch.setattr(transport, "PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr(watch, "PAUSES", (0.0,))
    kubeconfig = tmp_path / "kubeconfig"
    config = {
        "contexts": [{"name": "proxied", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": proxy.url}}],
        "users": [{"name": "u", "user": {"tokenFile": str(token_file)}}],
    }
    kubeconfig.write_text(json.dumps(config), encoding="utf-8")
    limits = transport.Timeouts(connect=2.0, read=0.5, write=0.5, quiet=5.0)
    async with Cluster.connect("test", kubeconfig, "proxied", timeouts=limits) as connected:
        await connected._discovery.find("v1", "ConfigMap")
        proxy.seen.clear()
        yield connected


@pytest.fixture
def ref():
    def make(kind: str, name: str, namespace: str | None = None, api_version: str = "v1") -> ObjectRef:
        return ObjectRef(cluster="test", api_version=api_version, kind=kind, namespace=namespace, name=name)

    return make


@pytest.fixture
def config_map():
    def make(namespace: str, name: str = "it", **data: str) -> dict:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": namespace},
            "data": data or {"a": "1"},
        }

    return make


@pytest.fixture
def fault():
    return Fault
