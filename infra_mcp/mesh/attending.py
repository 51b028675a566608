"""Sessions that attend as the infra peer: who sits, what they may claim, and what happens when nobody does.

A session has no rights of its own. It claims an ask the server could not answer, and acts in the asker's name, once. A
claim is its session's: it dies with the connection. Asks wait for an attendant only while one sits, or for a grace
after the last one left, since hosts reconnect; then they get the ack that says what can be asked, as they would have
had at once without an attendant. A server that starts and finds asks waiting gives the same grace: somebody attended to
its predecessor. One that finds none does not keep newcomers waiting for nobody.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskStatus

from infra_mcp.errors import InfraError
from infra_mcp.mesh.addresses import peer_name
from infra_mcp.mesh.clarify import help_ack
from infra_mcp.mesh.intake import now
from infra_mcp.model.peer import Address, Caller

if TYPE_CHECKING:
    from infra_mcp.engine import Engine
    from infra_mcp.ledger.records import Ask

GRACE = 60.0  # seconds
_RETRY = 5.0  # seconds until the ledger is tried again

_log = logging.getLogger(__name__)


class AttendantSessions:
    """Where attending sessions sit. One for each server.

    Args:
        engine: for the ledger, the policy in force and the signals.
        grace: how long asks go on waiting after the last session left, or after a start that finds them, in seconds.
    """

    def __init__(self, engine: Engine, grace: float = GRACE) -> None:
        self._engine = engine
        self._grace = grace
        self._sessions: set[str] = set()
        self._gone: set[str] = set()  # sessions that left, whose claims are still to be given back
        self._helped = True  # since somebody sat here last
        self._until = 0.0  # the loop's time at which nobody is expected back any more
        self._changed = anyio.Event()

    @property
    def present(self) -> bool:
        """Whether somebody sits here, or may be back within the grace."""
        return bool(self._sessions) or anyio.current_time() < self._until

    async def open(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep the desk for the server's life.

        Gives back the claims of sessions that died with the last server, then helps whoever waits in vain, until
        cancelled. To be started before the channels accept calls: `await group.start(desk.open)`.
        """
        await self._engine.ledger.mail.release(None)
        self._helped = not await self._engine.ledger.mail.unanswered(peer_name(self._engine))
        if not self._helped:
            self._until = anyio.current_time() + self._grace
        task_status.started()
        while True:
            changed = self._changed
            left = math.inf if self._sessions or self._helped else self._until - anyio.current_time()
            if self._gone:
                left = min(left, _RETRY)
            with anyio.move_on_after(left):
                await changed.wait()
            if self._gone and await self._free():
                self._helped = False
            if not self.present and not self._helped:
                self._helped = await self._help_all()
                self._until = anyio.current_time() + (0.0 if self._helped else _RETRY)

    @asynccontextmanager
    async def attend(self, caller: Caller) -> AsyncIterator[None]:
        """Attend as long as the block lasts; at its end the session's claims are free again.

        Args:
            caller: the attendant, with the session of its connection.

        Raises:
            InfraError: `policy-denied` for a caller who does not attend.
        """
        session = _session(caller)
        self._sessions.add(session)
        self._helped = False
        self._change()
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await self._leave(session)

    async def claim(self, caller: Caller, ask_id: str) -> Ask:
        """Take an ask to answer it; claiming again what one has changes nothing.

        Raises:
            InfraError: `policy-denied` for a caller who does not attend; `claim-taken` for an ask that another session
                has or that a request answers already; `not-found` for one that is not open.
        """
        session = _session(caller)
        if session not in self._sessions:
            raise InfraError("claim-taken", "This session does not sit at the desk any more.", next_step="Reconnect.")
        with anyio.CancelScope(shield=True):
            claimed = await self._engine.ledger.mail.claim(ask_id, session, now=now())
            if session not in self._sessions:  # it left while the claim was written
                self._gone.add(session)
                await self._free()
        return claimed

    async def requester(self, caller: Caller, ask_id: str) -> Caller:
        """Whom an attendant acts for: the sender of an ask this session has claimed.

        Raises:
            InfraError: `invalid-argument` for a caller who does not attend; `claim-taken` for an ask that is not this
                session's.
        """
        if not caller.attendant:
            what = "on_behalf_of: only a session that attends as the infra peer acts for others."
            raise InfraError("invalid-argument", what, next_step="Leave it out; the asker calls the tool or asks.")
        found = await self._engine.ledger.ask(ask_id)
        if found is None or found.claim is None or found.claim != caller.session:
            raise InfraError("claim-taken", "on_behalf_of: this session has no claim on such an ask.")
        # Whoever is of a circle came by a token; nobody else may change anything anyhow.
        return Caller(name=found.sender, circle=found.circle, strength="token")

    async def answer_if_abandoned(self, ask_id: str) -> None:
        """Help an ask that was opened for somebody who sat here, should they all have left while it was written."""
        if not self.present:
            await self.help(await self._engine.wait_ask(ask_id, 0))

    async def help(self, found: Ask) -> None:
        """Ack an ask that nobody will attend to with what its sender may ask.

        One that was claimed, answered or acked meanwhile stays as it is.
        """
        asker = Caller(name=found.sender, circle=found.circle, strength="token")
        message = await help_ack(self._engine, asker, found.text)
        infra = Caller(name=peer_name(self._engine), circle=None, strength="same-user")
        try:
            with anyio.CancelScope(shield=True):
                await self._engine.ledger.mail.ack(infra, found.id, message, now=now())
        except InfraError as error:
            if error.code not in {"claim-taken", "already-acked", "not-found"}:
                raise
        self._engine.signals.wake(found.id)
        self._engine.signals.wake(Address(name=found.sender, circle=found.circle).signal)

    async def _help_all(self) -> bool:
        """Help everyone who waits; false when the ledger could not be used."""
        try:
            for found in await self._engine.ledger.mail.unanswered(peer_name(self._engine)):
                if self.present:
                    return True  # somebody came meanwhile
                await self.help(found)
        except InfraError as error:
            _log.warning("asks that nobody attends to could not be answered: %s", error.code)
            return False
        return True

    async def _leave(self, session: str) -> None:
        self._sessions.discard(session)
        self._gone.add(session)
        if not self._sessions:
            self._until = anyio.current_time() + self._grace
        await self._free()
        self._change()

    async def _free(self) -> bool:
        """Give back what sessions that left had claimed; what fails now is tried again. Whether an ask is free now."""
        some = False
        for session in sorted(self._gone):
            try:
                freed = await self._engine.ledger.mail.release(session)
            except InfraError as error:
                _log.warning("claims of a session that left could not be given back yet: %s", error.code)
                continue
            self._gone.discard(session)
            if freed:
                some = True
                self._engine.signals.wake(Address(name=peer_name(self._engine)).signal)
        return some

    def _change(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


def _session(caller: Caller) -> str:
    if not caller.attendant or caller.session is None:
        what = "Only a session that attends as the infra peer may do this."
        raise InfraError("policy-denied", what, next_step="Connect with `infra-mcp connect --attend infra`.")
    return caller.session
