"""The engine as doors see it: submit, wait, look, cancel. What it works with comes and goes in `Connection`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Self

import anyio

from infra_mcp.engine.connection import Connection
from infra_mcp.engine.signals import Signals
from infra_mcp.engine.status import status
from infra_mcp.errors import InfraError
from infra_mcp.ledger import Accepted, Ask, AskIn, Ledger
from infra_mcp.ledger.ids import request_id as new_request_id
from infra_mcp.ledger.keys import Keys
from infra_mcp.masking import Masker
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import END, Request, State, Submission
from infra_mcp.policy.acceptance import PolicyInForce
from infra_mcp.settings import Settings

__all__ = ["Engine"]


class Engine:
    """Everything behind the doors. Made by `Engine.open`, which also recovers what was interrupted."""

    def __init__(self, settings: Settings, ledger: Ledger, policy: PolicyInForce) -> None:
        self.settings = settings
        self.ledger = ledger
        self.masker: Masker = ledger.masker
        self.policy = policy
        self._signals = Signals()
        self._connection = Connection(settings, ledger, policy, self._signals)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, *, policy_pin: str | None = None) -> AsyncIterator[Self]:
        """Open the ledger, take up interrupted work and serve until the block ends.

        The cluster and the context are those that the accepted policy names. Without an accepted policy there is
        nothing to work on: reads and acceptance go on, and requests are refused.

        Args:
            settings: where things are.
            policy_pin: a digest that is in force without an acceptance in the ledger.

        Raises:
            InfraError: `ledger-unavailable`, `ledger-newer`.
        """
        masker = Masker(Keys(settings.state_dir).key("masking"))
        ledger = await Ledger.open(settings.ledger_url, masker)
        try:
            policy = PolicyInForce(settings.policy_file, ledger, policy_pin)
            await policy.refresh()
            engine = cls(settings, ledger, policy)
            async with anyio.create_task_group() as group:
                await group.start(engine._connection.keep)
                try:
                    yield engine
                finally:
                    group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await ledger.aclose()

    async def submit(self, submission: Submission, ask: AskIn | None = None) -> Accepted:
        """Make a request durable and hand it to the worker.

        Raises:
            InfraError: `invalid-argument` when the action carries what looks like a secret, `idempotency-conflict`,
                `ledger-unavailable`.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        accepted = await self.ledger.accept(submission, request_id=new_request_id(), ask=ask, now=now)
        if accepted.fresh:
            await self._connection.claim(accepted.request)
        return accepted

    async def wait(self, request_id: str, seconds: float) -> Request:
        """The request at its end, or as it is when the seconds run out. Wakes at once.

        Raises:
            InfraError: `not-found`.
        """
        with self._signals.waiter(request_id) as event:
            found = await self.ledger.request(request_id)
            if found is not None and found.state not in END:
                with anyio.move_on_after(seconds):
                    await event.wait()
                found = await self.ledger.request(request_id)
        if found is None:
            raise InfraError("not-found", f"There is no request {request_id}.")
        return found

    async def wait_ask(self, ask_id: str, seconds: float) -> Ask:
        """The ask once it is acked, or as it is when the seconds run out.

        Raises:
            InfraError: `not-found`.
        """
        found = await self.ledger.ask(ask_id)
        if found is not None and found.state == "open" and found.request:
            await self.wait(found.request, seconds)
            found = await self.ledger.ask(ask_id)
        if found is None:
            raise InfraError("not-found", f"There is no ask {ask_id}.")
        return found

    async def get(self, caller: Caller, request_id: str) -> Request | None:
        """A request of the caller's circle, or any for an operator; None when there is none such to see."""
        found = await self.ledger.request(request_id)
        if found is None or (not caller.operator and found.caller.circle != caller.circle):
            return None
        return found

    async def cancel(self, caller: Caller, request_id: str) -> Request:
        """Cancel a request before its first write.

        Raises:
            InfraError: `not-found`; `too-late`, saying what happens instead.
        """
        found = await self.get(caller, request_id)
        if found is None or (not caller.operator and found.caller.name != caller.name):
            raise InfraError("not-found", f"There is no request {request_id}, or it is not yours.")
        if found.state is State.CANCELLED:
            return found
        if found.state in END:
            raise InfraError("too-late", f"{request_id} has ended: {found.state.value}.")
        if not self._connection.cancel(request_id):
            what = f"{request_id} is {found.state.value}: its first write has begun, and it goes on to its end."
            raise InfraError("too-late", what)
        return await self.wait(request_id, 30.0)

    async def status(self, caller: Caller, *, namespace: str | None = None, app: str | None = None) -> dict[str, Any]:
        """What is there, as far as the caller may see. See `status.status`."""
        return await status(self._connection.tools(), caller, namespace, app)

    def health(self) -> dict[str, Any]:
        """Whether work can be done, without asking anyone."""
        return self._connection.health()
