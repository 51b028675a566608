"""The ledger: one class, one transaction for each public write.

Nothing here changes the world outside the ledger's own files. When a write cannot be made durable it raises, and the
caller must not go on: no row, no effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import anyio.to_thread
from sqlalchemy import Connection, select

from infra_mcp.effects import effect
from infra_mcp.errors import InfraError
from infra_mcp.ledger import asks, audit, clock, events, intake, revisions, schema
from infra_mcp.ledger.approvals import Approvals
from infra_mcp.ledger.chain import GENESIS, HEADS, Committed
from infra_mcp.ledger.database import Database, Tx, reading_uri, unavailable
from infra_mcp.ledger.keys import LEDGER, MASKING, MESSAGES, Keys
from infra_mcp.ledger.landed import Landed
from infra_mcp.ledger.mail import Mail
from infra_mcp.ledger.message_digests import MessageDigests
from infra_mcp.ledger.peers import Peers, circle_of
from infra_mcp.ledger.policies import Policies
from infra_mcp.ledger.records import Accepted, Ask, AskIn, ChainReport
from infra_mcp.ledger.requests import Requests
from infra_mcp.ledger.search import Search
from infra_mcp.ledger.sponsors import answering
from infra_mcp.masking import Masker
from infra_mcp.model.budget import Budget
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import Submission

_EVENTS = schema.events.c


class Ledger(Requests, Landed, Peers, Policies, Search):
    """The ledger of one server.

    Every text is masked before a row exists. Every method may raise `InfraError` `ledger-unavailable`; after that
    nothing was written. A write that has begun is finished even when its caller is cancelled.

    Attributes:
        mail: asks, acks and messages between peers, and claims.
        approvals: people's decisions about plans.
    """

    def __init__(self, database: Database, masker: Masker, keys: Keys) -> None:
        self._keys = keys
        super().__init__(database, masker, MessageDigests(lambda: keys.key(MESSAGES)))
        self.mail = Mail(database, masker, self._digests)
        self.approvals = Approvals(database, masker, self._digests)

    @classmethod
    async def open(cls, url: str, masker: Masker, *, busy_seconds: float = 5.0) -> Self:
        """Open a ledger, making or migrating it where needed, in files with mode 0600 in a directory with mode 0700.

        One process at a time should hold it; the state directory's lock ensures that.

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
        """Open the ledger of a state directory, with a masker made from its own key; otherwise as `open`."""
        key = await anyio.to_thread.run_sync(Keys(directory).key, MASKING)
        return await cls.open(f"sqlite:///{directory / 'ledger.sqlite3'}", Masker(key), busy_seconds=busy_seconds)

    @classmethod
    async def read_only(cls, directory: Path) -> Self:
        """Open the ledger of a state directory to look at it: nothing is made, migrated or written, also no mode.

        Raises:
            InfraError: `not-found`: there is none. `ledger-unavailable`, also for one of an older version.
                `ledger-newer`.
        """
        path = directory / "ledger.sqlite3"
        if not path.is_file():
            raise InfraError("not-found", "There is no ledger yet.", next_step="The first server makes it.")
        keys = await anyio.to_thread.run_sync(Keys.looked_at, directory)
        database = Database(f"sqlite:///{reading_uri(path)}&uri=true", 5.0)

        def check(connection: Connection) -> bool:
            old = revisions.outdated(connection)
            revisions.belongs(connection, keys)
            return old

        def refuse(_: Connection) -> None:
            raise unavailable("the next server brings it up to date first", "The ledger is of an older version")

        try:
            await database.start(refuse, check)
        except BaseException:
            await database.aclose()
            raise
        return cls(database, Masker(keys.key(MASKING)), keys)

    async def aclose(self) -> None:
        """Close the files; everything written stays."""
        await self._database.aclose()

    @effect("ledger.accept")
    async def accept(
        self,
        submission: Submission,
        *,
        request_id: str,
        ask: AskIn | None,
        now: str,
        budgets: Sequence[Budget] = (),
    ) -> Accepted:
        """Make a submission durable, queued or scheduled, or find the one it repeats.

        With an idempotency key, the same caller's same key gives the first request, in whatever state it is; without
        one, an ask with the same words about the same action gives the first as long as that is open. On behalf of an
        ask, the ask must be claimed by the submission's session; it waits for the request's end from then on, except
        for a dry run.

        Args:
            submission: the request.
            request_id: the id it gets if it is new.
            ask: the ask it came in, which is acked when the request ends.
            now: the time, ISO 8601.
            budgets: how many requests may come in a time; one that repeats another is not counted.

        Raises:
            InfraError: `idempotency-conflict`, when the key belongs to another request, and `invalid-argument`, when an
                argument looks like a secret: both leave a `refused` event. `too-many`. `claim-taken`, when it is on
                behalf of an ask that is not the session's, or has its request.
        """

        def step(tx: Tx) -> Accepted | InfraError:
            at = clock.normal(now)
            done = intake.accept(tx, self.masker, submission, request_id=request_id, ask=ask, at=at, budgets=budgets)
            if isinstance(done, Accepted) and done.ask_id is not None and ask:
                asks.answered_by(tx, self._digests, submission.caller, ask.reply_to, done.ask_id, at)
            return done

        done = await self._database.write(step)
        if isinstance(done, InfraError):
            raise done
        return done

    @effect("ledger.answer")
    async def answer(self, caller: Caller, ask: AskIn, message: str, kind: str, now: str) -> str:
        """Record an ask that becomes no request, with its one ack; returns the ask's id."""
        opened = asks.opened(caller, ask, clock.normal(now))

        def step(tx: Tx) -> str:
            masked = events.written(self.masker, {"text": opened.text, "receiver": opened.receiver})
            asked, reply = opened.model_copy(update=masked), events.written(self.masker, message)
            data = {"receiver": asked.receiver, "reply": reply} | answering(caller)
            entry = events.Entry(asked.created, kind, asked.sender, asked.circle, asked.text, data, ask=asked.id)
            position, _ = events.append(tx, entry)
            asks.insert_row(tx.connection, asked, position)
            asks.close(tx.connection, asked, reply, asked.created)
            asks.answered_by(tx, self._digests, caller, ask.reply_to, asked.id, asked.created)
            return asked.id

        return await self._database.write(step)

    async def ask(self, ask_id: str) -> Ask | None:
        """The ask of that id. Whether the caller may see it is the channel's decision."""
        return await self._database.read(lambda connection: asks.ask(connection, ask_id))

    @effect("ledger.delivered")
    async def delivered(self, ask_id: str) -> None:
        """Note that the ack of that ask has reached its sender; a second note changes nothing."""
        done = {"which": ask_id, "at": clock.now()}
        await self._database.write(lambda tx: tx.connection.execute(asks.DELIVERED, done).close())

    @effect("ledger.note")
    async def note(self, kind: str, peer: str | None, data: dict[str, Any], *, circle: str | None = None) -> str:
        """Record an event that belongs to no request; returns the audit head.

        Args:
            kind: what happened, one word.
            peer: the peer it is about.
            data: what a reader should know; `message` in it is the event's text.
            circle: who may find it besides operators; the peer's circle when left out.
        """

        def step(tx: Tx) -> str:
            masked, name = events.written(self.masker, data), events.written(self.masker, peer)
            of = circle or (circle_of(tx.connection, name) if name else None)
            return events.append(tx, events.Entry(clock.now(), kind, name, of, events.message_of(masked), masked))[1]

        return await self._database.write(step)

    async def verify(self, heads: Sequence[str], commits: Sequence[Committed] = ()) -> ChainReport:
        """Check the chain and the rows made from it against themselves, and against heads that were given out.

        Args:
            heads: audit heads from acks. Without any, here or in commits, the report claims consistency and no more.
            commits: heads found in commits; the ledger knows which of these are its own.
        """
        check = audit.Audit(frozenset(heads), self._digests, await self.key(HEADS), commits)
        while await self._database.read(check.piece):
            pass
        return await self._database.read(check.report)

    async def knows(self, head: str) -> bool:
        """Whether an event has this hash."""
        found = select(_EVENTS.seq).where(_EVENTS.hash == head)
        return await self._database.read(lambda connection: connection.execute(found).first() is not None)

    async def head(self) -> str:
        """The newest event's hash."""
        newest = select(_EVENTS.hash).order_by(_EVENTS.seq.desc()).limit(1)
        return await self._database.read(lambda connection: connection.execute(newest).scalar() or GENESIS)

    async def newest(self) -> tuple[int, str]:
        """The number of the newest event, and its hash; 0 in an empty ledger."""
        found = select(_EVENTS.seq, _EVENTS.hash).order_by(_EVENTS.seq.desc()).limit(1)
        row = await self._database.read(lambda connection: connection.execute(found).first())
        return (row.seq, row.hash) if row is not None else (0, GENESIS)

    async def key(self, name: str) -> bytes:
        """A random key of this ledger, 32 bytes, kept beside it and not in it; made when first asked for."""
        return await anyio.to_thread.run_sync(self._keys.key, name)
