"""Asks: texts from one peer to another, tracked until their one ack.

The server answers an ask to the infra peer: it becomes a typed action whose end is the ack, or it is acked at once with
what can be asked. Only a text that means no action waits for an attending session. Other asks wait for their receiver.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import anyio

from infra_mcp.errors import InfraError
from infra_mcp.ledger.records import AskIn
from infra_mcp.mesh import addresses, intent
from infra_mcp.mesh.clarify import help_ack, what_may_be_asked
from infra_mcp.mesh.intake import enter, now
from infra_mcp.mesh.limits import Limits, check_attachments, check_text
from infra_mcp.model.peer import Address
from infra_mcp.model.request import Submission

if TYPE_CHECKING:
    from infra_mcp.engine import Engine
    from infra_mcp.ledger.records import Ask
    from infra_mcp.mesh.attending import AttendantSessions
    from infra_mcp.model.peer import Caller


async def ask(
    engine: Engine,
    caller: Caller,
    receiver: str,
    text: str,
    *,
    reply_to: str | None = None,
    circle: str | None = None,
    attachments: Sequence[dict[str, Any]] = (),
    attendants: AttendantSessions | None = None,
    limits: Limits | None = None,
) -> str:
    """Send an ask and return its id; the answer is its ack.

    The text is durable, with detected secrets masked, before this returns. The ack reports an ask to infra that means
    no action, so that an accepted ask always ends in one.

    Args:
        engine: receives understood actions.
        caller: the sender.
        receiver: the name of the receiving peer.
        text: the text.
        reply_to: an ask of the receiver that this one answers; it is closed in the same transaction.
        circle: the circle to look the receiver up in; see `addresses.find`.
        attachments: small JSON objects, which infra does not read.
        attendants: the attending sessions; None for none.
        limits: the limits; None for none.

    Raises:
        InfraError: `not-found` for an unknown receiver or `reply_to`, `ambiguous-peer`, `too-many`,
            `invalid-argument` for a text too long or to oneself, `policy-denied`, `ledger-unavailable`.
    """
    limits = limits or Limits(engine)
    await limits.message(caller)
    check_text(text, "query")
    check_attachments(attachments)
    address = await addresses.find(engine, caller, receiver, circle)
    repeats = reply_to is not None and await _replied(engine, caller, address, reply_to)
    if repeats or address != addresses.infra(engine):
        return await _open(engine, caller, address, text, reply_to, attachments, limits)
    understood = intent.parse(text)
    is_open = isinstance(understood, intent.NotUnderstood) and understood.open
    if is_open and attendants is not None and attendants.present:
        ask_id = await _open(engine, caller, address, text, reply_to, attachments, limits)
        await attendants.answer_if_abandoned(ask_id)
        return ask_id
    asked = AskIn(text=text, receiver=address.name, reply_to=reply_to)
    ask_id = await _answered(engine, caller, asked, understood, limits)
    engine.signals.wake(Address(name=caller.name, circle=caller.circle).signal)  # an ack at once is in its inbox
    if reply_to is not None:
        engine.signals.wake(reply_to, address.signal)
    return ask_id


async def _replied(engine: Engine, caller: Caller, address: Address, reply_to: str) -> bool:
    """Whether an ask answered `reply_to` before: only the ledger can tell the same answer, sent again, from another."""
    found = await engine.ledger.ask(reply_to)
    if found is not None and (found.state == "open" or found.closed == "replied"):
        parties = (found.sender, found.circle, found.receiver, found.receiver_circle)
        if parties == (address.name, address.circle, caller.name, caller.circle):
            return found.closed == "replied"
    what = "reply_to: no open ask with that id came from that peer to this one."
    raise InfraError("not-found", what, next_step="Leave reply_to out, or look into the inbox.")


async def _open(
    engine: Engine,
    caller: Caller,
    address: Address,
    text: str,
    reply_to: str | None,
    attachments: Sequence[dict[str, Any]],
    limits: Limits,
) -> str:
    """Open an ask that waits for its receiver, and wake the receiver."""
    async with limits.asking(caller, address, reply_to):
        with anyio.CancelScope(shield=True):
            opened = await engine.ledger.mail.open_ask(
                caller, address, text, reply_to=reply_to, attachments=attachments, now=now()
            )
            engine.signals.wake(*filter(None, [address.signal, reply_to]))
    return opened.id


async def _answered(
    engine: Engine,
    caller: Caller,
    asked: AskIn,
    understood: intent.Understood | intent.NotUnderstood,
    limits: Limits,
) -> str:
    """Answer an ask to infra: by a request whose end is the ack, or at once."""
    words = engine.masker.mask(asked.text)
    incoming = asked.model_copy(update={"text": words})
    try:
        if isinstance(understood, intent.NotUnderstood):
            message = await help_ack(engine, caller, asked.text)
            kind = "not-understood" if understood.code == "not-understood" else "refused"
            return await engine.ledger.answer(caller, incoming, engine.masker.mask(message), kind, now())
        submission = Submission(
            caller=caller,
            action=understood.action,
            channel="ask",
            words=words,
            reason=engine.masker.mask(understood.reason or ""),
            idempotency_key=understood.idempotency_key,
            dry_run=understood.dry_run,
        )
        accepted = await enter(engine, submission, incoming, limits)
    except InfraError as error:
        if error.code in {"ledger-unavailable", "too-many"}:  # an answer of its own to each would fill the ledger
            raise
        forms = f"\n{await what_may_be_asked(engine, caller)}" if error.code == "unknown-argument" else ""
        return await engine.ledger.answer(caller, incoming, engine.masker.mask(f"{error}{forms}"), "refused", now())
    if accepted.ask_id is None:
        # The same key or text came first by another channel: this ask gets its own ack, which names that request.
        message = f"This is {accepted.request.id}, asked before; get_request shows where it stands."
        return await engine.ledger.answer(caller, incoming, message, "same-request", now())
    return accepted.ask_id


async def ack(
    engine: Engine,
    caller: Caller,
    ask_id: str,
    message: str | None = None,
    *,
    attachments: Sequence[dict[str, Any]] = (),
    limits: Limits | None = None,
) -> Ask:
    """Close an ask and wake its sender. The same ack again changes nothing. Returns the closed ask.

    Args:
        engine: for the ledger and the signals.
        caller: the receiver of the ask; for an ask to infra, a session that has claimed it.
        ask_id: the ask's id.
        message: the answer; None for "seen, nothing to add".
        attachments: small JSON objects that go with the answer.
        limits: the limits; None for none.

    Raises:
        InfraError: `not-found`, with the same message for an ask of others; `already-acked` when it has another answer;
            `claim-taken` when this session has not claimed it; `too-many`, `invalid-argument`, `ledger-unavailable`.
    """
    await (limits or Limits(engine)).message(caller)
    if message is not None:
        check_text(message, "message")
    check_attachments(attachments)
    if addresses.own(caller).circle is None and not caller.attendant:
        # Only peers of circles, and attending sessions for infra, receive asks. The ledger checks the receiver.
        what = "There is no such ask to this caller."
        raise InfraError("not-found", what, next_step="Look into the inbox.")
    with anyio.CancelScope(shield=True):
        closed = await engine.ledger.mail.ack(caller, ask_id, message, attachments=attachments, now=now())
        engine.signals.wake(closed.id)
        engine.signals.wake(Address(name=closed.sender, circle=closed.circle).signal)
    return closed


async def own_ask(engine: Engine, caller: Caller, ask_id: str) -> Ask:
    """An ask that this caller sent.

    Raises:
        InfraError: `not-found`, with the same message for an ask of another sender.
    """
    found = await engine.ledger.mail.own(addresses.own(caller), ask_id)
    if found is None or (found.sender, found.circle) != (caller.name, caller.circle):
        what = "There is no such ask of this caller."
        raise InfraError("not-found", what, next_step="Check the id that ask returned.")
    return found


def resolution(found: Ask) -> dict[str, Any]:
    """An ask as `wait_on_ack` returns it, with Repowire's keys."""
    acked = found.state != "open"
    return {
        "correlation_id": found.id,
        "status": "resolved" if acked else "pending",
        "reply": found.reply if acked else None,
        "outcome": None,
        "option_id": None,
        "message": None,
        "close_reason": found.closed or "acked" if acked else None,
        "responder": found.responder if acked else None,
        "attachments": list(found.reply_attachments) if acked else [],
    }
