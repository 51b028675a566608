"""What one request's way through the pipeline carries along."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import anyio

from infra_mcp.drivers.manifests.prepared import Prepared, Task
from infra_mcp.errors import InfraError
from infra_mcp.model.outcome import Written
from infra_mcp.model.request import Request, State

__all__ = ["Run"]

_WRITING = {State.APPLYING, State.VERIFYING, State.ROLLING_BACK}


@dataclass
class Run:
    """A request being worked on. What must survive a restart is in `memory`, which goes into the ledger."""

    request: Request
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    task: Task | None = None
    prepared: Prepared | None = None
    commit: str | None = None  # ours, and known to be on the branch
    recorded: str | None = None  # the commit that may be on the branch
    revert: str | None = None
    draft: tuple[str, str] | None = None  # the head it was built on, and the commit; not on the branch
    begun: bool = False  # too late to cancel: the event that precedes the first write is recorded
    wrote: bool = False  # a write to the cluster may have happened
    cancelled: bool = False
    approved: bool = False  # the plan at hand needs approvals, and those that are there carry it
    fault: InfraError | None = None  # why it cannot be taken up at all
    words: str = "queued"  # how far it is, for people; nothing is decided by it
    writes: tuple[Written, ...] = ()
    memory: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, request: Request) -> Run:
        """A run for a request, new or from before a restart; with a `fault` where its record cannot be read."""
        memory, fault = dict(request.record), None
        try:
            writes = tuple(Written.model_validate_json(text) for text in memory.get("writes", ()))
        except (TypeError, ValueError):
            writes, fault = (), InfraError("cannot-observe", "What it was about to write cannot be read any more.")
        return cls(
            request,
            begun=request.state in _WRITING,
            # An interrupted apply without a commit had no commit to wait for, so its writes may have begun.
            wrote=request.state in _WRITING and (request.state is not State.APPLYING or not request.commit),
            recorded=request.commit,
            revert=request.revert,
            writes=writes,
            memory=memory,
            fault=fault,
        )

    @property
    def planned(self) -> tuple[Task, Prepared]:
        """Task and plan, once there is one."""
        if self.task is None or self.prepared is None:
            msg = f"{self.request.id} is not planned yet"
            raise RuntimeError(msg)
        return self.task, self.prepared

    @property
    def attended(self) -> bool:
        """Whether an attending session made it for the asker: then both must be allowed to."""
        return self.request.attendant is not None

    def require_task(self) -> Task:
        """The task, once the policy was read."""
        if self.task is None:
            msg = f"{self.request.id} has no task yet"
            raise RuntimeError(msg)
        return self.task

    def say(self, words: str) -> None:
        """Tell how far it is, to whoever looks."""
        self.words = words

    def forget_beginning(self) -> None:
        """Nothing was recorded as begun, let alone written: as it was before it was to begin."""
        self.begun, self.writes = False, ()
        for name in ("digest", "writes", "approved"):
            self.memory.pop(name, None)

    def remember(self, **values: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON values
        """Add to what a restart must know, and return all of it."""
        self.memory.update(values)
        return self.memory

    def add_writes(self, new: tuple[Written, ...]) -> None:
        """Note what is about to be written; the first note of an object stands, since it holds what was before us."""
        known = {one.ref.key for one in self.writes}
        self.writes += tuple(one for one in new if one.ref.key not in known)
        self.memory["writes"] = [one.model_dump_json() for one in self.writes]
