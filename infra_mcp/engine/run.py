"""What one request's way through the pipeline carries along."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import anyio

from infra_mcp.drivers.base import Context, Driver, Prepared, Share
from infra_mcp.errors import InfraError
from infra_mcp.ledger.migrations.first_edition import upgraded
from infra_mcp.model.digest import canonical
from infra_mcp.model.effect import Drift, Effect, Part
from infra_mcp.model.record import PartRecord, Record
from infra_mcp.model.request import Request, State
from infra_mcp.repository.edits import Edit
from infra_mcp.repository.value import Tree

_MAX_UNREAD = 5  # files named in a note
_WRITING = {State.APPLYING, State.VERIFYING, State.ROLLING_BACK}


def record_of(request: Request) -> Record:
    """What the ledger keeps of a request for the engine, of whatever version.

    Raises:
        ValueError: a newer version wrote it, or it is none.
    """
    kept = request.record
    if "version" not in kept:
        kept = upgraded(kept, request.commit, request.revert)
    return Record.model_validate_json(canonical(kept))


@dataclass(frozen=True)
class PlannedPart:
    """One driver's share, as it was planned."""

    delivery: str
    place: str
    stage: int
    driver: Driver
    context: Context
    share: Share
    prepared: Prepared

    @property
    def key(self) -> tuple[int, str, str]:
        """Which part of its request it is; the same as of its record."""
        return self.stage, self.delivery, self.place

    @property
    def shown(self) -> Part:
        """The part as the effect has it."""
        return Part(driver=self.delivery, place=self.place, stage=self.stage, changes=self.prepared.changes)


@dataclass(frozen=True)
class PlannedStage:
    """One commit, and the parts that it makes live."""

    number: int
    before: Tree
    edit: Edit
    parts: tuple[PlannedPart, ...]


@dataclass(frozen=True)
class Planned:
    """A whole change as it was planned on one head of the branch."""

    effect: Effect
    stages: tuple[PlannedStage, ...]

    @property
    def parts(self) -> tuple[PlannedPart, ...]:
        """The parts of all stages, in order."""
        return tuple(part for stage in self.stages for part in stage.parts)

    @property
    def drift(self) -> tuple[Drift, ...]:
        """The differences that are left alone."""
        return tuple(one for part in self.parts for one in part.prepared.drift)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know beside the changes, and which files could not be read."""
        notes = tuple(note for part in self.parts for note in part.prepared.notes)
        unread = list(self.stages[0].before.broken.values()) if self.stages else []
        if not unread:
            return notes
        more = f" And {len(unread) - _MAX_UNREAD} more." if len(unread) > _MAX_UNREAD else ""
        return (*notes, f"not read: {' '.join(unread[:_MAX_UNREAD])}{more}")

    @property
    def keys(self) -> frozenset[str]:
        """The locks that the effect asks for: every target and every file."""
        targets = {change.target.key for change in self.effect.changes}
        return frozenset(targets | {f"file|{file.path}" for file in self.effect.files})


@dataclass
class Run:
    """A request being worked on. What must survive a restart is in `record`, which goes into the ledger.

    Attributes:
        begun: too late to cancel: the event that precedes the first write is recorded.
        on_branch: stages whose commit is known to be on the branch.
        applied: parts that a write of ours may have reached.
        approved: the plan at hand needs approvals, and those that are there carry it.
        fault: why it cannot be taken up at all.
        draft: the head that the first stage's commit was built on, and the commit; it is not on the branch.
        progress: how far it is, for people; nothing is decided by it.
    """

    request: Request
    record: Record
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    planned: Planned | None = None
    begun: bool = False
    on_branch: frozenset[int] = frozenset()
    applied: frozenset[tuple[int, str, str]] = frozenset()
    draft: tuple[str, str] | None = None
    cancelled: bool = False
    approved: bool = False
    fault: InfraError | None = None
    progress: str = "queued"

    @classmethod
    def of(cls, request: Request) -> Run:
        """A run for a request, new or from before a restart; with a `fault` where its record cannot be read."""
        record, fault = Record(), None
        try:
            record = record_of(request)
        except (TypeError, ValueError, LookupError):
            fault = InfraError("cannot-observe", "What it was about to write cannot be read any more.")
        run = cls(request, record, begun=request.state in _WRITING, fault=fault)
        if run.begun:
            # An interrupted stage without a commit had no commit to wait for, so its writes may have begun.
            done = request.state in _WRITING - {State.APPLYING}
            reached = [part.key for part in record.parts if done or record.stage(part.stage).commit is None]
            run.applied = frozenset(reached)
        return run

    @property
    def attended(self) -> bool:
        """Whether an attending session made it for the asker: then both must be allowed to."""
        return self.request.attendant is not None

    @property
    def plan(self) -> Planned:
        """The plan, once there is one."""
        if self.planned is None:
            msg = f"{self.request.id} is not planned yet"
            raise RuntimeError(msg)
        return self.planned

    @property
    def commit(self) -> str | None:
        """The newest commit of ours that is known to be on the branch."""
        return next((self.record.stage(n).commit for n in sorted(self.on_branch, reverse=True)), None)

    @property
    def revert(self) -> str | None:
        """The last revert of ours."""
        return next((stage.revert for stage in self.record.stages if stage.revert), None)

    @property
    def wrote(self) -> bool:
        """Whether a write to some place may have happened."""
        return bool(self.applied)

    @property
    def targets(self) -> list[str]:
        """What was noted as about to be written, as people write it."""
        return [str(one.target) for part in self.record.parts for one in part.written]

    def say(self, progress: str) -> None:
        """Tell how far it is, to whoever looks."""
        self.progress = progress

    def reach(self, parts: Iterable[tuple[int, str, str]]) -> None:
        """Note that a write may have reached these parts."""
        self.applied |= frozenset(parts)

    def note(self, part: PlannedPart) -> None:
        """Note in the record what a part is about to write; the first note of a target stands."""
        known = self.record.part(part.key) or PartRecord(
            driver=part.delivery,
            place=part.place,
            where=part.driver.where,
            stage=part.stage,
            on_failure=part.prepared.on_failure,
            timeout=part.prepared.timeout,
        )
        self.record = self.record.with_part(known.adding(part.prepared.writes))

    def reset(self) -> None:
        """Nothing was recorded as begun, let alone written: as it was before it was to begin."""
        self.begun = False
        self.record = self.record.update(digest=None, approved=None, stages=(), parts=())
