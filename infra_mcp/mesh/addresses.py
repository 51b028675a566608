"""Which peer a name means.

Peers of all circles can write to each other: circles limit what infra does for their peers, not who may talk, and a
message gives no right to anything. A name that more than one circle has is refused and never guessed, not even in
favour of the sender's own circle: the message could reach another peer. Operators are people, and have no address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra_mcp.errors import InfraError
from infra_mcp.model.peer import Address, Caller

if TYPE_CHECKING:
    from infra_mcp.engine import Engine

_LISTED = 10  # candidates in a message


def peer_name(engine: Engine) -> str:
    """The infra peer's name: the policy's, or `infra` while no policy is in force."""
    try:
        return engine.policy.current().peer.name
    except InfraError:
        return "infra"


def infra(engine: Engine) -> Address:
    """The infra peer."""
    return Address(name=peer_name(engine), circle=None)


def own(caller: Caller) -> Address:
    """The caller's address, which is infra's for an attendant.

    Raises:
        InfraError: `policy-denied` for a connection that only reads, which is no peer.
    """
    if caller.reader:
        what = "A connection without a token can only read: it is no peer and has no inbox."
        raise InfraError("policy-denied", what, next_step="Connect with the token of a peer, or attend as infra.")
    return Address(name=caller.name, circle=caller.circle)


async def find(engine: Engine, caller: Caller, name: str, circle: str | None = None) -> Address:
    """The one peer of that name.

    Args:
        engine: for peers and policy.
        caller: the sender, which is never the result.
        name: the name in `list_peers`.
        circle: the peer's circle; None and `*` mean all circles.

    Raises:
        InfraError: `not-found`; `ambiguous-peer`, listing each as name (circle); `invalid-argument` for the caller.
    """
    caller_itself = own(caller)
    peer = infra(engine)
    if name == peer.name and circle in {None, "*", peer.name, caller.circle}:
        found = [peer]
    else:
        peers = await engine.ledger.find_peers(name)
        found = [Address(name=one.name, circle=one.circle) for one in peers if one.role == "agent"]
        found = [one for one in found if circle in {None, "*", one.circle}]
    if not found:
        what = "There is no peer of that name" + ("." if circle is None else " in that circle.")
        raise InfraError("not-found", what, next_step='list_peers(circle="*", show_offline=true) lists all peers.')
    if len(found) > 1:
        shown = ", ".join(f"{one.name} ({one.circle})" for one in found[:_LISTED])
        more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        what = f"More than one peer has this name: {shown}{more}."
        raise InfraError("ambiguous-peer", what, next_step='Name the circle too, as in circle="docs".')
    if found[0] == caller_itself:
        raise InfraError("invalid-argument", "A peer cannot send to itself.", next_step="Name another peer.")
    return found[0]
