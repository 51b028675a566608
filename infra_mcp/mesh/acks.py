"""Acks: the one answer to an ask, by whom it was asked, or for infra by the session that claimed it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import anyio

from infra_mcp.errors import InfraError
from infra_mcp.mesh import addresses
from infra_mcp.mesh.intake import now
from infra_mcp.mesh.limits import Limits, check_attachments
from infra_mcp.mesh.words import check
from infra_mcp.model.peer import Address

if TYPE_CHECKING:
    from infra_mcp.engine import Engine
    from infra_mcp.ledger.records import Ask
    from infra_mcp.model.peer import Caller


async def ack(
    engine: Engine,
    caller: Caller,
    ask_id: str,
    message: str | None = None,
    *,
    attachments: Sequence[dict[str, Any]] = (),
    limits: Limits | None = None,
) -> Ask:
    """Close an ask, with an answer or without, and wake whoever waits for it. The same ack again changes nothing.

    Args:
        engine: for the ledger and the signals.
        caller: the receiver of the ask; for asks to infra a session that has claimed it.
        ask_id: which ask.
        message: the answer; None says "seen, nothing to add".
        attachments: small JSON objects that go with the answer.
        limits: the bounds; None for none.

    Returns:
        The ask as it is closed.

    Raises:
        InfraError: `not-found` for an ask of others and for none, in the same words; `already-acked` when it has
            another answer; `claim-taken` when this session has not claimed it; `too-many`, `invalid-argument`,
            `ledger-unavailable`.
    """
    if limits is not None:
        await limits.message(caller)
    if message is not None:
        check(message, "message")
    check_attachments(attachments)
    if addresses.own(caller).circle is None and not caller.attendant:
        # Peers of circles are asked, and infra, for which sessions attend. Whose ask it is, the ledger looks at.
        what = "There is no such ask to this caller."
        raise InfraError("not-found", what, next_step="Look into the inbox.")
    with anyio.CancelScope(shield=True):
        closed = await engine.ledger.mail.ack(caller, ask_id, message, attachments=attachments, now=now())
        engine.signals.wake(closed.id)
        engine.signals.wake(Address(name=closed.sender, circle=closed.circle).signal)
    return closed
