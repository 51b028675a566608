"""The barest clients there can be, so that what is timed is a server: MCP over the socket and HTTP, and WebSocket.

Ours and the rival are spoken to by the same few lines of asyncio; no client library adds its milliseconds to either.
Not promised: anything a hostile or merely unusual server could send.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

__all__ = ["FailedError", "Http", "Peer", "Socket", "Stdio", "Web", "Webbed", "spread", "text_of"]

T = TypeVar("T")

VERSION = "2026-07-28"
_MCP = "io.modelcontextprotocol/"
_META = {
    _MCP + "protocolVersion": VERSION,
    _MCP + "clientCapabilities": {},
    _MCP + "clientInfo": {"name": "bench", "version": "1"},
}
_LIMIT = 16 << 20  # bytes of a line


class FailedError(Exception):
    """A call came back as an error: its code, if it has one, and its words."""

    def __init__(self, words: str, code: str = "") -> None:
        super().__init__(words)
        self.code = code


def _frame(number: int, method: str, params: dict[str, Any], *, modern: bool = True) -> dict[str, Any]:
    own = {**params, "_meta": _META} if modern and method.startswith(("tools/", "resources/")) else params
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": own}


def text_of(result: dict[str, Any]) -> str:
    """The text of a tool's result."""
    return "\n".join(part["text"] for part in result.get("content", ()) if part.get("type") == "text")


def _checked(answer: dict[str, Any]) -> dict[str, Any]:
    if "error" in answer:
        data = answer["error"].get("data") or {}
        raise FailedError(str(answer["error"].get("message")), data.get("code", "") if isinstance(data, dict) else "")
    result: dict[str, Any] = answer.get("result") or {}
    if result.get("isError"):
        raise FailedError(text_of(result), (result.get("structuredContent") or {}).get("code", ""))
    return result


