"""HTTP beyond loopback: an extra listener with TLS by files, or behind proxies that are trusted for it.

The listener on loopback stays as it is. Nothing is answered here without a token, a hook's signature or an address that
tells nothing: `PATHS` lists what there is, and the dashboard, `/proof` and everything else is for this machine only. An
address that keeps calling without a valid token is told to come back later; a valid token is never held up by that.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from starlette.responses import JSONResponse

from infra_mcp.errors import InfraError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# What may be called from elsewhere. /healthz and /readyz tell words that anyone may know; the others want a credential.
PATHS: Final = re.compile(r"/mcp|/hooks/[^/]+|/operator/(approve|resolve)|/metrics|/healthz|/readyz")
METRICS: Final = "/metrics"
METADATA: Final = "/.well-known/oauth-protected-resource/mcp"
BURST, EACH_SECOND = 60.0, 1.0  # calls without a valid credential that an address has at once, and gets back
ADDRESSES: Final = 10_000  # that are remembered; then the one seen longest ago is forgotten
_BACKLOG: Final = 64
_OK, _FORBIDDEN, _NOT_FOUND, _WRONG_TYPE, _TOO_MANY = 200, 403, 404, 415, 429
_LATER: Final = 300  # the first status that is no success


@dataclass(frozen=True)
class Outside:
    """Where and how to listen beyond loopback.

    Args:
        address: of this machine, as ADDRESS:PORT; an IPv6 address in brackets.
        url: under which clients know the server, an https URL without a path.
        cert: the certificate with its chain, as PEM; None behind proxies.
        key: its private key, as PEM, which only the server's user may read.
        proxies: addresses and networks whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
    """

    address: str
    url: str
    cert: Path | None = None
    key: Path | None = None
    proxies: tuple[str, ...] = ()

    def check(self) -> None:
        """Refuse what would let others read or answer.

        Raises:
            InfraError: `invalid-argument`, for a form that is wrong, and where there is neither TLS nor a proxy.
        """
        parts = urlsplit(self.url)
        if parts.scheme != "https" or not parts.hostname or parts.path.strip("/") or parts.query or parts.username:
            what = "--public-url is not an https URL of a host alone."
            raise InfraError("invalid-argument", what, next_step="e.g. --public-url https://infra.example:8443")
        if (self.cert is None) != (self.key is None):
            raise InfraError("invalid-argument", "TLS needs both files, the certificate and its key.")
        if self.cert is None and not self.proxies:
            what = "Beyond loopback HTTP is served with TLS only, or behind a proxy that has it."
            step = "Give --cert and --key, or the proxy's address: --trusted-proxy."
            raise InfraError("invalid-argument", what, next_step=step)
        if any(not one.prefixlen for one in self.networks()):
            what = "--trusted-proxy names every address: anyone could say that TLS was used, and from where."
            raise InfraError("invalid-argument", what, next_step="Name the proxy, as --trusted-proxy 10.0.0.2.")
        _place(self.address)

    def networks(self) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        """The trusted proxies.

        Raises:
            InfraError: `invalid-argument`.
        """
        try:
            return [ipaddress.ip_network(one) for one in self.proxies]
        except ValueError:
            raise InfraError("invalid-argument", "--trusted-proxy is no address and no network.") from None


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    try:
        address = ipaddress.ip_address(host.strip("[]"))
        number = range(1 << 16).index(int(port))
    except ValueError:
        what = "--listen is not ADDRESS:PORT, with an address of this machine."
        raise InfraError("invalid-argument", what, next_step="e.g. --listen 10.0.0.5:8443") from None
    return str(address), number


def open_outside(outside: Outside) -> socket.socket:
    """Bind the address, before it is announced.

    Raises:
        InfraError: `invalid-argument`, as `Outside.check`; `setup-failed`: it is no address of ours, or is taken.
    """
    outside.check()
    host, port = _place(outside.address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        what = f"{outside.address} cannot be listened on: {error.strerror}."
        raise InfraError("setup-failed", what, next_step="Choose another address or port: --listen.") from None
    return listener


class Allowance:
    """What addresses have left of calls without a credential, in bounded memory. An IPv6 network of /64 is one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str) -> float:
        """Take one; returns 0, or how many seconds to wait where there is none."""
        left = self._now(address)
        if left < 1:
            return (1 - left) / EACH_SECOND
        self._set(address, left - 1)
        return 0.0

    def give_back(self, address: str) -> None:
        """Take back what a call took that showed a credential after all."""
        self._set(address, min(BURST, self._now(address) + 1))

    def _now(self, address: str) -> float:
        left, at = self._left.get(_group(address), (BURST, self._clock()))
        return min(BURST, left + (self._clock() - at) * EACH_SECOND)

    def _set(self, address: str, left: float) -> None:
        group = _group(address)
        self._left.pop(group, None)
        self._left[group] = left, self._clock()
        while len(self._left) > ADDRESSES:
            self._left.popitem(last=False)


