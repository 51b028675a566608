"""Recent look-ups of tokens and names, so that a call need not ask the database for its caller.

Only this process writes peers and tokens, so a look-up holds until it writes one; then all are forgotten.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from infra_mcp.ledger.records import Peer
from infra_mcp.model.peer import Caller

_MOST = 4096  # tokens, and names; the oldest entry goes first

K = TypeVar("K")
V = TypeVar("V")


class Identities:
    """Callers by the hash of their token, and peers by their name.

    Only what was found is remembered: invalid tokens cannot fill this. The comparison takes no constant time: it
    compares hashes, and nobody can choose one nearer to a peer's without its token.
    """

    def __init__(self) -> None:
        self._callers: dict[bytes, Caller] = {}
        self._named: dict[str, tuple[Peer, ...]] = {}
        self.described: dict[tuple[str, str], str] = {}  # descriptions of peers, as they sent them
        self._version = 0  # goes up whenever what is remembered, or was just read, may no longer hold

    async def caller(self, token: str, read: Callable[[], Awaitable[Caller | None]]) -> Caller | None:
        """The caller of a token, read when it is not remembered."""
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
            if len(known) >= _MOST:
                del known[next(iter(known))]
            known[key] = found
        return found
