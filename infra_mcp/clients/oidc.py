"""The signing keys of an OpenID Connect issuer, read from its own address and kept for a while.

Where they are is said by policy: by name, or by the issuer's discovery document, which must be that issuer's (OpenID
Connect Discovery 1.0, 4.3). No address in a token (`jku`, `x5u`, `iss`) is ever read.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import anyio

from infra_mcp.clients.page import fetch
from infra_mcp.errors import InfraError, Unavailable

FRESH: Final = 3600.0  # seconds for which keys are used; then a key that the issuer withdrew counts no more
AGAIN: Final = 30.0  # seconds between two readings: anyone can make up tokens with unknown keys
_DISCOVERY: Final = "/.well-known/openid-configuration"
_MAX_KEYS: Final = 100
_PUBLIC: Final = frozenset({"RSA", "EC", "OKP"})  # a key of another type is no public key

Key = dict[str, Any]  # a JSON Web Key (RFC 7517)


@dataclass(frozen=True)
class Place:
    """Where an issuer's keys are.

    Args:
        issuer: its address, as its tokens have it.
        jwks: where its keys are; None asks its discovery document.
        private: whether it may be at a private address, or on this machine.
        safe: whether keys may be read at an address that the discovery document names.
    """

    issuer: str
    jwks: str | None
    private: bool
    safe: Callable[[str], bool]


@dataclass
class IssuerKeys:
    """The keys of one issuer.

    Args:
        place: where they are.
        clock: seconds that never go back.
    """

    place: Place
    clock: Callable[[], float] = time.monotonic
    read: Callable[..., Awaitable[bytes]] = fetch
    _keys: dict[str, Key] = field(default_factory=dict)
    _read_at: float = float("-inf")  # when they were read
    _asked_at: float = float("-inf")  # when they were last asked for, also in vain
    _lock: anyio.Lock = field(default_factory=anyio.Lock)

    async def key(self, kid: str) -> Key | None:
        """The key of that id; an unknown one is looked for at the issuer, every half a minute at most.

        Raises:
            Unavailable: `issuer-unreachable`.
        """
        if (found := self._known(kid)) is not None:
            return found
        async with self._lock:  # several calls with a new key cause one reading
            if (found := self._known(kid)) is None and self.clock() - self._asked_at >= AGAIN:
                self._asked_at = self.clock()
                self._keys = await self._fetched()
                self._read_at = self.clock()
                found = self._keys.get(kid)
        if found is None and not self._is_fresh:
            raise _unreachable(self.place.issuer, "its keys could not be read a moment ago")
        return found

    @property
    def _is_fresh(self) -> bool:
        return self.clock() - self._read_at < FRESH

    def _known(self, kid: str) -> Key | None:
        return self._keys.get(kid) if self._is_fresh else None

    async def _fetched(self) -> dict[str, Key]:
        where = self.place.jwks or await self._discovered()
        keys = (await self._document(where)).get("keys")
        if not isinstance(keys, list) or len(keys) > _MAX_KEYS:
            raise _unreachable(self.place.issuer, "what it gives as its keys is no set of keys")
        usable = [one for one in keys if isinstance(one, dict) and one.get("kty") in _PUBLIC]
        usable = [one for one in usable if one.get("use", "sig") == "sig" and isinstance(one.get("kid"), str)]
        return {one["kid"]: one for one in usable}

    async def _discovered(self) -> str:
        found = await self._document(self.place.issuer.rstrip("/") + _DISCOVERY)
        where = found.get("jwks_uri")
        if found.get("issuer") != self.place.issuer:
            raise _unreachable(self.place.issuer, "its discovery document is another issuer's")
        if not isinstance(where, str) or not self.place.safe(where):
            raise _unreachable(self.place.issuer, "its discovery document names no https address of its keys")
        return where

    async def _document(self, url: str) -> dict[str, Any]:
        try:
            found = json.loads(await self.read(url, private=self.place.private))
        except InfraError as error:
            raise _unreachable(self.place.issuer, error.what) from None
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise _unreachable(self.place.issuer, "it answers with something else than a JSON object")
        return found


def _unreachable(issuer: str, why: str) -> Unavailable:
    what = f"The keys of {issuer} cannot be read, so a token of it cannot be checked: {why}"
    return Unavailable("issuer-unreachable", what.rstrip(".") + ".")
