"""Recent look-ups of tokens and names, so that a call need not ask the database."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from infra_mcp.ledger.records import Peer
from infra_mcp.model.peer import Caller

_MAX_KNOWN = 4096  # tokens, and names; the oldest entry goes first
K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True)
class KnownToken:
    """A token that was found: whose it is, its hash, and when it ends, if it does."""

    caller: Caller
    hash: str
    expires: str | None


class Identities:
    """Recent look-ups: tokens by their hash, peers by name.

    Only this process writes peers and tokens, so a look-up holds until it writes one; then all are forgotten. Only what
    was found is remembered: invalid tokens cannot fill this. The comparison takes no constant time: it compares hashes,
    and without a peer's token it is not possible to choose one nearer to its hash.
    """

    def __init__(self) -> None:
        self._callers: dict[bytes, KnownToken] = {}
        self._named: dict[str, tuple[Peer, ...]] = {}
        self.described: dict[tuple[str, str], str] = {}  # descriptions of peers, as they sent them
        self.used: dict[str, str] = {}  # hashes of tokens, and when each was last used, as far as not written yet
        self._version = 0  # goes up whenever what is remembered, or was just read, may no longer hold

    async def token(self, token: str, read: Callable[[], Awaitable[KnownToken | None]]) -> KnownToken | None:
        """What is known of a token, read when it is not remembered."""
        key = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        return await self._remembered(self._callers, key, read)

    async def named(self, name: str, read: Callable[[], Awaitable[tuple[Peer, ...]]]) -> tuple[Peer, ...]:
        """All peers of a name, read when they are not remembered."""
        return await self._remembered(self._named, name, read) or ()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Peers or tokens are written inside; then all is forgotten, also when the write failed or was cancelled."""
        try:
            yield
        finally:
            self._version += 1
            self._callers.clear()
            self._named.clear()

    async def _remembered(self, known: dict[K, V], key: K, read: Callable[[], Awaitable[V | None]]) -> V | None:
        if key in known:
            return known[key]
        version = self._version
        found = await read()
        if found and version == self._version:  # else something was written while it was read
            if len(known) >= _MAX_KNOWN:
                del known[next(iter(known))]
            known[key] = found
        return found
