"""Peers and their tokens in the database. A token is shown once; what is kept is its hash.

A peer is its name in its circle; an operator's circle is empty.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, func, insert, select, update

from infra_mcp.errors import InfraError
from infra_mcp.ledger import clock, schema
from infra_mcp.ledger.database import Tx
from infra_mcp.ledger.events import Entry, append, written
from infra_mcp.ledger.records import Peer
from infra_mcp.ledger.vouching import signed
from infra_mcp.masking import Masker
from infra_mcp.model.names import Circle, PeerName, alike
from infra_mcp.model.peer import Caller

_ROWS, _TOKENS = schema.peers, schema.tokens.c
_ITS = and_(_TOKENS.peer == _ROWS.c.name, _TOKENS.circle == _ROWS.c.circle)
_ALL = select(_ROWS, select(func.count()).where(_ITS).scalar_subquery().label("tokens")).order_by(
    _ROWS.c.name, _ROWS.c.circle
)
_NAMED = _ALL.where(_ROWS.c.name == bindparam("name"))
_CIRCLES = select(_ROWS.c.circle).where(_ROWS.c.name == bindparam("name")).order_by(_ROWS.c.circle)
_NEWER = select(_ROWS.c.name).where(
    _ROWS.c.name == bindparam("name"), _ROWS.c.circle == bindparam("circle"), _ROWS.c.position > bindparam("position")
)
_OF_TOKEN = select(_TOKENS.hash, _ROWS).join(_ROWS, _ITS).where(_TOKENS.hash == bindparam("hash"))
_PREFIX = "imcp_"
_LONGEST = 500  # characters of a description
_NAME: TypeAdapter[str] = TypeAdapter(PeerName)
_CIRCLE: TypeAdapter[str] = TypeAdapter(Circle)


def add(tx: Tx, name: str, circle: str, *, operator: bool = False, by: Caller | None = None) -> bool:
    """A new peer of a circle, or a new operator; one that is there already stays as it is. Whether it is new.

    Raises:
        InfraError: `invalid-argument`, when the name or the circle cannot be one, or an operator comes with a circle.
    """
    if operator and circle:
        raise InfraError("invalid-argument", "An operator belongs to no circle.", next_step="Leave the circle out.")
    checks = [(_NAME, "peer's name", name)] + ([] if operator else [(_CIRCLE, "circle's name", circle)])
    for adapter, what, value in checks:
        try:
            adapter.validate_python(value)
        except ValidationError:
            message = f"The {what} must be letters, digits and dashes, and begin with a letter or digit."
            raise InfraError("invalid-argument", message) from None
    if tx.connection.execute(select(_ROWS.c.name).where(_of(name, circle))).first() is not None:
        return False
    _unmistakable(tx.connection, name, circle)
    row = {"name": name, "circle": circle, "role": "operator" if operator else "agent", "description": ""}
    added = _note(tx, "peer-added", name, circle, data={"role": row["role"]} | signed(by) if operator else None)
    tx.connection.execute(insert(_ROWS), row | {"created": clock.now(), "position": added})
    return True


def _unmistakable(connection: Connection, name: str, circle: str) -> None:
    """Refuse a name that people would take for another's of the circle or an operator's, and such a circle.

    Raises:
        InfraError: `invalid-argument`.
    """
    for there in connection.execute(select(_ROWS.c.name, _ROWS.c.circle)):
        near = there.circle == circle or "" in (there.circle, circle)
        taken = there.name if near and there.name != name and alike(there.name, name) else None
        if there.circle and there.circle != circle and alike(there.circle, circle):
            taken = there.circle
        if taken:
            what = f"{circle if taken == there.circle else name} can be taken for {taken}, which is there already."
            raise InfraError("invalid-argument", what, next_step="Choose a name that looks different.")


def listed(connection: Connection, name: str | None = None) -> list[Peer]:
    """All peers, or those of a name, by name and circle."""
    found = connection.execute(_ALL) if name is None else connection.execute(_NAMED, {"name": name})
    return [Peer.model_validate({key: row[key] for key in Peer.model_fields}) for row in found.mappings()]


def is_newer(connection: Connection, name: str, circle: str | None, position: int) -> bool:
    """Whether the peer that has this name now came after a place in the chain: what stands there is a former one's."""
    given = {"name": name, "circle": circle or "", "position": position}
    return connection.execute(_NEWER, given).first() is not None


