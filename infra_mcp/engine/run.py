"""A request that is being worked on, its plan, and what the steps of the pipeline work with."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

import anyio

from infra_mcp.actions.base import Past
from infra_mcp.actions.workload import homes
from infra_mcp.clients.forge import Forge
from infra_mcp.clients.git import Git
from infra_mcp.drivers.base import Context, Driver, Prepared, Share
from infra_mcp.engine.places import Places
from infra_mcp.engine.repositories import Repositories
from infra_mcp.errors import InfraError
from infra_mcp.ledger import Ledger
from infra_mcp.ledger.migrations.first_edition import upgraded
from infra_mcp.model.actions import ActionModel, RollbackOf
from infra_mcp.model.digest import canonical
from infra_mcp.model.effect import Effect, Reached
from infra_mcp.model.judged import Judged
from infra_mcp.model.record import PartRecord, ProposalRecord, Record
from infra_mcp.model.request import Request, State
from infra_mcp.policy.guard.unrendered import unrendered
from infra_mcp.policy.policy import Policy
from infra_mcp.repository.builds import Builds
from infra_mcp.repository.edits import Edit
from infra_mcp.repository.load import load
from infra_mcp.repository.value import Tree

_MAX_UNREAD = 5  # files named in a note
_WRITING = {State.APPLYING, State.VERIFYING, State.ROLLING_BACK, State.REVERTING}


def record_of(request: Request) -> Record:
    """The record that the ledger keeps of a request, of any version.

    Raises:
        ValueError: a newer version wrote it, or it is invalid.
    """
    kept = request.record
    if "version" not in kept:
        kept = upgraded(kept, request.commit, request.revert)
    return Record.model_validate_json(canonical(kept))


@dataclass(frozen=True)
class PlannedPart:
    """One driver's share, as planned."""

    delivery: str
    place: str
    stage: int
    driver: Driver
    context: Context
    share: Share
    prepared: Prepared

    @property
    def key(self) -> tuple[int, str, str]:
        """Which part of its request it is: `PartRecord.key`."""
        return self.stage, self.delivery, self.place


@dataclass(frozen=True)
class PlannedStage:
    """One commit, and the parts that it makes live."""

    number: int
    before: Tree
    edit: Edit
    parts: tuple[PlannedPart, ...]


@dataclass(frozen=True)
class Planned:
    """A whole change, planned on one head of the branch."""

    effect: Effect
    stages: tuple[PlannedStage, ...]
    unread: tuple[str, ...] = ()  # why files that say an object's kind and name cannot be read
    others: tuple[str, ...] = ()  # deliveries that it reaches and that this version does not carry out

    @property
    def parts(self) -> tuple[PlannedPart, ...]:
        """The parts of all stages, in order."""
        return tuple(part for stage in self.stages for part in stage.parts)

    @property
    def notes(self) -> list[str]:
        """What a reader should know beside the changes, and which files could not be read."""
        edits = [stage.edit for stage in self.stages]
        notes = [note for edit in edits for note in edit.notes]
        notes += [note for part in self.parts for note in part.prepared.notes]
        notes += _beside(self.effect.reach, {edit.instance.app for edit in edits if edit.instance})
        notes += map(str, unrendered(self.effect))
        notes += [f"{name} delivers it, which this version does not carry out as yet" for name in self.others]
        if self.unread:
            more = f" And {len(self.unread) - _MAX_UNREAD} more." if len(self.unread) > _MAX_UNREAD else ""
            notes.append(f"not read: {' '.join(self.unread[:_MAX_UNREAD])}{more}")
        return notes

    @property
    def keys(self) -> frozenset[str]:
        """The lock keys of the effect: every target and every file."""
        targets = {change.target.key for change in self.effect.changes}
        return frozenset(targets | {f"file|{file.path}" for file in self.effect.files})


def _beside(reached: Iterable[Reached], apps: set[str]) -> list[str]:
    """What moves along with the app: other apps of its own build, and other deliveries."""
    notes = []
    for one in reached:
        others = ", ".join(sorted(set(one.apps) - apps)) if one.targets else ""
        if not one.own:
            notes.append(f"{one.by or one.delivery} of {one.root} is reached, too{others and f': {others}'}")
        elif others and apps:
            notes.append(f"{others} moves along: the same place decides for it in {one.root}")
    return notes


