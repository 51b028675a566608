"""Peers, operators and their tokens. A token is shown once; its hash is stored.

A peer is its name in its circle; an operator's circle is empty.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, func, insert, select, update

from infra_mcp.effects import effect
from infra_mcp.errors import InfraError
from infra_mcp.ledger import clock, schema
from infra_mcp.ledger.database import Database, Repository, Tx
from infra_mcp.ledger.departures import Departure, depart
from infra_mcp.ledger.events import Entry, append, written
from infra_mcp.ledger.message_digests import MessageDigests
from infra_mcp.ledger.records import Peer
from infra_mcp.ledger.vouching import signed
from infra_mcp.masking import Masker
from infra_mcp.model.names import Circle, PeerName, alike
from infra_mcp.model.peer import Address, Caller

_ROWS, _TOKENS = schema.peers, schema.tokens.c
_ITS = and_(_TOKENS.peer == _ROWS.c.name, _TOKENS.circle == _ROWS.c.circle)
_ALL = select(_ROWS, select(func.count()).where(_ITS).scalar_subquery().label("tokens")).order_by(
    _ROWS.c.name, _ROWS.c.circle
)
_NAMED = _ALL.where(_ROWS.c.name == bindparam("name"))
_CIRCLES = select(_ROWS.c.circle).where(_ROWS.c.name == bindparam("name")).order_by(_ROWS.c.circle)
_OF_TOKEN = select(_TOKENS.hash, _ROWS).join(_ROWS, _ITS).where(_TOKENS.hash == bindparam("hash"))
_PREFIX = "imcp_"
_MAX_DESCRIPTION = 500  # characters
_MAX_KNOWN = 4096  # tokens, and names; the oldest entry goes first
K = TypeVar("K")
V = TypeVar("V")
_NAME: TypeAdapter[str] = TypeAdapter(PeerName)
_CIRCLE: TypeAdapter[str] = TypeAdapter(Circle)


class Identities:
    """Recent look-ups, so that a call need not ask the database: callers by the hash of their token, peers by name.

    Only this process writes peers and tokens, so a look-up holds until it writes one; then all are forgotten. Only what
    was found is remembered: invalid tokens cannot fill this. The comparison takes no constant time: it compares hashes,
    and without a peer's token it is not possible to choose one nearer to its hash.
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
            if len(known) >= _MAX_KNOWN:
                del known[next(iter(known))]
            known[key] = found
        return found


class Peers(Repository):
    """The peers and tokens of one ledger.

    Where a method takes a peer's name, its circle (empty for an operator) may be left out when only one circle has a
    peer of that name; else it raises `InfraError` `not-found` or `ambiguous-peer`, naming the circles.

    Attributes:
        identities: recent look-ups of tokens and names.
    """

    def __init__(self, database: Database, masker: Masker, digests: MessageDigests) -> None:
        super().__init__(database, masker, digests)
        self.identities = Identities()

    @effect("ledger.peer.add")
    async def add_peer(self, name: str, circle: str, *, operator: bool = False, by: Caller | None = None) -> bool:
        """Add a peer to a circle, or an operator, whose circle is empty; one that is there already stays.

        Returns:
            Whether it is new.

        Raises:
            InfraError: `invalid-argument`: an invalid or easily mistaken name, or an operator with a circle.
        """

        def add(tx: Tx) -> bool:
            _check_names(name, circle, operator)
            if tx.connection.execute(select(_ROWS.c.name).where(_of(name, circle))).first() is not None:
                return False
            _refuse_alike(tx.connection, name, circle)
            row = {"name": name, "circle": circle, "role": "operator" if operator else "agent", "description": ""}
            added = _note(tx, "peer-added", name, circle, {"role": row["role"]} | signed(by) if operator else None)
            tx.connection.execute(insert(_ROWS), row | {"created": clock.now(), "position": added})
            # What an earlier version left behind when it removed a peer of that name.
            depart(tx, self.masker, self._digests, Address(name=name, circle=circle or None))
            return True

        with self.identities.changing():
            return await self._database.write(add)

    async def peers(self) -> list[Peer]:
        """All peers by name and circle."""
        return await self._database.read(_listed)

    async def find_peers(self, name: str) -> list[Peer]:
        """The peers of that name, one a circle, by circle; operators first."""
        known = self.identities.named(name, lambda: self._database.read(lambda one: tuple(_listed(one, name))))
        return list(await known)

    @effect("ledger.peer.remove")
    async def remove_peer(self, name: str, circle: str | None = None) -> Departure:
        """Remove a peer, its tokens and what waits for it; what it asked for stays in the ledger.

        Returns:
            What ended with it; its waiters must be woken.
        """

        def remove(tx: Tx) -> Departure:
            found = _circle(tx.connection, name, circle)
            tx.connection.execute(delete(_ROWS).where(_of(name, found)))  # its tokens are deleted with it
            _note(tx, "peer-removed", name, found)
            self.identities.described.pop((name, found), None)
            return depart(tx, self.masker, self._digests, Address(name=name, circle=found or None))

        with self.identities.changing():
            return await self._database.write(remove)

    @effect("ledger.peer.describe")
    async def set_description(self, name: str, text: str, circle: str | None = None) -> None:
        """Keep a peer's description of itself; nothing is decided by it.

        Raises:
            InfraError: `invalid-argument`, when it is longer than 500 characters.
        """
        if len(text) > _MAX_DESCRIPTION:
            raise InfraError("invalid-argument", f"A description has at most {_MAX_DESCRIPTION} characters.")

        def describe(tx: Tx) -> None:
            own, masked = _circle(tx.connection, name, circle), written(self.masker, text)
            if tx.connection.execute(select(_ROWS.c.description).where(_of(name, own))).scalar() == masked:
                return  # meshes repeat it every few minutes
            tx.connection.execute(update(_ROWS).where(_of(name, own)).values(description=masked))
            _note(tx, "peer-described", name, own, text=masked)

        with self.identities.changing():
            await self._database.write(describe)

    @effect("ledger.token.issue")
    async def issue_token(self, name: str, circle: str | None = None, *, by: Caller | None = None) -> str:
        """A new token for a peer, shown this once; `by` is who asked for it."""

        def issue(tx: Tx) -> str:
            own, token = _circle(tx.connection, name, circle), _PREFIX + secrets.token_urlsafe(32)
            row = {"hash": _hash(token), "peer": name, "circle": own, "created": clock.now()}
            tx.connection.execute(insert(schema.tokens), row)
            _note(tx, "token-issued", name, own, None if own else signed(by))
            return token

        with self.identities.changing():
            return await self._database.write(issue)

    @effect("ledger.token.revoke")
    async def revoke_tokens(self, name: str, circle: str | None = None) -> int:
        """End all tokens of a peer at once; returns how many there were."""

        def revoke(tx: Tx) -> int:
            own = _circle(tx.connection, name, circle)
            tokens = delete(schema.tokens).where(_TOKENS.peer == name, _TOKENS.circle == own)
            ended = tx.connection.execute(tokens).rowcount
            _note(tx, "tokens-revoked", name, own, {"count": ended})
            return ended

        with self.identities.changing():
            return await self._database.write(revoke)

    async def key_of_token(self, which: str) -> str | None:
        """The rest of a token's hash, by its beginning; None where there is no such token, or no more."""
        wanted = select(_TOKENS.hash).where(_TOKENS.hash.startswith(which, autoescape=True))
        found = await self._database.read(lambda connection: connection.execute(wanted).scalar())
        return None if found is None else str(found)[len(which) :]

    async def caller_for_token(self, token: str) -> Caller | None:
        """Who holds this token; None when it is not, or no longer, valid."""
        return await self.identities.caller(token, lambda: self._database.read(lambda one: _caller(one, token)))


