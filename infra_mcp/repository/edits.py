"""An action's change of the repository as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, TypeAdapter

from infra_mcp.model.digest import canonical
from infra_mcp.model.effect import FieldPath
from infra_mcp.model.names import Frozen
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.model.rrset import RRset
from infra_mcp.model.target import Target
from infra_mcp.repository.partial import item_keys
from infra_mcp.repository.value import Tree


class SetValue(Frozen):
    """One value set in one document of one file; enough to make it again on another head, and to undo it."""

    kind: Literal["set"] = "set"
    path: str
    document: int = 0  # counted from zero; finds it again where it holds no object
    ref: ObjectRef | None = None  # the object in the document; finds it again wherever it is by then
    field: FieldPath
    inside: FieldPath | None = None  # the field in the YAML text that `field` holds
    before: JsonValue = None  # None: it was absent
    after: JsonValue = None  # None removes it

    def inverted(self) -> SetValue:
        """The edit that undoes this one. An item is found by what identifies it after this one."""
        update: dict[str, Any] = {"before": self.after, "after": self.before}
        if self.inside is None:
            update["field"] = _field_after(self.field, self.before, self.after)
        else:
            update["inside"] = _field_after(self.inside, self.before, self.after)
        return self.model_copy(update=update)

    def __str__(self) -> str:
        """The object or file, for messages."""
        return str(self.ref) if self.ref else self.path


def _field_after(field: FieldPath, before: JsonValue, after: JsonValue) -> FieldPath:
    """The path to a field once it holds another value: the value may be what its list item is identified by."""
    *above, last = field or ("",)
    if before is None or after is None or not above:
        return field
    if isinstance(last, dict):
        return (*above, item_keys(after, tuple(last)) or last)
    item = above[-1]
    if isinstance(last, str) and isinstance(item, dict) and last in item:
        return (*above[:-1], {**item, last: after}, last)
    return field


class PutFile(Frozen):
    """A new file; its content is the tree's."""

    kind: Literal["put"] = "put"
    path: str


class DeleteFile(Frozen):
    """A deleted file; an undo restores its `content`."""

    kind: Literal["delete"] = "delete"
    path: str
    content: str


class SetRecord(Frozen):
    """One record set of a zone, set in the file that holds the zone's records."""

    kind: Literal["record"] = "record"
    path: str
    zone: str
    before: RRset | None  # None: there was none
    after: RRset | None  # None removes it
    comment: str = ""  # above a new name, where the file's names have comments
    key: str = ""  # of the ConfigMap in the file whose value is the zone file; empty where the file itself is

    def inverted(self) -> SetRecord:
        """The edit that undoes this one."""
        return self.model_copy(update={"before": self.after, "after": self.before})

    def __str__(self) -> str:
        """The record, for messages."""
        one = self.after or self.before
        return f"{one.name} {one.type} of {self.zone}" if one else self.zone


FileEdit = SetValue | SetRecord | PutFile | DeleteFile  # one change of one file
_EDITS: TypeAdapter[tuple[FileEdit, ...]] = TypeAdapter(tuple[Annotated[FileEdit, Field(discriminator="kind")], ...])


class Location(Frozen):
    """A place that an edit is about, changed or not. Without a field it is the whole document."""

    path: str
    document: int = 0
    at: tuple[str | int, ...] = ()  # where in the document, if that is a List
    field: FieldPath = ()
    inside: FieldPath | None = None  # the field in the YAML text that `field` holds


class Beside(Frozen):
    """Work that leaves nothing in the repository: an object ensured without a file, a copy of a secret, a restart."""

    driver: str
    target: Target  # its `place` is where the driver works
    work: str  # its name, which the driver knows
    given: dict[str, JsonValue] = Field(default_factory=dict)  # its arguments


@dataclass(frozen=True)
class Goal:
    """The desired end of a change, and how long it may take."""

    title: str  # the subject of the commit
    subject: str = ""  # what runs then, for the ack: `docs 0.13.4`
    done: str = ""  # what was done with it, for the ack, where nothing new runs: `restarted`
    on_failure: Literal["rollback", "hold"] = "hold"  # restore the former state, or leave it for people to look at
    grace: float = 30.0  # seconds that a temporary cause is tolerated
    timeout: float = 60.0  # seconds in all, counted from the last write


class InstanceChange(Frozen):
    """The instance of an app that an edit is about, and its version before and after."""

    app: str
    environment: str | None  # None where it has only one
    units: tuple[str, ...]  # what it consists of, for people: `HelmRelease media/jellyfin`
    delivery: str  # how it becomes live
    entries: tuple[tuple[str, str], ...] = ()  # the root of each delivery of it, and what delivers it
    former: str = ""
    version: str = ""


@dataclass(frozen=True)
class Edit:
    """An action's change of the repository in one commit."""

    tree: Tree  # the repository with the change
    goal: Goal
    changes: tuple[FileEdit, ...] = ()  # the change as data
    addressed: tuple[Location, ...] = ()  # every location that it is about, changed or not
    beside: tuple[Beside, ...] = ()
    instance: InstanceChange | None = None  # the instance of an app that it is about
    notes: tuple[str, ...] = ()  # remarks for the reader of the plan: what stays as it is, what moves along


def keep(changes: Sequence[FileEdit]) -> tuple[JsonValue, ...]:
    """The changes as a request's record keeps them."""
    return tuple(_EDITS.dump_python(tuple(changes), mode="json"))


def kept(values: Sequence[JsonValue]) -> tuple[FileEdit, ...]:
    """The changes as `keep` gave them. Those of the first edition were all set values, without a kind."""
    return _EDITS.validate_json(canonical([{"kind": "set"} | one if isinstance(one, dict) else one for one in values]))
