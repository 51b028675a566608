"""Peers and their tokens in the database. A token is shown once; what is kept is its hash."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, delete, func, insert, select, update

from infra_mcp.errors import InfraError
from infra_mcp.ledger import clock, schema
from infra_mcp.ledger.database import Tx
from infra_mcp.ledger.events import Entry, append, written
from infra_mcp.ledger.records import Peer
from infra_mcp.masking import Masker
from infra_mcp.model.names import Circle, PeerName
from infra_mcp.model.peer import Caller

__all__ = ["add", "caller_for", "circle_of", "describe", "issue", "listed", "remove", "revoke"]

_PREFIX = "imcp_"
_LONGEST = 500  # characters of a description
_NAME: TypeAdapter[str] = TypeAdapter(PeerName)
_CIRCLE: TypeAdapter[str] = TypeAdapter(Circle)


def add(tx: Tx, name: str, circle: str) -> None:
    """A new peer; one that is there in that circle already stays as it is.

    Raises:
        InfraError: `invalid-argument`, when the name or the circle cannot be one, or the peer is in another circle.
    """
    for adapter, what, value in ((_NAME, "peer's name", name), (_CIRCLE, "circle's name", circle)):
        try:
            adapter.validate_python(value)
        except ValidationError:
            message = f"The {what} must be letters, digits and dashes, and begin with a letter or digit."
            raise InfraError("invalid-argument", message) from None
    there = circle_of(tx.connection, name)
    if there is not None:
        if there != circle:
            raise InfraError("invalid-argument", f"{name} is a peer of circle {there} already; remove it there first.")
        return
    row = {"name": name, "circle": circle, "description": "", "created": clock.now()}
    tx.connection.execute(insert(schema.peers), row)
    _note(tx, "peer-added", name, circle)


def listed(connection: Connection) -> list[Peer]:
    """All peers by name."""
    counted = select(func.count()).where(schema.tokens.c.peer == schema.peers.c.name).scalar_subquery().label("tokens")
    rows = connection.execute(select(schema.peers, counted).order_by(schema.peers.c.name)).mappings()
    return [Peer.model_validate(dict(row)) for row in rows]


def remove(tx: Tx, name: str) -> None:
    """Take a peer away, with its tokens. What it asked for stays in the ledger.

    Raises:
        InfraError: `not-found`.
    """
    circle = _circle(tx.connection, name)
    tx.connection.execute(delete(schema.peers).where(schema.peers.c.name == name))  # its tokens go with it
    _note(tx, "peer-removed", name, circle)


def describe(tx: Tx, masker: Masker, name: str, text: str) -> None:
    """What a peer says of itself. Text for people: nothing is ever decided by it.

    Raises:
        InfraError: `not-found`, or `invalid-argument` when it is longer than 500 characters.
    """
    if len(text) > _LONGEST:
        raise InfraError("invalid-argument", f"A description has at most {_LONGEST} characters.")
    circle = _circle(tx.connection, name)
    said = written(masker, text)
    own = schema.peers.c.name == name
    if tx.connection.execute(select(schema.peers.c.description).where(own)).scalar() == said:
        return  # meshes repeat it every few minutes
    tx.connection.execute(update(schema.peers).where(own).values(description=said))
    _note(tx, "peer-described", name, circle, text=said)


def issue(tx: Tx, name: str) -> str:
    """A new token for a peer. It cannot be shown again.

    Raises:
        InfraError: `not-found`.
    """
    circle = _circle(tx.connection, name)
    token = _PREFIX + secrets.token_urlsafe(32)
    tx.connection.execute(insert(schema.tokens), {"hash": _hash(token), "peer": name, "created": clock.now()})
    _note(tx, "token-issued", name, circle)
    return token


def revoke(tx: Tx, name: str) -> int:
    """End all tokens of a peer at once; returns how many there were.

    Raises:
        InfraError: `not-found`.
    """
    circle = _circle(tx.connection, name)
    ended = tx.connection.execute(delete(schema.tokens).where(schema.tokens.c.peer == name)).rowcount
    _note(tx, "tokens-revoked", name, circle, data={"count": ended})
    return ended


def caller_for(connection: Connection, token: str) -> Caller | None:
    """Whose token this is.

    The search is by hash, so its timing tells nothing of the token; the comparison takes constant time all the same.
    """
    wanted = _hash(token)
    of_token = select(schema.tokens.c.hash, schema.peers).join(
        schema.peers, schema.peers.c.name == schema.tokens.c.peer
    )
    row = connection.execute(of_token.where(schema.tokens.c.hash == wanted)).mappings().first()
    if row is None or not hmac.compare_digest(row["hash"], wanted):
        return None
    return Caller(name=row["name"], circle=row["circle"], strength="token")


def circle_of(connection: Connection, name: str) -> str | None:
    """The circle of a peer, if there is such a peer."""
    return connection.execute(select(schema.peers.c.circle).where(schema.peers.c.name == name)).scalar()


def _circle(connection: Connection, name: str) -> str:
    circle = circle_of(connection, name)
    if circle is None:
        raise InfraError("not-found", "There is no peer of that name.", next_step="`infra-mcp peer list` lists them.")
    return circle


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def _note(tx: Tx, kind: str, name: str, circle: str, *, text: str = "", data: dict[str, Any] | None = None) -> None:
    append(tx, Entry(clock.now(), kind, name, circle, text, {"circle": circle} | (data or {})))