def circle_of(connection: Connection, name: str) -> str | None:
    """The circle of the one peer of that name; None when there is none, more than one, or an operator."""
    found = connection.execute(_CIRCLES, {"name": name}).scalars().all()
    return found[0] or None if len(found) == 1 else None


def _check_names(name: str, circle: str, operator: bool) -> None:
    if operator and circle:
        raise InfraError("invalid-argument", "An operator belongs to no circle.", next_step="Leave the circle out.")
    checks = [(_NAME, "peer's name", name)] + ([] if operator else [(_CIRCLE, "circle's name", circle)])
    for adapter, what, value in checks:
        try:
            adapter.validate_python(value)
        except ValidationError:
            message = f"The {what} must be letters, digits and dashes, and begin with a letter or digit."
            raise InfraError("invalid-argument", message) from None


def _refuse_alike(connection: Connection, name: str, circle: str) -> None:
    """Refuse a name that people would mistake for another's of the circle or an operator's, and such a circle."""
    for there in connection.execute(select(_ROWS.c.name, _ROWS.c.circle)):
        near = there.circle == circle or "" in (there.circle, circle)
        taken = there.name if near and there.name != name and alike(there.name, name) else None
        if there.circle and there.circle != circle and alike(there.circle, circle):
            taken = there.circle
        if taken:
            what = f"{circle if taken == there.circle else name} looks like {taken}, which exists already."
            raise InfraError("invalid-argument", what, next_step="Choose a name that looks different.")


def _listed(connection: Connection, name: str | None = None) -> list[Peer]:
    found = connection.execute(_ALL) if name is None else connection.execute(_NAMED, {"name": name})
    return [Peer.model_validate({key: row[key] for key in Peer.model_fields}) for row in found.mappings()]


def _caller(connection: Connection, token: str) -> Caller | None:
    """The search is by hash, so its timing reveals nothing of the token; the comparison takes constant time anyway."""
    wanted = _hash(token)
    row = connection.execute(_OF_TOKEN, {"hash": wanted}).mappings().first()
    if row is None or not hmac.compare_digest(row["hash"], wanted):
        return None
    operator = row["role"] == "operator"
    return Caller(name=row["name"], circle=row["circle"] or None, strength="token", operator=operator)


def _of(name: str, circle: str) -> ColumnElement[bool]:
    return and_(_ROWS.c.name == name, _ROWS.c.circle == circle)


def _circle(connection: Connection, name: str, circle: str | None) -> str:
    """The circle of the peer that is meant."""
    found = [one for one in connection.execute(_CIRCLES, {"name": name}).scalars() if circle in {None, one}]
    if not found:
        raise InfraError("not-found", "There is no peer of that name.", next_step="`infra-mcp peer list` lists them.")
    if len(found) > 1:
        shown = ", ".join(one or "(operator)" for one in found)
        raise InfraError("ambiguous-peer", f"There is a peer {name} in each of these circles: {shown}.")
    return str(found[0])


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def _note(tx: Tx, kind: str, name: str, circle: str, data: dict[str, Any] | None = None, *, text: str = "") -> int:
    return append(tx, Entry(clock.now(), kind, name, circle or None, text, {"circle": circle} | (data or {})))[0]
