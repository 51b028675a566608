"""Sessions that attend as the infra peer: which there are, what they claim, and how asks end without them.

A session has no rights of its own: it claims an ask that the server could not answer, and acts once, for the asker. Its
claims end with its connection. Asks wait only while a session attends, or for a grace period after the last one left or
after a start that finds waiting asks, since hosts reconnect. Then they get the ack that says what can be asked.
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
from infra_mcp.model.peer import Address, Caller, Strength

if TYPE_CHECKING:
    from infra_mcp.engine import Engine
    from infra_mcp.ledger.records import Ask

GRACE = 60.0  # seconds
_RETRY = 5.0  # seconds until the ledger is tried again

_log = logging.getLogger(__name__)


class AttendantSessions:
    """The attending sessions of one server.

    Args:
        engine: for the ledger, the policy in force and the signals.
        grace: how long asks wait after the last session left, or after a start that finds them, in seconds.
    """

    def __init__(self, engine: Engine, grace: float = GRACE) -> None:
        self._engine = engine
        self._grace = grace
        self._sessions: set[str] = set()
        self._gone: set[str] = set()  # sessions that left, whose claims are not released yet
        self._answered = True  # whether every ask was answered since the last session left
        self._until = 0.0  # the loop's time at which the grace period ends
        self._changed = anyio.Event()

    @property
    def present(self) -> bool:
        """Whether a session attends, or may reconnect within the grace period."""
        return bool(self._sessions) or anyio.current_time() < self._until

    async def open(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Release claims of sessions that ended, and answer asks that no session will attend to, until cancelled.

        Start it with `await group.start(attendants.open)`, before the channels accept calls.
        """
        await self._engine.ledger.mail.release(None)
        self._answered = not await self._engine.ledger.mail.unanswered(peer_name(self._engine))
        if not self._answered:
            self._until = anyio.current_time() + self._grace
        task_status.started()
        while True:
            self._changed = anyio.Event()
            left = math.inf if self._sessions or self._answered else self._until - anyio.current_time()
            if self._gone:
                left = min(left, _RETRY)
            with anyio.move_on_after(left):
                await self._changed.wait()
            if self._gone and await self._free():
                self._answered = False
            if not self.present and not self._answered:
                self._answered = await self._answer_all()
                self._until = anyio.current_time() + (0.0 if self._answered else _RETRY)

    @asynccontextmanager
    async def attend(self, caller: Caller) -> AsyncIterator[None]:
        """Attend as long as the block lasts; its end releases the session's claims.

        Raises:
            InfraError: `policy-denied` for a caller who does not attend.
        """
        session = _session(caller)
        self._sessions.add(session)
        self._answered = False
        self._changed.set()
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                self._sessions.discard(session)
                self._gone.add(session)
                if not self._sessions:
                    self._until = anyio.current_time() + self._grace
                await self._free()
                self._changed.set()

    async def claim(self, caller: Caller, ask_id: str) -> Ask:
        """Claim an ask to answer it; the same claim again changes nothing.

        Raises:
            InfraError: `policy-denied` for a caller who does not attend; `claim-taken` for an ask that another session
                has or that a request answers; `not-found` for one that is not open.
        """
        session = _session(caller)
        if session not in self._sessions:
            raise InfraError("claim-taken", "This session no longer attends.", next_step="Reconnect.")
        with anyio.CancelScope(shield=True):
            claimed = await self._engine.ledger.mail.claim(ask_id, session, now=now())
            if session not in self._sessions:  # it left while the claim was written
                self._gone.add(session)
                await self._free()
        return claimed

    async def requester(self, caller: Caller, ask_id: str) -> Caller:
        """The caller for whom an attendant acts: the sender of an ask that its session has claimed.

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
        # A peer of a circle connects with a token; no other caller may change anything.
        strength: Strength = "token" if found.identity is None else "oidc"
        asker = Caller(name=found.sender, circle=found.circle, strength=strength)
        return asker.model_copy(update={"sponsor": found.sponsor, "identity": found.identity})

    async def answer_if_abandoned(self, ask_id: str) -> None:
        """Answer an ask that was opened for a session, if all sessions left while it was written."""
        if not self.present:
            await self.answer(await self._engine.wait_ask(ask_id, 0))

    async def answer(self, found: Ask) -> None:
        """Ack an ask with what its sender may ask, unless it was claimed or acked meanwhile."""
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

    async def _answer_all(self) -> bool:
        """Answer every waiting ask; false when the ledger could not be used."""
        try:
            for found in await self._engine.ledger.mail.unanswered(peer_name(self._engine)):
                if self.present:
                    return True  # a session came meanwhile
                await self.answer(found)
        except InfraError as error:
            _log.warning("asks that no session attends to could not be answered: %s", error.code)
            return False
        return True

    async def _free(self) -> bool:
        """Release the claims of sessions that left; what fails is tried again. Whether an ask is free now."""
        released = False
        for session in sorted(self._gone):
            try:
                freed = await self._engine.ledger.mail.release(session)
            except InfraError as error:
                _log.warning("claims of a session that left could not be released yet: %s", error.code)
                continue
            self._gone.discard(session)
            if freed:
                released = True
                self._engine.signals.wake(Address(name=peer_name(self._engine)).signal)
        return released


def _session(caller: Caller) -> str:
    if not caller.attendant or caller.session is None:
        what = "Only a session that attends as the infra peer may do this."
        raise InfraError("policy-denied", what, next_step="Connect with `infra-mcp connect --attend infra`.")
    return caller.session
