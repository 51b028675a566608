"""The engine as doors see it: submit, wait, look, cancel. It owns the connections and the worker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Self

import anyio

from infra_mcp.clients.git import Git
from infra_mcp.clients.kube import Cluster
from infra_mcp.drivers.manifests.driver import Manifests
from infra_mcp.drivers.manifests.pull_secrets import PullSecrets
from infra_mcp.engine.signals import Signals
from infra_mcp.engine.status import status
from infra_mcp.engine.tools import Tools
from infra_mcp.engine.worker import Worker
from infra_mcp.errors import InfraError
from infra_mcp.ledger import Accepted, Ask, AskIn, Ledger
from infra_mcp.ledger.ids import request_id as new_request_id
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
        self._worker: Worker | None = None
        self._tools: Tools | None = None
        self._trouble: InfraError | None = None

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
            InfraError: `ledger-unavailable`, `ledger-newer`, `setup-failed`.
        """
        ledger = await Ledger.open_in(settings.state_dir)
        try:
            policy = await PolicyInForce.open(settings.policy_file, ledger, pin=policy_pin)
            engine = cls(settings, ledger, policy)
            async with anyio.create_task_group() as group:
                await group.start(engine._work)
                try:
                    yield engine
                finally:
                    group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await ledger.aclose()

    async def _work(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Connect by the policy in force and run the worker; start anew when an accepted policy names other places."""
        first = True
        while True:
            changed = self.policy.changed()
            try:
                current = self.policy.current()
                name, cluster = current.only_cluster()
            except InfraError as error:
                self._trouble = error
                if first:
                    task_status.started()
                    first = False
                await changed.wait()
                continue
            git = Git(self.settings.repo, self.settings.state_dir / "git.lock")
            try:
                async with Cluster.connect(name, self.settings.kubeconfig, cluster.context) as connection:
                    key = await self.ledger.key("secrets")
                    driver = Manifests(connection, PullSecrets(connection, key, self.masker))
                    self._tools = Tools(self.ledger, git, driver, self.policy.current, name)
                    self._worker = Worker(self._tools, self._signals)
                    self._trouble = None
                    async with anyio.create_task_group() as group:
                        await group.start(self._worker.run)
                        if first:
                            task_status.started()
                            first = False
                        await self._until_elsewhere(name, cluster.context)
                        group.cancel_scope.cancel()
            except InfraError as error:
                self._trouble = error
                if first:
                    task_status.started()
                    first = False
                await changed.wait()
            finally:
                self._worker = self._tools = None
                with anyio.CancelScope(shield=True):
                    await git.aclose()

    async def _until_elsewhere(self, name: str, context: str) -> None:
        while True:
            await self.policy.changed().wait()
            now, cluster = self.policy.current().only_cluster()
            if (now, cluster.context) != (name, context):
                return

    async def submit(self, submission: Submission, ask: AskIn | None = None) -> Accepted:
        """Make a request durable and hand it to the worker.

        Raises:
            InfraError: `invalid-argument` when the action carries what looks like a secret, `idempotency-conflict`,
                `ledger-unavailable`.
        """
        action = submission.action.model_dump(mode="json")
        if self.masker.mask_json(action) != action:
            what = "An argument carries what looks like a secret; nothing of it was kept."
            raise InfraError("invalid-argument", what, next_step="Name a pull secret of the policy instead.")
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        accepted = await self.ledger.accept(submission, request_id=new_request_id(), ask=ask, now=now)
        if accepted.fresh and self._worker is not None:
            self._worker.claim(accepted.request)
        elif accepted.fresh:
            await self._refuse(accepted.request)
        return accepted

    async def _refuse(self, request: Request) -> None:
        """End a request at once when there is nothing to work with: no accepted policy, or no such cluster."""
        from infra_mcp.engine import report  # noqa: PLC0415
        from infra_mcp.engine.run import Run  # noqa: PLC0415

        error = self._trouble or InfraError("cluster-unreachable", "The server is not connected to its cluster.")
        made = report.receipt(Run.of(request), report.end_for(error), error.what, error)
        await self.ledger.finish(request.id, made, error.as_dict())
        self._signals.wake(request.id)

    async def wait(self, request_id: str, timeout: float) -> Request:
        """The request at its end, or as it is when the time (seconds) runs out. Wakes at once.

        Raises:
            InfraError: `not-found`.
        """
        with self._signals.waiter(request_id) as event:
            found = await self.ledger.request(request_id)
            if found is not None and found.state not in END:
                with anyio.move_on_after(timeout):
                    await event.wait()
                found = await self.ledger.request(request_id)
        if found is None:
            raise InfraError("not-found", f"There is no request {request_id}.")
        return found

    async def wait_ask(self, ask_id: str, timeout: float) -> Ask:
        """The ask once it is acked, or as it is when the time (seconds) runs out.

        Raises:
            InfraError: `not-found`.
        """
        found = await self.ledger.ask(ask_id)
        if found is not None and found.state == "open" and found.request:
            await self.wait(found.request, timeout)
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
        if self._worker is None or not await self._worker.cancel(request_id):
            what = f"{request_id} is {found.state.value}: its first write has begun, and it goes on to its end."
            raise InfraError("too-late", what)
        return await self.wait(request_id, 30.0)

    async def status(self, caller: Caller, *, namespace: str | None = None, app: str | None = None) -> dict[str, Any]:
        """What is there, as far as the caller may see. See `status.status`."""
        if self._tools is None:
            raise self._trouble or InfraError("cluster-unreachable", "The server is not connected to its cluster.")
        return await status(self._tools, caller, namespace, app)

    def health(self) -> dict[str, Any]:
        """Whether work can be done, without asking anyone."""
        return {
            "working": self._worker is not None,
            "open": self._worker.working_on if self._worker else 0,
            "cluster": self._tools.cluster if self._tools else None,
            "policy": self.policy.summary(),
            "trouble": self._trouble.as_dict() if self._trouble else None,
        }
