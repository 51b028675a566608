"""Reads one page over HTTP that policy names: bounded, and never led to a place that policy does not name.

Importing this module imports aiohttp, which clients/kube uses too; so it is imported where it is used. Redirects stay
on the host of the address or on hosts that policy names. An address of this machine, of its network or of the cloud's
own service (169.254.0.0/16) is connected to only where policy says so; names are looked up once, and the connection is
made to the addresses that were checked, so that a name cannot lead elsewhere in between.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection
from typing import Any, Final, cast
from urllib.parse import urljoin, urlsplit

import anyio

from infra_mcp.errors import Unavailable

_SECONDS: Final = 10.0  # for one page, redirects included
_MAX_BYTES: Final = 2**20
_MAX_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_OK: Final = 200


async def fetch(url: str, *, hosts: Collection[str] = (), private: bool = False) -> bytes:
    """The body of a page that answers 200.

    Args:
        url: its address, http or https.
        hosts: further hosts to which it may redirect.
        private: whether its host may be at a private address, or on this machine.

    Raises:
        Unavailable: `url-unavailable`: no answer, another status, a redirect to elsewhere, too large, or too slow.
    """
    import aiohttp  # noqa: PLC0415 - heavy, and only those need it whose policy names a page

    own = urlsplit(url).hostname or ""
    allowed = {own, *hosts}
    connector = aiohttp.TCPConnector(resolver=cast("Any", _Resolver(private=private)), use_dns_cache=False)
    try:
        with anyio.fail_after(_SECONDS):
            async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
                for _ in range(_MAX_REDIRECTS):
                    _require(url, allowed, private=private)
                    async with session.get(url, allow_redirects=False, headers={"Accept": "*/*"}) as answer:
                        if answer.status not in _REDIRECTS:
                            return await _body(answer)
                        url = urljoin(url, answer.headers.get("Location", ""))
    except TimeoutError:
        raise _unavailable("it did not answer in time") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise _unavailable(_why(error)) from None
    raise _unavailable("it redirects again and again")


async def _body(answer: Any) -> bytes:  # noqa: ANN401 - aiohttp is imported late
    if answer.status != _OK:
        raise _unavailable(f"it answers {answer.status}")
    body = b""
    async for chunk in answer.content.iter_chunked(2**16):
        body += chunk
        if len(body) > _MAX_BYTES:
            raise _unavailable("its answer is larger than 1 MiB")
    return body


def _require(url: str, allowed: Collection[str], *, private: bool) -> None:
    """Refuse an address that policy does not name.

    Raises:
        Unavailable: it leads elsewhere.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in {"http", "https"} or host not in allowed or parts.username is not None:
        raise _unavailable("it redirects to a host that infra.toml does not name")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return
    if not is_allowed(str(address), private=private):
        raise _unavailable(_PRIVATE)


_PRIVATE: Final = "its host is at an address that infra.toml does not allow: see its key `private`"


def is_allowed(address: str, *, private: bool) -> bool:
    """Whether an address may be connected to; those of a link, such as the cloud's own service, never may be."""
    found = ipaddress.ip_address(address)
    found = getattr(found, "ipv4_mapped", None) or found
    if found.is_link_local or found.is_multicast or found.is_unspecified:
        return False
    return private or found.is_global


class _Resolver:
    """Looks names up, and gives only the addresses that may be connected to."""

    def __init__(self, *, private: bool) -> None:
        self._private = private

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_UNSPEC) -> list[dict[str, Any]]:
        """The addresses of a name, as aiohttp takes them."""
        found = await anyio.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        fitting = [
            {"hostname": host, "host": str(at[0]), "port": port, "family": kind, "proto": proto, "flags": 0}
            for kind, _, proto, _, at in found
            if is_allowed(str(at[0]), private=self._private)
        ]
        if not fitting:
            raise OSError(None, _PRIVATE)
        return fitting

    async def close(self) -> None:
        """Nothing is open."""


def _unavailable(why: str) -> Unavailable:
    return Unavailable("url-unavailable", f"The page gave no answer: {why}.")


def _why(error: Exception) -> str:
    cause = getattr(error, "os_error", None) or error
    return getattr(cause, "strerror", None) or type(error).__name__
