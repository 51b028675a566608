"""A change of the repository as data: what an action edits, and what it is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, Union

from pydantic import Field, JsonValue, TypeAdapter

from infra_mcp.model.digest import canonical
from infra_mcp.model.effect import FieldPath
from infra_mcp.model.names import Frozen
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.model.target import Target
from infra_mcp.repository.value import Tree


class SetValue(Frozen):
    """One value set in one document of one file; enough to make it again on another head, and to undo it.

    Args:
        path: the file.
        document: which of its documents, counted from zero; how it is found again where it holds no object.
        ref: the object that the document holds: how it is found again, wherever it lies by then.
        field: which value; `after` None takes it out, `before` None means that it was not there.
    """

    kind: Literal["set"] = "set"
    path: str
    document: int = 0
    ref: ObjectRef | None = None
    field: FieldPath
    before: JsonValue = None
    after: JsonValue = None

    def inverted(self) -> SetValue:
        """The edit that takes this one back."""
        return self.model_copy(update={"before": self.after, "after": self.before})

    def __str__(self) -> str:
        """What it is about, for messages."""
        return str(self.ref) if self.ref else self.path


class PutFile(Frozen):
    """A file that was not there before; its content is the tree's."""

    kind: Literal["put"] = "put"
    path: str


class DeleteFile(Frozen):
    """A file taken away; `content` is what an undo puts back."""

    kind: Literal["delete"] = "delete"
    path: str
    content: str


FileEdit = Annotated[Union[SetValue, PutFile, DeleteFile], Field(discriminator="kind")]  # noqa: UP007 - pydantic's form
_EDITS: TypeAdapter[tuple[SetValue | PutFile | DeleteFile, ...]] = TypeAdapter(tuple[FileEdit, ...])


class Location(Frozen):
    """A place that an edit is about, changed or not: `path#field`. Without a field it is the whole document."""

    path: str
    document: int = 0
    at: tuple[str | int, ...] = ()  # where in the document, if that is a List
    field: FieldPath = ()


class Beside(Frozen):
    """Work that leaves nothing in the repository: an object ensured without a file, a copy of a secret, a restart.

    Args:
        driver: whose work it is.
        target: what it is about; its `place` is where the driver works.
        work: which work; the driver knows.
        given: what the work needs to know.
    """

    driver: str
    target: Target
    work: str
    given: dict[str, JsonValue] = Field(default_factory=dict)


@dataclass(frozen=True)
class Goal:
    """What is to be true in the end, and how long that may take.

    Args:
        title: the subject of the commit.
        subject: of what the ack says that it runs: `docs 0.13.4`.
        done: what the ack says was done with it, where it is not brought to run something: `restarted`.
        on_failure: put back what was, or leave it for people to look at.
        grace: seconds that a cause which may pass is borne.
        timeout: seconds in all, counted from the last write.
    """

    title: str
    subject: str = ""
    done: str = ""
    on_failure: Literal["rollback", "hold"] = "hold"
    grace: float = 30.0
    timeout: float = 60.0


@dataclass(frozen=True)
class Edit:
    """What an action changes in the repository in one commit, and what it is about.

    Args:
        tree: the repository with the change made.
        goal: what is to be true then.
        changes: the change as data.
        addressed: every location that it is about, also those that say already what is asked.
        beside: work without a file.
    """

    tree: Tree
    goal: Goal
    changes: tuple[SetValue | PutFile | DeleteFile, ...] = ()
    addressed: tuple[Location, ...] = ()
    beside: tuple[Beside, ...] = field(default=())


def keep(changes: Sequence[SetValue | PutFile | DeleteFile]) -> tuple[JsonValue, ...]:
    """The changes as a request's record keeps them."""
    return tuple(_EDITS.dump_python(tuple(changes), mode="json"))


def kept(values: Sequence[JsonValue]) -> tuple[SetValue | PutFile | DeleteFile, ...]:
    """The changes as `keep` gave them. Those of the first edition were all values set, and said no kind."""
    return _EDITS.validate_json(canonical([{"kind": "set"} | one if isinstance(one, dict) else one for one in values]))