def remove(tx: Tx, name: str, circle: str | None = None) -> str:
    """Take a peer away, with its tokens; returns its circle. What it asked for stays in the ledger.

    Raises:
        InfraError: `not-found`, `ambiguous-peer`.
    """
    circle = _circle(tx.connection, name, circle)
    tx.connection.execute(delete(_ROWS).where(_of(name, circle)))  # its tokens go with it
    _note(tx, "peer-removed", name, circle)
    return circle


def describe(tx: Tx, masker: Masker, name: str, text: str, circle: str | None = None) -> None:
    """What a peer says of itself. Text for people: nothing is ever decided by it.

    Raises:
        InfraError: `not-found`, `ambiguous-peer`, or `invalid-argument` when it is longer than 500 characters.
    """
    if len(text) > _LONGEST:
        raise InfraError("invalid-argument", f"A description has at most {_LONGEST} characters.")
    circle = _circle(tx.connection, name, circle)
    said = written(masker, text)
    own = _of(name, circle)
    if tx.connection.execute(select(_ROWS.c.description).where(own)).scalar() == said:
        return  # meshes repeat it every few minutes
    tx.connection.execute(update(_ROWS).where(own).values(description=said))
    _note(tx, "peer-described", name, circle, text=said)


def issue(tx: Tx, name: str, circle: str | None = None, by: Caller | None = None) -> str:
    """A new token for a peer. It cannot be shown again.

    Raises:
        InfraError: `not-found`, `ambiguous-peer`.
    """
    circle = _circle(tx.connection, name, circle)
    token = _PREFIX + secrets.token_urlsafe(32)
    row = {"hash": _hash(token), "peer": name, "circle": circle, "created": clock.now()}
    tx.connection.execute(insert(schema.tokens), row)
    _note(tx, "token-issued", name, circle, data=None if circle else signed(by))
    return token


def revoke(tx: Tx, name: str, circle: str | None = None) -> int:
    """End all tokens of a peer at once; returns how many there were.

    Raises:
        InfraError: `not-found`, `ambiguous-peer`.
    """
    circle = _circle(tx.connection, name, circle)
    tokens = schema.tokens.c
    own = tokens.peer == name, tokens.circle == circle
    ended = tx.connection.execute(delete(schema.tokens).where(*own)).rowcount
    _note(tx, "tokens-revoked", name, circle, data={"count": ended})
    return ended


def caller_for(connection: Connection, token: str) -> Caller | None:
    """Whose token this is.

    The search is by hash, so its timing tells nothing of the token; the comparison takes constant time all the same.
    """
    wanted = _hash(token)
    row = connection.execute(_OF_TOKEN, {"hash": wanted}).mappings().first()
    if row is None or not hmac.compare_digest(row["hash"], wanted):
        return None
    operator = row["role"] == "operator"
    return Caller(name=row["name"], circle=row["circle"] or None, strength="token", operator=operator)


def key_of_token(connection: Connection, which: str) -> str | None:
    """What follows the given beginning of a token's hash; None where no token's hash begins so."""
    found = connection.execute(select(_TOKENS.hash).where(_TOKENS.hash.startswith(which, autoescape=True))).scalar()
    return None if found is None else str(found)[len(which) :]


def circle_of(connection: Connection, name: str) -> str | None:
    """The circle of the one peer of that name; None when there is none, more than one, or an operator."""
    found = connection.execute(_CIRCLES, {"name": name}).scalars().all()
    return found[0] or None if len(found) == 1 else None


def _of(name: str, circle: str) -> ColumnElement[bool]:
    return and_(_ROWS.c.name == name, _ROWS.c.circle == circle)


def _circle(connection: Connection, name: str, circle: str | None) -> str:
    """The circle a peer is meant in; it may be left out when only one has a peer of that name."""
    found = connection.execute(_CIRCLES, {"name": name}).scalars().all()
    if circle is not None:
        found = [one for one in found if one == circle]
    if not found:
        raise InfraError("not-found", "There is no peer of that name.", next_step="`infra-mcp peer list` lists them.")
    if len(found) > 1:
        shown = ", ".join(one or "(operator)" for one in found)
        raise InfraError("ambiguous-peer", f"There is a peer {name} in each of these circles: {shown}.")
    return str(found[0])


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def _note(tx: Tx, kind: str, name: str, circle: str, *, text: str = "", data: dict[str, Any] | None = None) -> int:
    entry = Entry(clock.now(), kind, name, circle or None, text, {"circle": circle} | (data or {}))
    return append(tx, entry)[0]
