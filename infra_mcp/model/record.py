"""What a restart must know of a request: typed, versioned, and stored in its row of the ledger."""

from typing import Any, Literal, Self

from pydantic import JsonValue

from infra_mcp.model.approval import Need, Reviewed, Waiting
from infra_mcp.model.names import Frozen
from infra_mcp.model.outcome import Written


class Mark(Frozen):
    """One change of an approved effect, as digests. `exact` is None where only the desired state is known."""

    intent: str
    exact: str | None
    checked: str


class Approved(Frozen):
    """An approved effect, to compare the rest of it with: changes by target key, files by digest."""

    changes: dict[str, Mark]
    files: tuple[str, ...]


class StageRecord(Frozen):
    """One commit of a request: its edits, as `repository.edits` keeps them, its id, and that of its revert."""

    edits: tuple[JsonValue, ...] = ()
    commit: str | None = None  # may be on the branch; whether it is, git says
    revert: str | None = None


class PartRecord(Frozen):
    """One driver's share: where it works, what it was about to write, and how long we wait for it."""

    driver: str
    place: str  # the name of the place in policy
    where: str  # what that name meant when the request began; it must end there
    stage: int = 0  # the number of its commit
    on_failure: Literal["rollback", "hold"] = "hold"  # roll back, or leave it for people to look at
    # Recorded before the first write; the first record of a target stays, since it has the former state.
    written: tuple[Written, ...] = ()
    # What its driver must know of the state before, where others deliver; only the driver reads it.
    before: JsonValue = None
    timeout: float = 60.0  # seconds in which it must land, or its former state be back
    deadline: float | None = None  # seconds since the epoch, chosen once

    @property
    def key(self) -> tuple[int, str, str]:
        """Which part of its request it is."""
        return self.stage, self.driver, self.place

    def adding(self, written: tuple[Written, ...]) -> Self:
        """The same with more to write; what is recorded of a target stays."""
        known = {one.target.key for one in self.written}
        new = tuple(one for one in written if one.target.key not in known)
        return self.model_copy(update={"written": self.written + new})


class ProposalRecord(Frozen):
    """A pull request of a request: recorded before its branch is pushed, and again when the forge has named it."""

    branch: str
    heads: tuple[str, ...]  # the commits that we proposed, the newest last; people may have added others
    base: str  # the commit that the newest one was built on
    number: int | None = None  # None: the forge has not named it yet
    of: str = ""  # the request that opened it, where another waits with that for the same change
    url: str = ""
    until: str = ""  # when it expires
    merged: str | None = None  # the commit on the base branch that has it
    author: str = ""  # the account that opened it
    needs: tuple[Need, ...] = ()  # the approvals that people are to give there
    merged_by: str = ""
    merged_alone: bool = False  # by a bot, or by the forge itself
    merged_head: str = ""  # the commit that was proposed when it was merged
    reviews: tuple[Reviewed, ...] = ()  # of that commit and of earlier ones, as they were then
    edits: tuple[str, ...] = ()  # the commits that others added, for people

    def __str__(self) -> str:
        """What became of it, for people."""
        by = f" by {self.merged_by}" if self.merged_by else ""
        edits = f", with commits of others: {', '.join(self.edits)}" if self.edits else ""
        return f"{self.url} was merged{by}{edits}"

    @property
    def head(self) -> str:
        """The commit that we proposed last."""
        return self.heads[-1]


class Record(Frozen):
    """All that a restart must know of one request."""

    version: Literal[1] = 1
    # The time of its commits, seconds since the epoch, so that building one again gives the same id.
    when: int | None = None
    digest: str | None = None  # of the effect that it was begun on
    approved: Approved | None = None  # the effect that people approve: where rules want it, and of every proposal
    keys: tuple[str, ...] = ()  # the locks that it holds from its planning to its end
    stages: tuple[StageRecord, ...] = ()  # its commits, in order
    parts: tuple[PartRecord, ...] = ()  # its parts that may have written something, in order
    proposal: ProposalRecord | None = None  # the pull request with the change
    reversal: ProposalRecord | None = None  # the one that takes it back
    cause: dict[str, str] | None = None  # why it is rolled back
    former: float | None = None  # how long a rollback waits for the former state, seconds since the epoch
    awaiting: Waiting | None = None  # the approval that it waits for, or last waited for
    nonce: str = ""  # marks this request's bootstrap writes; it leaves the process in no other way
    trace: str = ""  # the span of the call that asked, as a `traceparent`, where calls are traced

    def kept(self) -> dict[str, Any]:
        """The JSON for the ledger."""
        return self.model_dump(mode="json", exclude=None if self.trace else {"trace"})

    def update(self, **values: Any) -> Self:  # noqa: ANN401 - the fields' own types
        """The same with other values."""
        return self.model_copy(update=values)

    def stage(self, number: int) -> StageRecord:
        """One of its stages; empty where it has not begun."""
        return self.stages[number] if number < len(self.stages) else StageRecord()

    def with_stage(self, number: int, **values: Any) -> Self:  # noqa: ANN401 - the fields' own types
        """The same with other values in one stage."""
        stages = [self.stage(at) for at in range(max(number + 1, len(self.stages)))]
        stages[number] = stages[number].model_copy(update=values)
        return self.update(stages=tuple(stages))

    def part(self, key: tuple[int, str, str]) -> PartRecord | None:
        """One of its parts, by `PartRecord.key`."""
        return next((one for one in self.parts if one.key == key), None)

    def with_part(self, part: PartRecord) -> Self:
        """The same with this part, in its place or as the last one."""
        parts = {one.key: one for one in self.parts} | {part.key: part}
        return self.update(parts=tuple(parts.values()))
