"""TLS for the channel's connections: by files that are read again when they change, within the time of a head.

asyncio would accept a connection before our bounds know it, and give its handshake a minute. Here it takes its place
when it is accepted, and the handshake has as long as the head of a request.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast

from infra_mcp.clients.token_file import require_private
from infra_mcp.errors import InfraError
from infra_mcp.server import connections
from infra_mcp.server.connections import HttpConnection, Place, Room

_LOOKED: Final = 1.0  # seconds between two looks at the files of the certificate


class Certificate:
    """The certificate that connections get: its files are read again when they change.

    A pair that does not load is not taken: connections get the former one, and `trouble` says why.

    Raises:
        InfraError: `setup-failed`: the pair does not load at the start, or others may read the key.
    """

    def __init__(self, cert: Path, key: Path) -> None:
        self._files = cert, key
        self.trouble = ""
        self._stamp = self._stamped()
        self._looked = time.monotonic()
        self._context = self._load()

    def current(self) -> ssl.SSLContext:
        """What a new connection is to use."""
        if time.monotonic() >= self._looked + _LOOKED:
            self._looked = time.monotonic()
            if (stamp := self._stamped()) != self._stamp:
                try:
                    self._context, self._stamp, self.trouble = self._load(), stamp, ""
                except InfraError as error:
                    self.trouble = error.what
        return self._context

    def _load(self) -> ssl.SSLContext:
        cert, key = self._files
        require_private(key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(cert, key, password=_no_password)
        except (OSError, ssl.SSLError, ValueError):
            what = f"The certificate {cert} and the key {key} do not load as a pair."
            raise InfraError("setup-failed", what, next_step="Both are PEM, and the key has no password.") from None
        return context

    def _stamped(self) -> list[tuple[int, int, int]]:
        found = []
        for file in self._files:
            try:
                status = file.stat()
            except OSError:
                continue
            found.append((status.st_ino, status.st_mtime_ns, status.st_size))
        return found


def end_of(cert: Path, key: Path) -> datetime:
    """When the certificate of a pair that can be served with ends.

    Raises:
        InfraError: `setup-failed`, as for `Certificate`.
    """
    from cryptography.x509 import load_pem_x509_certificate  # noqa: PLC0415 - only `infra-mcp doctor` asks

    Certificate(cert, key)
    return load_pem_x509_certificate(cert.read_bytes()).not_valid_after_utc


def _no_password() -> str:
    raise ValueError


class TlsConnection(asyncio.Protocol):
    """A connection until its handshake is done; then it is the channel's own.

    What the client sends right behind its handshake is kept, and given on.
    """

    def __init__(self, room: Room, certificate: Certificate, open_: set[TlsConnection], **options: Any) -> None:  # noqa: ANN401 - uvicorn's
        self._room, self._certificate, self._open = room, certificate, open_
        self._make: Callable[[], HttpConnection] = lambda: HttpConnection(room, **options)
        self._place: Place | None = None
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._early = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place, and begin the handshake."""
        self._transport = cast("asyncio.Transport", transport)
        self._place = self._room.enter(self._transport.abort)
        if self._place is None:
            self._transport.abort()
            return
        self._open.add(self)
        self._task = asyncio.get_running_loop().create_task(self._shake_hands(self._transport))

    def data_received(self, data: bytes) -> None:
        """Keep what comes before the channel's own connection is made."""
        self._early += data

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """Give the place back, where the handshake did not end well."""
        self._leave()

    def abort(self) -> None:
        """End it, at a stop."""
        if self._task is not None:
            self._task.cancel()
        if self._transport is not None:
            self._transport.abort()
        self._leave()

    def _leave(self) -> None:
        self._open.discard(self)
        if self._place is not None:
            self._place.leave()

    async def _shake_hands(self, transport: asyncio.Transport) -> None:
        loop = asyncio.get_running_loop()
        seconds = connections.HEAD_SECONDS
        secured: asyncio.Transport | None = None
        try:
            with suppress(OSError, ssl.SSLError):  # a client that breaks off, or does not speak TLS
                secured = await loop.start_tls(
                    transport, self, self._certificate.current(), server_side=True, ssl_handshake_timeout=seconds
                )
        finally:
            self._leave()
        if secured is None or secured.is_closing():
            transport.abort()
            return
        channel = self._make()
        secured.set_protocol(channel)
        channel.connection_made(secured)
        if self._early and not secured.is_closing():
            channel.data_received(bytes(self._early))