def _group(address: str) -> str:
    found = _address(address)
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found or address)


@dataclass(eq=False)
class OutsideGuard:
    """An ASGI application in front of the channel's guard, for connections from elsewhere."""

    app: ASGIApp
    outside: Outside
    principal: Callable[[str], Awaitable[str | None]]  # of a token; raises why one is refused
    refused: Counter[str]  # why calls were refused
    allowance: Allowance = field(default_factory=Allowance)

    def __post_init__(self) -> None:
        self._networks = self.outside.networks()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        names = [name for name, _ in scope["headers"]]
        peer = (scope.get("client") or ("", 0))[0]
        address, secure = self._origin(scope, peer)
        status, why = 0, ""
        if not secure:
            status, why = _FORBIDDEN, "without-tls"
        elif not PATHS.fullmatch(scope["path"]) and scope["path"] != METADATA:
            status, why = _NOT_FOUND, "no-such-path"
        elif b"content-encoding" in names:
            status, why = _WRONG_TYPE, "compressed"
        known = not status and await self._known(scope)
        if not known and (wait := self.allowance.take(address)):
            self.refused["too-many"] += 1
            headers = {"Retry-After": str(int(wait) + 1), "Connection": "close"}
            await JSONResponse({"error": "Too many calls without a valid token."}, _TOO_MANY, headers)(
                scope, receive, send
            )
            return
        if status:
            self.refused[why] += 1
            await JSONResponse({"error": _SAID[why]}, status)(scope, receive, send)
        elif scope["path"] == METADATA:
            await JSONResponse(self._metadata())(scope, receive, send)
        else:
            await self.app(_as_forwarded(scope, address), receive, self._watched(scope, address, send, known=known))

    def _watched(self, scope: Scope, address: str, send: Send, *, known: bool) -> Send:
        """A forge's signature and the scraper's token are seen only inside: they take nothing from their address."""

        async def passed(message: Message) -> None:
            started = message["type"] == "http.response.start"
            shown = scope["path"].startswith("/hooks/") or scope["path"] == METRICS
            if started and not known and shown and message["status"] < _LATER:
                self.allowance.give_back(address)
            await send(message)

        return passed

    async def _known(self, scope: Scope) -> bool:
        """Whether a valid token came with it."""
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        kind, _, token = given[0].decode("latin-1").partition(" ") if len(given) == 1 else ("", "", "")
        try:
            return kind.lower() == "bearer" and await self.principal(token.strip()) is not None
        except InfraError:
            return False

    def _origin(self, scope: Scope, peer: str) -> tuple[str, bool]:
        """The address that calls, and whether no one could read it on the way. A proxy is asked only if trusted."""
        if not _within(peer, self._networks):
            return peer, scope["scheme"] == "https"
        headers = scope["headers"]
        hops = [one.strip() for one in _joined(headers, b"x-forwarded-for").split(",") if one.strip()]
        while hops and _within(hops[-1], self._networks):
            hops.pop()
        found = _address(hops[-1]) if hops else None
        return str(found or peer), _joined(headers, b"x-forwarded-proto").strip().lower() == "https"

    def _metadata(self) -> dict[str, object]:
        """What a client learns of the tokens here (RFC 9728): they are given out by operators."""
        url = self.outside.url.rstrip("/")
        return {"resource": f"{url}/mcp", "authorization_servers": [url], "bearer_methods_supported": ["header"]}


_SAID: Final = {
    "without-tls": "Calls from other machines come with TLS.",
    "no-such-path": "There is no such path for calls from other machines.",
    "compressed": "The body must not be compressed.",
}


def _as_forwarded(scope: Scope, address: str) -> Scope:
    """The request without the words of others about who sent it, with the address that was believed."""
    headers = [one for one in scope["headers"] if one[0] != b"forwarded" and not one[0].startswith(b"x-forwarded-")]
    return {**scope, "headers": headers, "client": (address, 0)}


def _joined(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> str:
    return ",".join(value.decode("latin-1") for key, value in headers if key == name)


def _within(address: str, networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    found = _address(address)
    return found is not None and any(found in network for network in networks)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address as a socket or a proxy writes it: some proxies add the port, a socket for both families maps IPv4."""
    for one in (text, text.rpartition(":")[0]):
        with suppress(ValueError):
            found = ipaddress.ip_address(one.strip("[]"))
            return getattr(found, "ipv4_mapped", None) or found
    return None
