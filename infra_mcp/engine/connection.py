"""The engine's link to repository and cluster: made by the policy in force, made anew when that names other places."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

import anyio
from anyio.abc import TaskStatus

from infra_mcp.clients.git import Git
from infra_mcp.clients.kube import Cluster
from infra_mcp.drivers.manifests.driver import Manifests
from infra_mcp.drivers.manifests.pull_secrets import PullSecrets
from infra_mcp.engine import report
from infra_mcp.engine.lineage import behind
from infra_mcp.engine.readiness import Readiness, excess_rights
from infra_mcp.engine.run import Run
from infra_mcp.engine.signals import Signals
from infra_mcp.engine.tools import Tools, utc
from infra_mcp.engine.worker import LOOK, Worker, news
from infra_mcp.errors import InfraError
from infra_mcp.ledger import Ledger
from infra_mcp.model.request import Request
from infra_mcp.policy.acceptance import PolicyInForce
from infra_mcp.settings import Settings

__all__ = ["Connection"]

_log = logging.getLogger(__name__)
_PASSING = frozenset({"setup-failed", "ledger-unavailable", "internal"})
_AGAIN = 5.0  # seconds until a context that could not be opened is tried again


class Connection:
    """Holds the worker while there is something to work with, and refuses requests while there is not."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        policy: PolicyInForce,
        signals: Signals,
        now: Callable[[], datetime] = utc,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._policy = policy
        self._signals = signals
        self._now = now
        self._tools: Tools | None = None
        self._worker: Worker | None = None
        self._trouble: InfraError | None = None
        self._behind = ""  # what speaks for the ledger being an older copy
        self._rights: str | None = None  # None until they were looked at
        folders = tuple(folder for folder in (settings.state_dir, settings.repo / ".git") if folder.is_dir())
        self._readiness = Readiness(folders, lambda: self._tools.driver.cluster if self._tools else None)

    async def keep(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Work while the policy names a place to work on. Started once interrupted work is taken up."""
        started: Callable[[], None] = task_status.started

        def ready() -> None:
            nonlocal started
            started()
            started = _nothing

        while True:
            changed = self._policy.changed()
            try:
                await self._work(ready)
            except* InfraError as several:
                self._trouble = _first(several)
            except* Exception as several:  # noqa: BLE001 - a fault of ours ends this connection, never the server
                _log.error("The connection ended by a fault", exc_info=several)
                what = "Internal error while connecting or working. The server's log has the details."
                self._trouble = InfraError("internal", what)
            ready()
            passing = self._trouble is not None and self._trouble.code in _PASSING
            with anyio.move_on_after(_AGAIN if passing else None):
                await changed.wait()

    async def _work(self, ready: Callable[[], None]) -> None:
        """One connection's life, until the policy names another place.

        Raises:
            InfraError: no policy is in force, or its context cannot be opened.
        """
        name, context = self._place()
        git = Git(self._settings.repo, self._settings.state_dir / "git.lock")
        try:
            await self._look_at_ledger(git)
            async with Cluster.connect(name, self._settings.kubeconfig, context) as cluster:
                secrets = PullSecrets(cluster, await self._ledger.key("secrets"), self._ledger.masker)
                driver = Manifests(cluster, secrets)
                place = f"{name} ({context})"
                tools = Tools(self._ledger, git, driver, self._policy.current, name, place, self._now)
                worker = Worker(tools, self._signals)
                async with anyio.create_task_group() as group:
                    # Before it starts: what is accepted from now on it finds in the ledger, or gets, or both.
                    self._tools, self._worker, self._trouble = tools, worker, None
                    await group.start(worker.run)
                    ready()
                    self._signals.wake(LOOK)
                    group.start_soon(self._look_at_rights, cluster)
                    while self._same(name, context):
                        await self._policy.changed().wait()
                    group.cancel_scope.cancel()
        finally:
            self._tools = self._worker = self._rights = None
            with anyio.CancelScope(shield=True):
                await git.aclose()

    async def _look_at_rights(self, cluster: Cluster) -> None:
        self._rights = await excess_rights(cluster)
        if self._rights:
            _log.warning("%s", self._rights)

    def _place(self) -> tuple[str, str]:
        policy = self._policy.current()
        name = policy.cluster_name()
        rules = policy.cluster(name)
        if name is None or rules is None:
            raise InfraError("policy-invalid", "The policy in force names no cluster.")
        return name, rules.context

    def _same(self, name: str, context: str) -> bool:
        try:
            return self._place() == (name, context)
        except InfraError:
            return True  # requests are refused by policy; the connection does no harm

    def tools(self) -> Tools:
        """What reads are made with.

        Raises:
            InfraError: what keeps the server from working.
        """
        if self._tools is None:
            raise self._trouble or InfraError("cluster-unreachable", "The server is not connected to its cluster.")
        return self._tools

    def resume(self, request: Request) -> bool:
        """Hand a parked request to the worker; False while there is none, and it stays where it is."""
        if self._worker is not None and not self._worker.busy(request.id):
            self._worker.claim(request)
        return self._worker is not None

    def recall(self, request: Request) -> None:
        """Hand an approved request to the worker, which may be about to let go of it. Without one, the next has it."""
        if self._worker is not None:
            self._worker.claim(request)

    def busy(self, request_id: str) -> bool:
        """Whether a request is being worked on."""
        return self._worker is not None and self._worker.busy(request_id)

    def words(self, request_id: str) -> str:
        """How far a request is, while it is being worked on."""
        return self._worker.words(request_id) if self._worker is not None else ""

    async def claim(self, request: Request) -> None:
        """Hand a durable request to the worker; without one, end it at once and say why."""
        if self._worker is not None:
            self._worker.claim(request)
            return
        error = self._trouble or InfraError("cluster-unreachable", "The server is not connected to its cluster.")
        made = report.receipt(Run.of(request), report.end_for(error), error.what, error)
        with contextlib.suppress(ValueError):  # a worker that came up meanwhile has ended it
            await self._ledger.finish(request.id, made, error.as_dict())
        self._signals.wake(*news(request))

    def cancel(self, request_id: str) -> bool:
        """Stop a request before its first write; False when it is too late."""
        return self._worker is not None and self._worker.cancel(request_id)

    async def missing(self) -> list[str]:
        """What a change would lack now. See `Readiness.missing`."""
        return await self._readiness.missing()

    async def _look_at_ledger(self, git: Git) -> None:
        """Notice an older copy of the ledger, by the heads that commits carry."""
        with contextlib.suppress(InfraError):  # whoever needs the branch next says what is wrong with it
            self._behind = await behind(git, self._ledger, self._policy.current().tree.branch)
        if self._behind:
            _log.warning("%s", self._behind)

    def health(self) -> dict[str, Any]:
        """Whether work can be done, without asking anyone.

        `rights` are those that the login should not have, `ledger` what speaks for it being an older copy.
        """
        return {
            "working": self._worker is not None,
            "open": self._worker.working_on if self._worker else 0,
            "cluster": self._tools.cluster if self._tools else None,
            "trouble": self._trouble.as_dict() if self._trouble else None,
            "rights": self._rights,
            "ledger": self._behind or None,
        }


def _nothing() -> None:
    """What is ready stays ready."""


def _first(group: BaseExceptionGroup[InfraError]) -> InfraError:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
