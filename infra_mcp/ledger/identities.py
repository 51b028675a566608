"""Who held which token and who had which name when last looked up, so that a call need not ask the database for it.

Only this process writes peers and tokens, so what is remembered holds until it writes one; then all is forgotten.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from infra_mcp.ledger.records import Peer
from infra_mcp.model.peer import Caller

_MOST = 4096  # tokens, and names; the one remembered first goes first


class Identities:
    """Callers by the hash of their token, and peers by their name.

    Only what was found is remembered: nobody can fill this with tokens that are none. The comparison takes no
    constant time: what it compares are hashes, and of those nobody can choose one nearer to a peer's without its token.
    """

    def __init__(self) -> None:
        self._callers: dict[bytes, Caller] = {}
        self._named: dict[str, tuple[Peer, ...]] = {}
        self.described: dict[tuple[str, str], str] = {}  # what peers said of themselves, as they said it
        self.version = 0  # goes up whenever what is remembered, or was just read, may no longer hold

    def get(self, token: str) -> Caller | None:
        """The caller remembered for a token; None says nothing about the token."""
        return self._callers.get(_hash(token))

    def keep(self, token: str, caller: Caller, version: int) -> None:
        """Remember what was read, unless something was forgotten since.

        Args:
            token: as it was shown.
            caller: who holds it.
            version: as it was before the reading began.
        """
        if version != self.version:
            return
        if len(self._callers) >= _MOST:
            del self._callers[next(iter(self._callers))]
        self._callers[_hash(token)] = caller

    def named(self, name: str) -> tuple[Peer, ...]:
        """The peers remembered for a name; none says nothing about the name."""
        return self._named.get(name, ())

    def keep_named(self, name: str, peers: Sequence[Peer], version: int) -> None:
        """Remember all peers of a name as they were read, unless there are none or something was forgotten since.

        Args:
            name: theirs.
            peers: all of them.
            version: as it was before the reading began.
        """
        if version != self.version or not peers:
            return
        if len(self._named) >= _MOST:
            del self._named[next(iter(self._named))]
        self._named[name] = tuple(peers)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Peers or tokens are written inside; then all is forgotten, also for a writer that failed or was cancelled."""
        try:
            yield
        finally:
            self.version += 1
            self._callers.clear()
            self._named.clear()


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
