"""Words between peers: asks and their acks, notifies, inboxes, claims. One transaction for each public write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from infra_mcp.effects import effect
from infra_mcp.ledger import ask_rows, asks, claims, clock, inbox, messages, releases, retention
from infra_mcp.ledger.database import Database, Tx
from infra_mcp.ledger.events import written
from infra_mcp.ledger.message_digests import MessageDigests
from infra_mcp.ledger.records import Accepted, Ask, Counts, Inbox, Message, ReleaseIn
from infra_mcp.masking import Masker
from infra_mcp.model.peer import Address, Caller


class Mail:
    """The mail of one ledger: `Ledger.mail`.

    Everything is durable when a method returns, and every text masked before a row exists. A peer is its name in its
    circle, everywhere. Who may write to whom, and how much, is the mesh's to decide; here it is only kept.
    Times are ISO 8601.
    """

    def __init__(self, database: Database, masker: Masker, words: MessageDigests) -> None:
        self._database = database
        self._masker = masker
        self._words = words

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
        """A new ask, open until it is acked. Each is a new one, whatever the words, but for the same reply again.

        A reply that has closed its ask already, sent again by the same peer in the same words, is the first one: its
        sender may not have heard of it.

        Args:
            sender: who asks.
            receiver: who is asked.
            text: the words.
            reply_to: an ask to the sender, from the receiver, that this one answers; it is closed with it.
            attachments: JSON objects that go with the words.
            now: the time.

        Raises:
            InfraError: about `reply_to`: `not-found`, when it is no ask of the receiver to the sender; `already-acked`,
                with another answer; `claim-taken`, when the sender attends and has not claimed it, or it is a request
                already.
        """

        def step(tx: Tx) -> Ask:
            said = self._masked(text, attachments)
            return ask_rows.ask(tx, self._words, sender, receiver, said, reply_to, clock.normal(now))

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
            message: the reply; None says only that it was seen.
            attachments: JSON objects that go with the reply.
            now: the time.

        Raises:
            InfraError: `not-found`, in the same words for an ask of others and for none; `already-acked`, with another
                answer; `claim-taken`, when a session has claimed it and the caller is not that session, when an
                attendant has not claimed it, or when it is a request already, whose end is its ack.
        """

        def step(tx: Tx) -> Ask:
            said = self._masked(message, attachments)
            return ask_rows.ack(tx, self._words, by, ask_id, said, clock.normal(now))

        return await self._database.write(step)

    @effect("ledger.mail.post")
    async def post(
        self, sender: Caller, receivers: Sequence[Address], text: str, kind: str = "notify", *, now: str
    ) -> str:
        """A notify or a broadcast: one id, a copy for each receiver. It has no thread; nobody has to answer.

        Args:
            sender: who sends it.
            receivers: whom to.
            text: the words.
            kind: `notify` or `broadcast`.
            now: the time.
        """

        def step(tx: Tx) -> str:
            said = self._masked(text)
            return messages.post(tx, self._words, sender, receivers, said.text or "", kind, clock.normal(now))

        return await self._database.write(step)

    @effect("ledger.mail.notified")
    async def notified(
        self, sender: Caller, infra: Address, text: str, releases_in: Sequence[ReleaseIn], *, now: str
    ) -> tuple[str, list[Accepted]]:
        """A notify to the infra peer with all that comes of it, in one transaction.

        Each release is taken in; the waiting requests it supersedes end, as far as they still wait, and their senders
        are told; a refusal is recorded and told. A notify of which nothing comes stays unread for whoever attends.

        Args:
            sender: who sent it; the releases are its requests.
            infra: the infra peer.
            text: the words.
            releases_in: what policy made of each release in it.
            now: the time.

        Returns:
            The notify's id, and what was taken in or is repeated, in the order of `releases_in`; refused ones are not
            in it.
        """

        def step(tx: Tx) -> tuple[str, list[Accepted]]:
            said = written(self._masker, text)
            given = releases.Notify(sender, infra, said, tuple(releases_in), clock.normal(now))
            return releases.notified(tx, self._masker, self._words, given)

        return await self._database.write(step)

    async def inbox(self, of: Address, *, limit: int = 50) -> Inbox:
        """What waits for a peer: at most `limit` of each kind, each sender's oldest first, senders in turn.

        Looking marks nothing.
        """
        return await self._database.read(lambda connection: inbox.inbox(connection, of, limit))

    async def own(self, of: Address, ask_id: str) -> Ask | None:
        """An ask this peer sent or got; None for others' and for those of a former peer of its name."""
        return await self._database.read(lambda connection: asks.own(connection, of, ask_id))

    async def message(self, of: Address, message_id: str) -> Message | None:
        """One message to a peer, read or not; None when there is none of that id to it."""
        return await self._database.read(lambda connection: messages.one(connection, of, message_id))

    @effect("ledger.mail.mark")
    async def mark_read(self, of: Address, ids: Sequence[str], *, now: str) -> int:
        """Mark what this peer has read: asks to it, messages to it, acks of its own asks. What is not its own stays.

        An ask stays open for all that, until it is acked. Returns how many were not marked before.
        """
        at = clock.normal(now)
        return await self._database.write(lambda tx: inbox.mark(tx, of, ids, at))

    @effect("ledger.mail.claim")
    async def claim(self, ask_id: str, session: str, *, now: str) -> Ask:
        """Let an attending session act for whoever asked the infra peer this. Claiming it again changes nothing.

        Raises:
            InfraError: `not-found`; `claim-taken`, when another session has it, it is acked, or it is a request.
        """
        at = clock.normal(now)
        return await self._database.write(lambda tx: claims.claim(tx, ask_id, session, at))

    @effect("ledger.mail.release")
    async def release(self, session: str | None) -> list[str]:
        """Give back what a session has claimed and done nothing about; None: what any has, at a server's start.

        Returns:
            The asks that are free again, oldest first.
        """
        return await self._database.write(lambda tx: claims.release(tx, session, clock.now()))

    async def unanswered(self, infra: str) -> list[Ask]:
        """Open asks to the infra peer of that name that are no request, oldest first, claimed ones included."""
        return await self._database.read(lambda connection: asks.waiting(connection, Address(name=infra)))

    async def counts(self, sender: Address, receiver: Address, reply_to: str | None = None) -> Counts:
        """How much a sender, a pair and a receiver have open, and how long the exchange is up to `reply_to`."""
        return await self._database.read(lambda connection: inbox.counts(connection, sender, receiver, reply_to))

    async def open_asks(self, sender: Address) -> int:
        """How many asks of this peer are open."""
        return (await self.counts(sender, sender)).open_from_sender

    async def open_between(self, sender: Address, receiver: Address) -> int:
        """How many asks of this peer to that one are open."""
        return (await self.counts(sender, receiver)).open_between

    async def depth(self, ask_id: str) -> int:
        """How many asks answered one another up to this one, itself included; 0 when there is no such ask."""
        return await self._database.read(lambda connection: inbox.depth(connection, ask_id))

    async def unread(self, receiver: Address) -> int:
        """How many messages this peer has not marked as read, and asks to it that are open."""
        return (await self.counts(receiver, receiver)).unread

    @effect("ledger.mail.purge")
    async def purge(self, before: str) -> int:
        """Take the words of what was closed or read before a time; returns of how many.

        Of asks between peers the words go, and those of the reply, once its sender has seen that; of messages, those
        that were read. Who wrote to whom and when stays, and so does the chain.

        Args:
            before: the time.
        """
        at = clock.normal(before)
        return await self._database.write(lambda tx: retention.purge(tx, at))

    def _masked(self, text: str | None, attachments: Sequence[dict[str, Any]] = ()) -> ask_rows.MaskedText:
        said = None if text is None else written(self._masker, text)
        return ask_rows.MaskedText(said, tuple(written(self._masker, list(attachments))))
