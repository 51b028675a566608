"""Messages between peers: asks and their acks, notifies, claims."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from infra_mcp.effects import effect
from infra_mcp.errors import InfraError
from infra_mcp.ledger import asks, clock, ids, messages, releases, schema
from infra_mcp.ledger.asks import MaskedText
from infra_mcp.ledger.database import Tx
from infra_mcp.ledger.events import Entry, append, written
from infra_mcp.ledger.inbox import Mailbox
from infra_mcp.ledger.message_digests import between_peers
from infra_mcp.ledger.records import Accepted, Ask, ReleaseIn
from infra_mcp.ledger.sponsors import answering
from infra_mcp.model.budget import Budget
from infra_mcp.model.peer import Address, Caller

_ASKS, _EVENTS, _PEERS = schema.asks, schema.events.c, schema.peers.c
_CLOSING = select(_EVENTS.data).where(_EVENTS.ask == bindparam("ask"), _EVENTS.kind == "acked")
_OPERATOR = select(_PEERS.name).where(_PEERS.name == bindparam("name"), _PEERS.circle == "")
_CLAIM = update(_ASKS).where(_ASKS.c.id == bindparam("which"))


class Mail(Mailbox):
    """The mail of one ledger: `Ledger.mail`.

    Everything is durable when a method returns, and every text masked before a row exists. A peer is its name in its
    circle. Who may write to whom, and how much, is the mesh's decision. Times are ISO 8601.
    """

    @effect("ledger.mail.ask")
    async def open_ask(
        self,
        sender: Caller,
        receiver: Address,
        text: str,
        *,
        reply_to: str | None = None,
        attachments: Sequence[dict[str, Any]] = (),
        now: str,
    ) -> Ask:
        """A new ask, open until it is acked. Each is a new one, whatever its text, except for the same reply again.

        A reply that has closed its ask already, sent again by the same peer with the same text, is the first one: its
        sender may not have received the answer.

        Args:
            sender: who asks.
            receiver: who is asked.
            text: the text.
            reply_to: an ask to the sender, from the receiver, that this one answers; it is closed with it.
            attachments: JSON objects that go with the text.
            now: the time.

        Raises:
            InfraError: about `reply_to`: `not-found`, when it is no ask of the receiver to the sender; `already-acked`,
                with another answer; `claim-taken`, when the sender attends and has not claimed it, or it is a request
                already.
        """

        def step(tx: Tx) -> Ask:
            masked, at, circle = self._masked(text, attachments), clock.normal(now), receiver.circle or None
            earlier = _replied(tx.connection, sender, receiver, reply_to) if reply_to is not None else None
            if earlier is not None and earlier.state == "acked":
                return _first(tx.connection, earlier, masked)
            new = Ask(
                id=ids.ask_id(),
                sender=sender.name,
                circle=sender.circle,
                receiver=receiver.name,
                receiver_circle=circle,
                text=masked.text or "",
                attachments=masked.attachments,
                reply_to=reply_to,
                created=at,
                sponsor=sender.sponsor,
                identity=sender.identity,
            )
            content, data = self._digests.content(between_peers(sender.circle, circle), new.text, new.attachments)
            data |= {"from": messages.shown(sender.name, sender.circle), "to": messages.shown(receiver.name, circle)}
            data |= ({"reply_to": reply_to} if reply_to else {}) | answering(sender)
            entry = Entry(at, "asked", sender.name, sender.circle or circle, content, data, ask=new.id)
            position, _ = append(tx, entry)
            asks.insert_row(tx.connection, new, position)
            if earlier is not None:
                asks.reply(tx, self._digests, earlier, sender, masked, at, replied=new.id)
            return new

        return await self._database.write(step)

    @effect("ledger.mail.ack")
    async def ack(
        self, by: Caller, ask_id: str, message: str | None, *, attachments: Sequence[dict[str, Any]] = (), now: str
    ) -> Ask:
        """Close an ask that was sent to the caller, or that its session has claimed.

        The same ack again gives the same ask, and so does one without a message.

        Args:
            by: who acks. An attendant needs the claim, and acks in the infra peer's name.
            ask_id: which ask.
            message: the reply; None only confirms that it was seen.
            attachments: JSON objects that go with the reply.
            now: the time.

        Raises:
            InfraError: `not-found`, with the same message for an ask of others and for none; `already-acked`, with
                another answer; `claim-taken`, when a session has claimed it and the caller is not that session, when an
                attendant has not claimed it, or when it is a request already, whose end is its ack.
        """

        def step(tx: Tx) -> Ask:
            masked, found = self._masked(message, attachments), asks.ask(tx.connection, ask_id)
            if found is None or not asks.is_received(found, by):
                raise InfraError("not-found", "There is no such ask to this caller.", next_step="Look into the inbox.")
            if found.state == "acked":
                if masked in (MaskedText(None), MaskedText(found.reply, found.reply_attachments)):
                    return found
                raise InfraError("already-acked", "The ask is closed already, with another answer.")
            asks.refuse_unclaimed(found, by)
            asks.reply(tx, self._digests, found, by, masked, clock.normal(now))
            return asks.ask(tx.connection, ask_id) or found

        return await self._database.write(step)

    @effect("ledger.mail.post")
    async def post(
        self, sender: Caller, receivers: Sequence[Address], text: str, kind: str = "notify", *, now: str
    ) -> str:
        """A notify or a broadcast: one id, a copy for each receiver. It needs no answer.

        Args:
            sender: who sends it.
            receivers: its receivers.
            text: the text.
            kind: `notify` or `broadcast`.
            now: the time.
        """

        def step(tx: Tx) -> str:
            masked = written(self.masker, text)
            return messages.post(tx, self._digests, sender, receivers, masked, kind, clock.normal(now))

        return await self._database.write(step)

    @effect("ledger.mail.notified")
    async def notified(
        self,
        sender: Caller,
        infra: Address,
        text: str,
        releases_in: Sequence[ReleaseIn],
        *,
        now: str,
        notify: str | None = None,
        budgets: Sequence[Budget] = (),
    ) -> tuple[str, list[Accepted]]:
        """A notify to the infra peer with all that comes of it, in one transaction.

        Each release is taken in; the waiting requests it supersedes end, as far as they still wait, and their senders
        get the outcome; a refusal is recorded and sent back. A notify without a release stays unread for an attendant.

        Args:
            sender: who sent it; the releases are its requests.
            infra: the infra peer.
            text: the text.
            releases_in: what policy made of each release in it.
            now: the time.
            notify: its id, where its sender gives it one. Nothing is done for the second of an id.
            budgets: how many requests of the sender may come in a time.

        Returns:
            The notify's id, and what was taken in or is repeated, in the order of `releases_in`, without those refused.
        """

        def step(tx: Tx) -> tuple[str, list[Accepted]]:
            masked, at = written(self.masker, text), clock.normal(now)
            if notify is not None and messages.is_there(tx.connection, notify):
                return notify, []
            posted = messages.post(tx, self._digests, sender, [infra], masked, "notify", at, notify)
            if releases_in:
                messages.handled(tx, posted, at)
            given = releases.Notify(tx, self.masker, posted, sender, masked, at, budgets)
            return posted, [accepted for one in releases_in for accepted in given.take_in(one)]

        return await self._database.write(step)

    @effect("ledger.mail.claim")
    async def claim(self, ask_id: str, session: str, *, now: str) -> Ask:
        """Let an attending session act for the sender of an ask to the infra peer. A second claim changes nothing.

        Raises:
            InfraError: `not-found`; `claim-taken`, when another session has it, it is acked, or it is a request.
        """
        values = {"claim": session, "claimed_at": clock.normal(now)}

        def step(tx: Tx) -> Ask:
            found = asks.ask(tx.connection, ask_id)
            operator = found and tx.connection.execute(_OPERATOR, {"name": found.receiver}).first()
            if found is None or found.receiver_circle is not None or operator:
                raise InfraError("not-found", "There is no such ask to the infra peer.")
            if found.state != "open":
                raise InfraError("claim-taken", "The ask is acked already.", next_step="Nothing: it has its answer.")
            asks.refuse_request(found)
            if found.claim == session:
                return found
            if found.claim is not None:
                again = "Take another one; this one is free again when that session ends."
                raise InfraError("claim-taken", "Another attending session has claimed the ask.", next_step=again)
            tx.connection.execute(_CLAIM, values | {"which": ask_id})
            _note(tx, found, "claimed", session, values["claimed_at"])
            return found.model_copy(update=values)

        return await self._database.write(step)

    @effect("ledger.mail.release")
    async def release(self, session: str | None) -> list[str]:
        """End the claims of a session on asks without a request; None ends those of all, at a server's start.

        Returns:
            The asks that are free again, oldest first.
        """
        claimed = _ASKS.c.claim.is_not(None) if session is None else _ASKS.c.claim == session
        open_ones = select(_ASKS).where(claimed, _ASKS.c.state == "open", _ASKS.c.request.is_(None))

        def step(tx: Tx) -> list[str]:
            at = clock.now()
            found = asks.listed(tx.connection, open_ones.order_by(_ASKS.c.position))
            for one in found:
                tx.connection.execute(_CLAIM, {"which": one.id, "claim": None, "claimed_at": None})
                _note(tx, one, "released", one.claim or "", at)
            return [one.id for one in found]

        return await self._database.write(step)

    def _masked(self, text: str | None, attachments: Sequence[dict[str, Any]]) -> MaskedText:
        masked = None if text is None else written(self.masker, text)
        return MaskedText(masked, tuple(written(self.masker, list(attachments))))


def _replied(connection: Connection, sender: Caller, receiver: Address, reply_to: str) -> Ask:
    found = asks.ask(connection, reply_to)
    asker = found and (found.sender, found.circle)
    if found is None or not asks.is_received(found, sender) or asker != (receiver.name, receiver.circle or None):
        what = "No ask of that id, from this receiver, waits for the caller's reply."
        raise InfraError("not-found", what, next_step="Leave reply_to out, or look into the inbox.")
    if found.state == "open":
        asks.refuse_unclaimed(found, sender)
    return found


def _first(connection: Connection, earlier: Ask, masked: MaskedText) -> Ask:
    """The ask that closed the earlier one with the same text, or `already-acked`."""
    closing = connection.execute(_CLOSING, {"ask": earlier.id}).scalar() if earlier.closed == "replied" else None
    first = asks.ask(connection, json.loads(closing).get("replied", "")) if closing else None
    if first is None or (first.text, first.attachments) != (masked.text or "", masked.attachments):
        raise InfraError("already-acked", "The ask to reply to is closed already, with another answer.")
    return first


def _note(tx: Tx, ask: Ask, kind: str, session: str, at: str) -> None:
    # In the asker's name, so that the asker finds it.
    append(tx, Entry(at, kind, ask.sender, ask.circle, data={"receiver": ask.receiver, "session": session}, ask=ask.id))
