"""A peer in a statement that is made once: its name in its circle, as parameters."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import ColumnElement, and_, bindparam, func, select

from infra_mcp.ledger import schema
from infra_mcp.model.peer import Address, Caller

# Parameters are `to_name`, `to_circle`, `from_name` and `from_circle`: an UPDATE takes a column's name for a new value.
Side = Literal["to", "from"]


def is_party(side: Side, name: ColumnElement[Any], circle: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether two columns name the peer of one side. No circle is equal to no circle."""
    return and_(name == bindparam(f"{side}_name"), circle.is_not_distinct_from(bindparam(f"{side}_circle")))


def added_at(side: Side) -> ColumnElement[int]:
    """Where in the chain the peer of one side was added: what is older belongs to a former peer of its name."""
    peers = schema.peers.c
    named = peers.name == bindparam(f"{side}_name"), peers.circle == func.coalesce(bindparam(f"{side}_circle"), "")
    return func.coalesce(select(peers.position).where(*named).scalar_subquery(), 0)


def given(side: Side, peer: Address | Caller) -> dict[str, Any]:
    """The parameters of `is_party` and `added_at` for a peer."""
    return {f"{side}_name": peer.name, f"{side}_circle": peer.circle or None}
