"""The ledger: one class, one transaction for each public write.

Nothing here changes the world outside the ledger's own files. When a write cannot be made durable it raises, and the
caller must not go on: no row, no effect.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Self

import anyio.to_thread
from sqlalchemy import Connection

from infra_mcp.effects import effect
from infra_mcp.errors import InfraError
from infra_mcp.ledger import (
    ask_rows,
    asks,
    audit,
    clock,
    events,
    intake,
    peers,
    policies,
    requests,
    revisions,
    search,
)
from infra_mcp.ledger.approvals import Approvals
from infra_mcp.ledger.database import Database, Tx
from infra_mcp.ledger.heads import HEADS, Committed
from infra_mcp.ledger.keys import LEDGER, MASKING, MESSAGES, Keys
from infra_mcp.ledger.mail import Mail
from infra_mcp.ledger.members import Members
from infra_mcp.ledger.message_digests import MessageDigests
from infra_mcp.ledger.records import Accepted, Ask, AskIn, ChainReport, Event, Peer, SearchPage
from infra_mcp.ledger.requests import Move
from infra_mcp.masking import Masker
from infra_mcp.model.outcome import Receipt
from infra_mcp.model.peer import Address, Caller
from infra_mcp.model.request import Request, State, Submission

__all__ = ["Accepted", "Ask", "AskIn", "ChainReport", "Event", "Ledger", "Peer", "SearchPage"]


class Ledger(Members):
    """The ledger of one server.

    Every text is masked before a row exists. Every method may raise `InfraError` `ledger-unavailable`; after that
    nothing was written. A write that has begun is finished even when its caller is cancelled.

    Attributes:
        masker: what masks texts here; the same must mask what leaves by other ways.
        mail: asks, acks and messages between peers, and claims.
        approvals: what people decided about plans.
        identities: who holds a token, remembered from one call to the next.
    """

    def __init__(self, database: Database, masker: Masker, keys: Keys) -> None:
        self._keys = keys
        words = MessageDigests(lambda: keys.key(MESSAGES))
        super().__init__(database, masker, words)
        self.mail = Mail(database, masker, words)
        self.approvals = Approvals(database)

    @classmethod
    async def open(cls, url: str, masker: Masker, *, busy_seconds: float = 5.0) -> Self:
        """Open a ledger, making or migrating it where needed, in files with mode 0600 in a directory with mode 0700.

        One process at a time should hold it; who that is, is the state directory's lock, not this.

        Args:
            url: an SQLAlchemy URL of SQLite: `sqlite:///PATH`.
            masker: made with `Keys(directory).key("masking")`, so that markers compare across restarts.
            busy_seconds: how long a write waits for another process's lock, in seconds.

        Raises:
            InfraError: `ledger-unavailable`: not readable, not writable, damaged, locked, or not the one its keys
                belong to. `ledger-newer`: its schema is one this version does not know; it was not touched.
        """
        database = Database(url, busy_seconds)
        keys = Keys(database.path.parent if database.path else None)

        def check(connection: Connection) -> bool:
            old = revisions.outdated(connection)
            if database.path:  # else there is no place where its keys could be
                revisions.belongs(connection, keys)
            return old

        def prepare(connection: Connection) -> None:
            revisions.upgrade(connection)
            revisions.claim(connection)

        try:
            await database.start(prepare, check)
            identity = await database.read(revisions.identity)
            if identity is not None:
                await anyio.to_thread.run_sync(keys.put, LEDGER, identity)
        except BaseException:
            await database.aclose()
            raise
        return cls(database, masker, keys)

    @classmethod
    async def open_in(cls, directory: Path, *, busy_seconds: float = 5.0) -> Self:
        """Open the ledger of a state directory, with a masker made from its own key.

        Args:
            directory: the state directory; made with mode 0700 when missing.
            busy_seconds: as for `open`.

        Raises:
            InfraError: as for `open`.
        """
        key = await anyio.to_thread.run_sync(Keys(directory).key, MASKING)
        return await cls.open(f"sqlite:///{directory / 'ledger.sqlite3'}", Masker(key), busy_seconds=busy_seconds)

    async def aclose(self) -> None:
        """Close the files; what was written stays."""
        await self._database.aclose()

    @effect("ledger.accept")
    async def accept(self, submission: Submission, *, request_id: str, ask: AskIn | None, now: str) -> Accepted:
        """Make a submission durable, queued or scheduled, or find the one it repeats.

        With an idempotency key, the same caller's same key gives the first request, in whatever state it is; without
        one, an ask with the same words about the same action gives the first as long as that is open. On behalf of an
        ask, the ask must be claimed by the submission's session; it waits for the request's end from then on, except
        for a dry run.

        Args:
            submission: what is asked.
            request_id: the id it gets if it is new.
            ask: the ask it came in, which is acked when the request ends.
            now: the time, ISO 8601.

        Raises:
            InfraError: `idempotency-conflict`, when the key stands for something else; `invalid-argument`, when an
                argument holds what looks like a secret. Both leave a `refused` event. `claim-taken`, when it is on
                behalf of an ask that is not the session's, or has its request.
        """

        def step(tx: Tx) -> Accepted | InfraError:
            at = clock.normal(now)
            done = intake.accept(tx, self.masker, intake.Intake(submission, request_id, ask, at))
            if isinstance(done, Accepted) and done.ask_id is not None and ask and ask.reply_to:
                ask_rows.answered_by(tx, self._words, submission.caller, ask.reply_to, done.ask_id, at)
            return done

        done = await self._database.write(step)
        if isinstance(done, InfraError):
            raise done
        return done

    @effect("ledger.record")
    async def record(
        self,
        request_id: str,
        state: State,
        kind: str,
        data: dict[str, Any],
        *,
        record: dict[str, Any] | None = None,
        commit: str | None = None,
        revert: str | None = None,
        effect_digest: str | None = None,
    ) -> str:
        """Record a step of an open request, with its new state, before the step's effect; returns the audit head.

        Args:
            request_id: which request.
            state: the state of this step; a step taken again after an interruption does not take the request's back.
            kind: what happened, one word.
            data: what a reader of the audit should know; `message` in it is shown as the event's text.
            record: what the engine must know after a restart, replacing what was there; None leaves it.
            commit: the commit made for it; None leaves it. So with `revert` and `effect_digest`.
            revert: the commit that reverts it.
            effect_digest: the digest of its effect.

        Raises:
            ValueError: the request has ended or is not there, the state is an end, or a rollback would be given up.
        """
        move = Move(state, kind, data, record, commit, revert, effect_digest)
        return await self._database.write(lambda tx: requests.move(tx, self.masker, request_id, move))

    @effect("ledger.finish")
    async def finish(self, request_id: str, receipt: Receipt, data: dict[str, Any]) -> Receipt:
        """End a request: one terminal event, its receipt, and the one ack, ready for delivery, in one transaction.

        Returns:
            The receipt as it is kept: masked, with the audit head that covers this very event.

        Raises:
            ValueError: the request has ended already or is not there, or the receipt is not about its end.
        """
        return await self._database.write(lambda tx: requests.finish(tx, self.masker, request_id, receipt, data))

    @effect("ledger.note")
    async def note(self, kind: str, peer: str | None, data: dict[str, Any], *, circle: str | None = None) -> str:
        """Record an event that belongs to no request; returns the audit head.

        Args:
            kind: what happened, one word.
            peer: whom it is about.
            data: what a reader should know; `message` in it is shown as the event's text.
            circle: who may find it besides operators; the peer's circle when left out.
        """

        def step(tx: Tx) -> str:
            told = events.written(self.masker, data)
            named = events.written(self.masker, peer)
            of = circle or (peers.circle_of(tx.connection, named) if named else None)
            text = told.get("message", "") if isinstance(told.get("message"), str) else ""
            return events.append(tx, events.Entry(clock.now(), kind, named, of, text, told))[1]

        return await self._database.write(step)

    @effect("ledger.answer")
    async def answer(self, caller: Caller, ask: AskIn, message: str, kind: str, now: str) -> str:
        """Record an ask that becomes no request, with its one ack; returns the ask's id."""
        asked = asks.opened(caller, ask, clock.normal(now))

        def step(tx: Tx) -> str:
            ask_id = asks.answer(tx, self.masker, asked, message, kind)
            if ask.reply_to:
                ask_rows.answered_by(tx, self._words, caller, ask.reply_to, ask_id, asked.created)
            return ask_id

        return await self._database.write(step)

    async def request(self, request_id: str) -> Request | None:
        """The request of that id. Whether the caller may see it is the channel's to decide."""
        return await self._database.read(lambda connection: requests.request(connection, request_id))

    async def open_requests(self) -> list[Request]:
        """All requests that have not ended, oldest first."""
        return await self._database.read(requests.open_requests)

    async def parked(self, circle: str | None = None) -> list[Request]:
        """The requests of a circle, or of all, that wait for their time or for approval, oldest first."""
        return await self._database.read(lambda connection: requests.parked(connection, circle))

    async def parked_marks(self) -> list[tuple[str, str]]:
        """Ids of all that wait, oldest first, each with a mark that changes when it does. Cheap, however many."""
        return await self._database.read(requests.parked_marks)

    async def open_releases(self, app: str) -> list[Request]:
        """The deploys of an app that have not ended, by whatever channel, oldest first, without dry runs."""
        return await self._database.read(lambda connection: requests.open_releases(connection, app))

    async def landed_version(self, app: str) -> str | None:
        """The version that the last deploy of an app to end well brought, or found there; None before the first."""
        return await self._database.read(lambda connection: requests.landed_version(connection, app))

    async def landed_after(self, app: str, version: str, request_id: str) -> bool:
        """Whether a version of an app landed, or was found there, by a request that came after this one."""
        return await self._database.read(lambda connection: requests.landed_after(connection, app, version, request_id))

    async def recent(self, circle: str | None, limit: int, every_open: bool = False) -> list[Request]:
        """The newest requests of a circle, or of all for None, newest first.

        Args:
            circle: whose.
            limit: how many.
            every_open: all that are open, however old, and so many of those that have ended.
        """
        return await self._database.read(lambda connection: requests.recent(connection, circle, limit, every_open))

    async def ask(self, ask_id: str) -> Ask | None:
        """The ask of that id. Whether the caller may see it is the channel's to decide."""
        return await self._database.read(lambda connection: asks.ask(connection, ask_id))

    async def undelivered(self, sender: Address | None = None) -> list[Ask]:
        """Asks of a sender, or of all, that are acked and whose ack nobody has seen yet, oldest first."""
        return await self._database.read(lambda connection: asks.undelivered(connection, sender))

    @effect("ledger.delivered")
    async def delivered(self, ask_id: str) -> None:
        """The ack of that ask has reached its sender; saying so twice changes nothing."""
        await self._database.write(lambda tx: asks.delivered(tx, [ask_id]))

    async def search(
        self,
        query: str,
        *,
        circle: str | None,
        peer: str | None = None,
        namespace: str | None = None,
        object: str | None = None,  # noqa: A002 - the word users search by
        since: str | None = None,
        until: str | None = None,
        limit: int = 50,
    ) -> SearchPage:
        """Find events by words and by what they are about, newest first, texts and data cut to what can be shown.

        Args:
            query: words that must all be there; each also matches as a beginning, `"…"` only whole. Empty matches all.
            circle: whose events may be found; None is the operator, who sees all.
            peer: only events of this peer.
            namespace: only events of, or of requests about, this namespace.
            object: likewise an object: `namespace/kind/name`, or its end, such as `deployment/docs` or `docs`.
            since: not before this ISO 8601 date or time.
            until: not after it; a date means its end.
            limit: how many events at most, 1 to 200.

        Raises:
            InfraError: `invalid-argument`.
        """
        asked = search.Query(self.masker.mask(query), circle, peer, namespace, object, since, until, limit)
        return await self._database.read(lambda connection: search.find(connection, asked))

    async def trail(self, request_id: str) -> list[Event]:
        """All events of a request, oldest first, uncut."""
        return await self._database.read(lambda connection: events.trail(connection, request_id))

    async def trail_of(self, object: str, *, circle: str | None = None, limit: int = 200) -> list[Event]:  # noqa: A002
        """The newest events of and about an object and of the requests that touched it, oldest first, uncut.

        Args:
            object: `namespace/kind/name`, or its end, such as `deployment/docs` or `docs`.
            circle: whose events; None is the operator, who sees all.
            limit: how many events at most.
        """
        return await self._database.read(lambda connection: search.about(connection, object, circle, limit))

    async def verify(self, heads: Sequence[str], commits: Sequence[Committed] = ()) -> ChainReport:
        """Check the chain, and what was made from it, against itself and against heads that were given out.

        Args:
            heads: audit heads from acks. Without any, here or in commits, the report claims consistency and no more.
            commits: heads found in commits; which of these are its own the ledger knows.
        """
        check = audit.Audit(frozenset(heads), self._words, await self.key(HEADS), commits)
        while await self._database.read(check.piece):
            pass
        return await self._database.read(check.report)

    async def knows(self, head: str) -> bool:
        """Whether an event has this hash."""
        return await self._database.read(lambda connection: events.has(connection, head))

    async def head(self) -> str:
        """The newest event's hash."""
        return await self._database.read(events.head)

    @effect("ledger.policy")
    async def accept_policy(self, digest: str, text: str, by: str, actions: Collection[str] | None = None) -> None:
        """Put a policy in force, on the word of the operator named, with the actions that there are now.

        Raises:
            InfraError: `policy-invalid`, when it holds what looks like a secret.
        """
        await self._database.write(lambda tx: policies.accept(tx, self.masker, digest, text, by, actions))

    async def accepted_policy(self) -> tuple[str, str] | None:
        """Digest and text of the policy in force."""
        return await self._database.read(policies.accepted)

    async def accepted_actions(self, digest: str) -> frozenset[str] | None:
        """The actions that there were when a policy was last accepted; None where its acceptance does not say."""
        return await self._database.read(lambda connection: policies.actions(connection, digest))

    async def key(self, name: str) -> bytes:
        """A random key of this ledger, 32 bytes, kept beside it and not in it; made when first asked for."""
        return await anyio.to_thread.run_sync(self._keys.key, name)