class Peer:
    """What both channels give: tools by name."""

    async def request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    async def tool(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool; its whole result.

        Raises:
            FailedError: it says that it failed.
        """
        return await self.request("tools/call", {"name": name, "arguments": arguments})

    async def say(self, name: str, /, **arguments: Any) -> str:
        """Call a tool; its text."""
        return text_of(await self.tool(name, **arguments))

    async def data(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool; its data."""
        return dict((await self.tool(name, **arguments)).get("structuredContent") or {})


@dataclass
class Socket(Peer):
    """MCP's stdio framing over the unix socket; calls go side by side on one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    waiting: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    number: int = 0
    task: asyncio.Task[None] | None = None
    modern: ClassVar[bool] = True

    @classmethod
    async def open(cls, path: Path, **hello: Any) -> Self:
        """Connect and say who calls, e.g. `token=…`."""
        made = cls(*await asyncio.open_unix_connection(str(path), limit=_LIMIT))
        made.task = asyncio.create_task(made._read())
        await made.request("infra/hello", hello)
        return made

    async def request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self.number += 1
        number, answer = self.number, asyncio.get_running_loop().create_future()
        self.waiting[number] = answer
        try:
            frame = _frame(number, method, params, modern=self.modern)
            self.writer.write(json.dumps(frame).encode() + b"\n")
            await self.writer.drain()
            return _checked(await answer)
        finally:
            self.waiting.pop(number, None)

    async def _read(self) -> None:
        try:
            while line := await self.reader.readline():
                answer = json.loads(line)
                waiting = self.waiting.get(answer.get("id")) if "method" not in answer else None
                if waiting is not None and not waiting.done():
                    waiting.set_result(answer)
        except OSError:
            pass  # the server is gone; who waits is told below
        for waiting in self.waiting.values():
            if not waiting.done():
                waiting.set_exception(ConnectionResetError("the server ended the connection"))

    async def close(self) -> None:
        """End the connection."""
        self.writer.close()
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)


@dataclass
class Stdio(Socket):
    """A stdio server of a host's, as hosts have it: a process of its own, spoken to as of 2025."""

    process: asyncio.subprocess.Process | None = None
    modern: ClassVar[bool] = False

    @classmethod
    async def run(cls, argv: list[str], env: dict[str, str], folder: Path) -> Self:
        """Start it, and shake hands."""
        pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(
            *argv, env=env, cwd=folder, stdin=pipe, stdout=pipe, stderr=null, limit=_LIMIT
        )
        assert process.stdout is not None
        assert process.stdin is not None
        made = cls(process.stdout, process.stdin, process=process)
        made.task = asyncio.create_task(made._read())
        who = {"name": "bench", "version": "1"}
        await made.request("initialize", {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": who})
        made.writer.write(b'{"jsonrpc": "2.0", "method": "notifications/initialized"}\n')
        return made

    async def close(self) -> None:
        """End it, as hosts do."""
        await super().close()
        assert self.process is not None
        try:
            await asyncio.wait_for(self.process.wait(), 10)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


@dataclass
class Http:
    """HTTP/1.1 on one connection that is kept; one call at a time."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None

    async def call(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, bytes]:
        """Status and body of one exchange; a connection that the server ended while it was idle is made anew."""
        fresh = self.writer is None or self.writer.is_closing() or (self.reader is not None and self.reader.at_eof())
        if fresh:
            self.reader, self.writer = await asyncio.open_connection(
                self.host, self.port, ssl=self.tls, limit=_LIMIT, server_hostname=self.host if self.tls else None
            )
        assert self.reader is not None
        assert self.writer is not None
        sent = b"" if body is None else json.dumps(body).encode()
        head = {"Host": f"{self.host}:{self.port}", "Accept": "application/json, text/event-stream"}
        head |= {"Content-Type": "application/json", "Content-Length": str(len(sent))} if body is not None else {}
        head |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items()), "", ""]
        self.writer.write("\r\n".join(lines).encode() + sent)
        await self.writer.drain()
        answer = await self.reader.readline()
        if not answer and not fresh:
            self.writer.close()
            self.writer = None
            return await self.call(method, path, body, **headers)
        status = int(answer.split()[1])
        fields: dict[str, str] = {}
        while (line := (await self.reader.readline()).decode().strip()) != "":
            name, _, value = line.partition(":")
            fields[name.lower()] = value.strip()
        if fields.get("transfer-encoding") == "chunked":
            return status, await self._chunks()
        return status, await self.reader.readexactly(int(fields.get("content-length", "0")))

    async def _chunks(self) -> bytes:
        assert self.reader is not None
        parts = []
        while size := int((await self.reader.readline()).split(b";")[0], 16):
            parts.append(await self.reader.readexactly(size))
            await self.reader.readline()
        await self.reader.readline()
        return b"".join(parts)

    def close(self) -> None:
        """End the connection, if there is one."""
        if self.writer is not None:
            self.writer.close()


@dataclass
class Webbed(Peer):
    """MCP over HTTP as one peer, on a connection that others may share in turn: the token goes with each call."""

    http: Http
    path: str
    token: str | None
    number: int = 0

    async def request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self.number += 1
        headers = {"MCP_Protocol_Version": VERSION, "Mcp_Method": method}
        headers |= {"Mcp_Name": params["name"]} if "name" in params else {}
        headers |= {"Authorization": f"Bearer {self.token}"} if self.token else {}
        status, body = await self.http.call("POST", self.path, _frame(self.number, method, params), **headers)
        if body.lstrip()[:1] == b"{":
            answers = [json.loads(body)]
        else:
            answers = [
                json.loads(line[5:]) for line in body.splitlines() if line.startswith(b"data:") and line[5:].strip()
            ]
        for answer in answers:
            if answer.get("id") == self.number and "method" not in answer:
                return _checked(answer)
        raise FailedError(f"HTTP {status}: {body[:300].decode(errors='replace')}")


class Web:
    """A WebSocket that sends and receives JSON texts."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, host: str, port: int, path: str) -> Self:
        """Connect and shake hands."""
        reader, writer = await asyncio.open_connection(host, port, limit=_LIMIT)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = (
            f"GET {path} HTTP/1.1", f"Host: {host}:{port}", "Upgrade: websocket", "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", "",
        )  # fmt: skip
        writer.write("\r\n".join(lines).encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in head.splitlines()[0]:
            raise FailedError(f"no WebSocket: {head[:200].decode(errors='replace')}")
        return cls(reader, writer)

    async def send(self, value: object) -> None:
        """Send one text frame, masked as clients must (RFC 6455)."""
        await self._send(1, json.dumps(value).encode())

    async def _send(self, kind: int, payload: bytes) -> None:
        size = len(payload)
        if size < 126:
            head = struct.pack("!BB", 0x80 | kind, 0x80 | size)
        elif size < 1 << 16:
            head = struct.pack("!BBH", 0x80 | kind, 0x80 | 126, size)
        else:
            head = struct.pack("!BBQ", 0x80 | kind, 0x80 | 127, size)
        mask = os.urandom(4)
        pad = (mask * (size // 4 + 1))[:size]
        masked = (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")
        self._writer.write(head + mask + masked)
        await self._writer.drain()

    async def receive(self) -> dict[str, Any]:
        """The next text frame.

        Raises:
            ConnectionResetError: the other side ended it.
        """
        while True:
            kind, size = await self._reader.readexactly(2)
            size &= 0x7F
            if size >= 126:
                size = int.from_bytes(await self._reader.readexactly(2 if size == 126 else 8), "big")
            payload = await self._reader.readexactly(size)
            if kind & 0x0F == 1:
                return dict(json.loads(payload))
            if kind & 0x0F == 8:
                raise ConnectionResetError("the WebSocket was closed")
            if kind & 0x0F == 9:
                await self._send(10, payload)

    def close(self) -> None:
        """End the connection."""
        self._writer.close()


async def spread(senders: list[T], count: int, send: Callable[[T], Awaitable[object]]) -> None:
    """Send so many messages, each sender one at a time."""
    left = iter(range(count))

    async def work(sender: T) -> None:
        for _ in left:
            await send(sender)

    async with asyncio.TaskGroup() as group:
        for sender in senders:
            group.create_task(work(sender))


async def listening(call: Callable[[], Any], seconds: float) -> None:
    """Try a call until it works.

    Raises:
        TimeoutError: it did not in time.
    """
    async with asyncio.timeout(seconds):
        while True:
            try:
                await call()
            except (OSError, IndexError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.05)
            else:
                return
