"""Peers, operators and their tokens: who they are to a ledger. One transaction for each public write."""

from __future__ import annotations

from infra_mcp.effects import effect
from infra_mcp.ledger import clock, departures, peers
from infra_mcp.ledger.database import Database, Tx
from infra_mcp.ledger.identities import Identities
from infra_mcp.ledger.message_digests import MessageDigests
from infra_mcp.ledger.records import Peer
from infra_mcp.masking import Masker
from infra_mcp.model.peer import Address, Caller


class Members:
    """The part of a `Ledger` that is about peers and tokens.

    Attributes:
        masker: what masks texts here; the same must mask what leaves by other ways.
        identities: who holds a token, remembered from one call to the next.
    """

    def __init__(self, database: Database, masker: Masker, words: MessageDigests) -> None:
        self._database = database
        self._words = words
        self.masker = masker
        self.identities = Identities()

    @effect("ledger.peer.add")
    async def add_peer(self, name: str, circle: str, *, operator: bool = False, by: Caller | None = None) -> bool:
        """Add a peer to a circle, or an operator, whose circle is empty; one that is there already stays.

        Returns:
            Whether it is new.

        Raises:
            InfraError: `invalid-argument`, when a name cannot be one, or an operator comes with a circle.
        """

        def add(tx: Tx) -> bool:
            new = peers.add(tx, name, circle, operator=operator, by=by)
            if new:  # what an earlier version left behind when it removed a peer of that name
                departures.settle(tx, self.masker, self._words, Address(name=name, circle=circle or None), clock.now())
            return new

        with self.identities.changing():
            return await self._database.write(add)

    async def peers(self) -> list[Peer]:
        """All peers by name and circle."""
        return await self._database.read(peers.listed)

    async def find_peers(self, name: str) -> list[Peer]:
        """The peers of that name, one a circle, by circle; operators first."""
        known, version = self.identities.named(name), self.identities.version
        if not known:
            known = tuple(await self._database.read(lambda connection: peers.listed(connection, name)))
            self.identities.keep_named(name, known, version)
        return list(known)

    @effect("ledger.peer.remove")
    async def remove_peer(self, name: str, circle: str | None = None) -> departures.Departure:
        """Remove a peer and end its tokens and what waits for it; what it asked for stays in the ledger.

        Args:
            name: the peer's name.
            circle: its circle, empty for an operator; None where only one has that name. So for the methods below.

        Returns:
            What was ended with it; who waits for that is to be woken.

        Raises:
            InfraError: `not-found`; `ambiguous-peer`, naming the circles.
        """

        def remove(tx: Tx) -> departures.Departure:
            gone = Address(name=name, circle=peers.remove(tx, name, circle) or None)
            self.identities.described.pop((name, gone.circle or ""), None)
            return departures.settle(tx, self.masker, self._words, gone, clock.now())

        with self.identities.changing():
            return await self._database.write(remove)

    @effect("ledger.peer.describe")
    async def set_description(self, name: str, text: str, circle: str | None = None) -> None:
        """Keep what a peer says of itself; nothing is decided by it.

        Raises:
            InfraError: `not-found`; `ambiguous-peer`; `invalid-argument`, when it is longer than 500 characters.
        """
        with self.identities.changing():
            await self._database.write(lambda tx: peers.describe(tx, self.masker, name, text, circle))

    @effect("ledger.token.issue")
    async def issue_token(self, name: str, circle: str | None = None, *, by: Caller | None = None) -> str:
        """A new token for a peer, shown this once; `by` is who asked for it.

        Raises:
            InfraError: `not-found`, `ambiguous-peer`.
        """
        with self.identities.changing():
            return await self._database.write(lambda tx: peers.issue(tx, name, circle, by))

    @effect("ledger.token.revoke")
    async def revoke_tokens(self, name: str, circle: str | None = None) -> int:
        """End all tokens of a peer at once; returns how many there were.

        Raises:
            InfraError: `not-found`, `ambiguous-peer`.
        """
        with self.identities.changing():
            return await self._database.write(lambda tx: peers.revoke(tx, name, circle))

    async def key_of_token(self, which: str) -> str | None:
        """The rest of a token's hash, by its beginning; None where there is no such token, or no more."""
        return await self._database.read(lambda connection: peers.key_of_token(connection, which))

    async def caller_for_token(self, token: str) -> Caller | None:
        """Who holds this token; None when nobody does, or no more."""
        known, version = self.identities.get(token), self.identities.version
        if known is None:
            known = await self._database.read(lambda connection: peers.caller_for(connection, token))
            if known is not None:
                self.identities.keep(token, known, version)
        return known
