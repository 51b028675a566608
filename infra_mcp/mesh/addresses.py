"""Whom a name means.

Peers of every circle can write to each other: a circle says what infra does for its peers, not who may talk to whom.
Talking gives no right to anything (nothing is ever decided by a peer's words), teams that depend on each other sit in
different circles, and Repowire's users address across circles as a matter of course. What another circle shows of
itself is names and descriptions. A name that more than one circle has is never resolved by guessing, also not in
favour of the sender's own circle: a message for `docs` that a new `docs` next door would catch is worse than a
refusal. Operators are people, and are not addressed by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra_mcp.errors import InfraError
from infra_mcp.model.peer import Address, Caller

if TYPE_CHECKING:
    from infra_mcp.engine import Engine

_SHOWN = 10  # candidates named


def peer_name(engine: Engine) -> str:
    """The name asks are sent to: the policy's, or `infra` while no policy is in force."""
    try:
        return engine.policy.current().peer.name
    except InfraError:
        return "infra"


def infra(engine: Engine) -> Address:
    """The infra peer."""
    return Address(name=peer_name(engine), circle=None)


def own(caller: Caller) -> Address:
    """The caller's own address: where its messages are, and what it sends under. An attendant's is infra's.

    Raises:
        InfraError: `policy-denied` for a connection that only reads, which is nobody.
    """
    if caller.reader:
        what = "A connection without a token only reads: it is no peer, and has no inbox."
        raise InfraError("policy-denied", what, next_step="Connect with the token of a peer, or attend as infra.")
    return Address(name=caller.name, circle=caller.circle)


async def find(engine: Engine, caller: Caller, name: str, circle: str | None = None) -> Address:
    """The one peer of that name.

    Args:
        engine: for peers and policy.
        caller: who asks for it; never the answer.
        name: as `list_peers` shows it.
        circle: its circle; None and `*` look in all of them.

    Raises:
        InfraError: `not-found`; `ambiguous-peer`, naming each as name (circle); `invalid-argument` when it is the
            caller itself.
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
        raise InfraError("not-found", what, next_step='list_peers(circle="*", show_offline=true) shows who there is.')
    if len(found) > 1:
        shown = ", ".join(f"{one.name} ({one.circle})" for one in found[:_SHOWN])
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        what = f"More than one peer is called so: {shown}{more}."
        raise InfraError("ambiguous-peer", what, next_step='Name the circle too, as in circle="docs".')
    if found[0] == caller_itself:
        raise InfraError("invalid-argument", "That is the caller itself.", next_step="Name another peer.")
    return found[0]