@dataclass
class Run:
    """A request being worked on. What must survive a restart is in `record`, which goes into the ledger."""

    request: Request
    record: Record
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    past: Past | None = None  # the request that it rolls back, once that is known
    planned: Planned | None = None
    begun: bool = False  # too late to cancel: the event that precedes the first write is recorded
    on_branch: frozenset[int] = frozenset()  # stages whose commit is known to be on the branch
    applied: frozenset[tuple[int, str, str]] = frozenset()  # parts that one of our writes may have reached
    # The head that the first stage's commit was built on, and the commit; it is not on the branch.
    draft: tuple[str, str] | None = None
    cancelled: bool = False
    approved: bool = False  # this plan needs approvals, and has them
    judged: Judged | None = None  # how its plan was decided, until that is recorded
    fault: InfraError | None = None  # why it cannot be continued at all
    progress: str = "queued"  # how far it is, for people; nothing depends on it
    outcome: State | None = None  # the end that was recorded; None while there is none

    @classmethod
    def of(cls, request: Request) -> Self:
        """A run for a request, new or from before a restart; with a `fault` where its record cannot be read."""
        run = cls(request, Record(), begun=request.state in _WRITING)
        try:
            run.record = record_of(request)
        except (TypeError, ValueError, LookupError):
            run.fault = InfraError("cannot-observe", "The record of what it was about to write cannot be read.")
        run.begun = run.begun or (request.state is State.PROPOSED and run.merged is not None)
        if run.begun and request.state is not State.PROPOSED:
            # An interrupted stage without a commit had no commit to wait for, so its writes may have begun.
            done, stage = request.state is not State.APPLYING, run.record.stage
            run.reach(part.key for part in run.record.parts if done or stage(part.stage).commit is None)
        return run

    @property
    def action(self) -> ActionModel:
        """The action as policy judges it: a rollback together with what it is about."""
        action = self.request.action
        return action if self.past is None else RollbackOf(request=self.past.request, of=self.past.action)

    @property
    def merged(self) -> ProposalRecord | None:
        """Its pull request, once that was merged."""
        proposal = self.record.proposal
        return proposal if proposal and proposal.merged else None

    @property
    def plan(self) -> Planned:
        """The plan, once there is one."""
        if self.planned is None:
            msg = f"{self.request.id} is not planned yet"
            raise RuntimeError(msg)
        return self.planned

    @property
    def commit(self) -> str | None:
        """Its newest commit that is known to be on the branch."""
        return next((self.record.stage(n).commit for n in sorted(self.on_branch, reverse=True)), None)

    @property
    def revert(self) -> str | None:
        """Its last revert."""
        return next((stage.revert for stage in self.record.stages if stage.revert), None)

    @property
    def targets(self) -> list[str]:
        """The targets in its record, as people write them."""
        return [str(one.target) for part in self.record.parts for one in part.written]

    def say(self, progress: str) -> None:
        """Say how far it is."""
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
            before=part.prepared.before,
        )
        self.record = self.record.with_part(known.adding(part.prepared.writes))

    def reset(self) -> None:
        """Go back to before the beginning: nothing was recorded as begun, and nothing written."""
        self.begun = False
        self.record = self.record.update(digest=None, approved=None, stages=(), parts=())


def utc() -> datetime:
    """The present."""
    return datetime.now(UTC)


def stamp(at: datetime) -> str:
    """A time as the ledger writes it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds")


async def tree_of(git: Git, policy: Policy, commit: str, place: str) -> Tree:
    """A repository at a commit; its objects are those below the roots of one cluster."""
    here = {root.path: policy.holds_objects_of(root, place) for root in reversed(policy.tree.roots)}
    of_objects = [path for path, holds in reversed(here.items()) if holds]
    plain = [path for path, holds in reversed(here.items()) if not holds]
    return (await load(git, commit, of_objects, place, plain)).homed(homes(policy, place))


@dataclass(frozen=True)
class Dependencies:
    """Connections and the policy; no state of any request."""

    ledger: Ledger
    repositories: Repositories
    places: Places
    policy: Callable[[], Policy]  # the policy in force now; raises when there is none
    now: Callable[[], datetime] = utc
    builds: Builds = field(default_factory=Builds)  # of kustomizations

    async def forge(self) -> Forge:
        """The forge that the policy in force names: see `Repositories.forge`."""
        return await self.repositories.forge(self.policy())

    @property
    def git(self) -> Git:
        """The repository that the policy in force writes to; `Upstream` where that is a remote's."""
        return self.repositories.of(self.policy())

    async def tree(self, policy: Policy, commit: str, place: str) -> Tree:
        """The infra repository at a commit; its objects are those below the roots of one cluster."""
        return await tree_of(self.git, policy, commit, place)

    async def save(self, run: Run, state: State, kind: str, data: dict[str, Any], **ids: str | None) -> None:
        """Record an event of a request with its record; `ids` are its commit, revert and effect digest."""
        kept = run.record.kept()
        await self.ledger.record(run.request.id, state, kind, data, record=kept, judged=run.judged, **ids)
        run.judged = None
