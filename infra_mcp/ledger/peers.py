"""Peers and operators; `tokens` has their tokens.

A peer is its name in its circle; an operator's circle is empty.
"""

from __future__ import annotations

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, func, insert, select, update

from infra_mcp.effects import effect
from infra_mcp.errors import InfraError
from infra_mcp.ledger import clock, schema
from infra_mcp.ledger.database import Database, Tx
from infra_mcp.ledger.departures import Departure, depart
from infra_mcp.ledger.events import written
from infra_mcp.ledger.identities import Identities
from infra_mcp.ledger.message_digests import MessageDigests
from infra_mcp.ledger.records import Peer
from infra_mcp.ledger.tokens import ITS, VALID, Tokens, note, the_circle
from infra_mcp.ledger.vouching import signed
from infra_mcp.masking import Masker
from infra_mcp.model.names import Circle, PeerName, alike
from infra_mcp.model.peer import Address, Caller

_ROWS = schema.peers
_COUNT = select(func.count()).where(ITS, VALID).scalar_subquery()
_ALL = select(_ROWS, _COUNT.label("tokens")).order_by(_ROWS.c.name, _ROWS.c.circle)
_NAMED = _ALL.where(_ROWS.c.name == bindparam("name"))
_CIRCLES = select(_ROWS.c.circle).where(_ROWS.c.name == bindparam("name")).order_by(_ROWS.c.circle)
_MAX_DESCRIPTION = 500  # characters
_NAME: TypeAdapter[str] = TypeAdapter(PeerName)
_CIRCLE: TypeAdapter[str] = TypeAdapter(Circle)


class Peers(Tokens):
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
            added = note(tx, "peer-added", name, circle, {"role": row["role"]} | signed(by) if operator else None)
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
            found = the_circle(tx.connection, name, circle)
            tx.connection.execute(delete(_ROWS).where(_of(name, found)))  # its tokens are deleted with it
            note(tx, "peer-removed", name, found)
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
            own, masked = the_circle(tx.connection, name, circle), written(self.masker, text)
            if tx.connection.execute(select(_ROWS.c.description).where(_of(name, own))).scalar() == masked:
                return  # meshes repeat it every few minutes
            tx.connection.execute(update(_ROWS).where(_of(name, own)).values(description=masked))
            note(tx, "peer-described", name, own, text=masked)

        with self.identities.changing():
            await self._database.write(describe)


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
    now = {"now": clock.now()}
    found = connection.execute(_ALL, now) if name is None else connection.execute(_NAMED, now | {"name": name})
    return [Peer.model_validate({key: row[key] for key in Peer.model_fields}) for row in found.mappings()]


def _of(name: str, circle: str) -> ColumnElement[bool]:
    return and_(_ROWS.c.name == name, _ROWS.c.circle == circle)
