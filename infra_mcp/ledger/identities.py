"""Who held which token when it was last looked up, so that a call need not ask the database who makes it.

Only this process writes peers and tokens, so what is remembered holds until it takes one away; then all is forgotten.
"""

from __future__ import annotations

import hashlib

from infra_mcp.model.peer import Caller

__all__ = ["Identities"]

_MOST = 4096  # tokens; the one remembered first goes first


class Identities:
    """Callers by the hash of their token.

    Only callers that were found are remembered: nobody can fill this with tokens that are none. The comparison takes no
    constant time: what it compares are hashes, and of those nobody can choose one nearer to a peer's without its token.
    """

    def __init__(self) -> None:
        self._callers: dict[bytes, Caller] = {}
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

    def forget(self) -> None:
        """A peer or a token was, or may have been, taken away."""
        self.version += 1
        self._callers.clear()


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
