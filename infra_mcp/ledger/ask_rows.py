"""Asking and acking between any two: each function is the inside of one transaction, its words masked already."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, select

from infra_mcp.errors import InfraError
from infra_mcp.ledger import asks, ids, schema
from infra_mcp.ledger.database import Tx
from infra_mcp.ledger.events import Entry, append
from infra_mcp.ledger.message_digests import MessageDigests, between_peers
from infra_mcp.ledger.messages import shown
from infra_mcp.ledger.records import Ask
from infra_mcp.model.peer import Address, Caller

_EVENTS = schema.events.c
_CLOSING = select(_EVENTS.data).where(_EVENTS.ask == bindparam("ask"), _EVENTS.kind == "acked")


@dataclass(frozen=True)
class MaskedText:
    """Masked words, and what is attached to them."""

    text: str | None
    attachments: tuple[dict[str, Any], ...] = ()


def ask(
    tx: Tx, words: MessageDigests, sender: Caller, receiver: Address, said: MaskedText, reply_to: str | None, at: str
) -> Ask:
    """A new ask; it closes the one it replies to.

    The same reply again gives the first: whoever asked may not have heard that it was taken.

    Raises:
        InfraError: about `reply_to`: `not-found`, `already-acked`, `claim-taken`.
    """
    earlier = _replied(tx, sender, receiver, reply_to) if reply_to is not None else None
    if earlier is not None and earlier.state == "acked":
        return _first(tx.connection, earlier, said)
    circle = receiver.circle or None
    new = Ask(
        id=ids.ask_id(),
        sender=sender.name,
        circle=sender.circle,
        receiver=receiver.name,
        receiver_circle=circle,
        text=said.text or "",
        attachments=said.attachments,
        reply_to=reply_to,
        created=at,
    )
    told, data = words.told(between_peers(sender.circle, circle), new.text, new.attachments)
    data |= {"from": shown(Address(name=sender.name, circle=sender.circle)), "to": shown(receiver)}
    data |= {"reply_to": reply_to} if reply_to else {}
    entry = Entry(at, "asked", sender.name, sender.circle or circle, told, data, None, None, new.id)
    position, _ = append(tx, entry)
    asks.insert_row(tx.connection, new, position)
    if earlier is not None:
        _close(tx, words, earlier, sender, said, at, replied=new.id)
    return new


def ack(tx: Tx, words: MessageDigests, by: Caller, ask_id: str, said: MaskedText, at: str) -> Ask:
    """Close an ask; the same again changes nothing.

    Raises:
        InfraError: `not-found`, `already-acked`, `claim-taken`.
    """
    found = asks.ask(tx.connection, ask_id)
    if found is None or not _received(found, by):
        raise InfraError("not-found", "There is no such ask to this caller.", next_step="Look into the inbox.")
    if found.state == "acked":
        nothing_new = said == MaskedText(None) or (said.text, said.attachments) == (
            found.reply,
            found.reply_attachments,
        )
        if nothing_new:
            return found
        raise InfraError("already-acked", "The ask is closed already, with another answer.")
    _free(found, by)
    _close(tx, words, found, by, said, at)
    closed = asks.ask(tx.connection, ask_id)
    return closed or found


def answered_by(tx: Tx, words: MessageDigests, by: Caller, ask_id: str, answer: str, at: str) -> None:
    """Close an ask of the infra peer's that was answered by an ask which the server deals with itself.

    One that was closed meanwhile stays as it is.

    Raises:
        InfraError: `claim-taken`.
    """
    found = asks.ask(tx.connection, ask_id)
    if found is not None and found.state == "open" and _received(found, by):
        _free(found, by)
        _close(tx, words, found, by, MaskedText(f"Answered by {answer}."), at)


def _close(
    tx: Tx, words: MessageDigests, found: Ask, by: Caller, said: MaskedText, at: str, *, replied: str | None = None
) -> None:
    how = "replied" if replied else "acked"
    private = between_peers(found.circle, found.receiver_circle)
    told, data = words.told(private, said.text, said.attachments)
    data |= {"closed": how, "from": found.receiver} | ({} if said.text is not None else {"bare": True})
    data |= {"session": by.session} if by.session else {}
    data |= {"replied": replied} if replied else {}
    # What the infra peer says is found by the circle it is said to.
    peer, circle = (by.name, by.circle) if found.receiver_circle else (found.sender, found.circle)
    append(tx, Entry(at, "acked", peer, circle, told, data, None, None, found.id))
    asks.close(tx.connection, found, said.text, at, how=how, attachments=said.attachments, acted_by=_session(by))


def _replied(tx: Tx, sender: Caller, receiver: Address, reply_to: str) -> Ask:
    found = asks.ask(tx.connection, reply_to)
    asker = found and (found.sender, found.circle)
    if found is None or not _received(found, sender) or asker != (receiver.name, receiver.circle or None):
        what = "No ask of that id, from this receiver, waits for the caller's reply."
        raise InfraError("not-found", what, next_step="Leave reply_to out, or look into the inbox.")
    if found.state == "open":
        _free(found, sender)
    return found


def _first(connection: Connection, earlier: Ask, said: MaskedText) -> Ask:
    """The ask that closed the earlier one, in the same words.

    Raises:
        InfraError: `already-acked`: it was closed otherwise.
    """
    closing = connection.execute(_CLOSING, {"ask": earlier.id}).scalar() if earlier.closed == "replied" else None
    first = asks.ask(connection, json.loads(closing).get("replied", "")) if closing else None
    if first is None or (first.text, first.attachments) != (said.text or "", said.attachments):
        raise InfraError("already-acked", "The ask to reply to is closed already, with another answer.")
    return first


def _received(found: Ask, by: Caller) -> bool:
    """Whether the ask is this caller's to answer: sent to it, or claimed by its session."""
    if by.reader:
        return False
    if by.attendant and by.session is not None and found.claim == by.session:
        return True
    return (found.receiver, found.receiver_circle) == (by.name, by.circle)


def _free(found: Ask, by: Caller) -> None:
    if found.request is not None:
        what = f"The ask is request {found.request}, whose end is its ack."
        raise InfraError("claim-taken", what, next_step="Look at that request.")
    if found.claim != (by.session if by.attendant else None) or (by.attendant and by.session is None):
        raise InfraError("claim-taken", "The ask is not, or no longer, this session's to act for.")


def _session(by: Caller) -> str | None:
    return by.session if by.attendant else None
