"""Messages that want no answer: a notify to one peer, a broadcast to the sender's circle.

A notify to the infra peer may be a release; that is `notify`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import anyio

from infra_mcp.errors import InfraError
from infra_mcp.mesh import addresses
from infra_mcp.mesh.intake import now
from infra_mcp.model.peer import Address

if TYPE_CHECKING:
    from infra_mcp.engine import Engine
    from infra_mcp.mesh.limits import Limits
    from infra_mcp.model.peer import Caller

_BIG = 10  # receivers of a broadcast that count as one message more


class Broadcast(NamedTuple):
    """Whom a broadcast reached, and who did not get it and why."""

    id: str
    reached: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]


async def send(engine: Engine, caller: Caller, receiver: Address, text: str, limits: Limits) -> str:
    """Put a message into one peer's inbox; returns its id. It waits there until the receiver marks it as read.

    Raises:
        InfraError: `too-many`, `ledger-unavailable`.
    """
    async with limits.posting(caller, [receiver]):
        with anyio.CancelScope(shield=True):
            sent = await engine.ledger.mail.post(caller, [receiver], text, "notify", now=now())
            engine.signals.wake(receiver.signal)
    return sent


async def broadcast(engine: Engine, caller: Caller, text: str, limits: Limits) -> Broadcast:
    """Put a message into the inbox of every other peer of the caller's circle, in one transaction.

    Raises:
        InfraError: `policy-denied` for a caller without a circle; `too-many`, `ledger-unavailable`.
    """
    if caller.circle is None:
        what = "Only a peer of a circle has a circle to broadcast to."
        raise InfraError("policy-denied", what, next_step="notify_peer reaches one peer by name.")
    own = addresses.own(caller)
    everyone = [
        Address(name=peer.name, circle=peer.circle)
        for peer in await engine.ledger.peers()
        if peer.role == "agent" and peer.circle == caller.circle and peer.name != own.name
    ]
    await limits.message(caller, 1 + len(everyone) // _BIG)
    sent = ""
    async with limits.posting(caller, everyone) as reached:
        if reached:
            with anyio.CancelScope(shield=True):
                sent = await engine.ledger.mail.post(caller, reached, text, "broadcast", now=now())
                for receiver in reached:
                    engine.signals.wake(receiver.signal)
    failed = tuple((one.name, "too many unread") for one in everyone if one not in reached)
    return Broadcast(sent, tuple(one.name for one in reached), failed)
