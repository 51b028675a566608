"""The record sets that a share of an edit is about, and what is recorded of a write to one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from infra_mcp.clients.dns.update import Swap
from infra_mcp.drivers.base import Share
from infra_mcp.errors import InfraError
from infra_mcp.model.digest import canonical
from infra_mcp.model.names import Frozen
from infra_mcp.model.outcome import Written
from infra_mcp.model.rrset import RRset, same
from infra_mcp.model.target import Target
from infra_mcp.policy.policy import Policy
from infra_mcp.repository.rebase import changed
from infra_mcp.repository.value import Tree
from infra_mcp.repository.zones.edit import records

Key = tuple[str, str]  # a record set's name and type
_NAMED = 5  # records in a message


@dataclass(frozen=True)
class Desired:
    """One record set that the change is about."""

    name: str
    type: str
    git: RRset | None  # as the repository had it before
    wanted: RRset | None  # as it has it now; None: it is to be removed

    @property
    def key(self) -> Key:
        """Its name and type."""
        return self.name, self.type


def in_share(policy: Policy, zone: str, share: Share) -> list[Desired]:
    """The record sets of a zone that are addressed, and those that the edit changes, by name and type.

    Raises:
        InfraError: `manifest-invalid`: a file of the zone cannot be read.
    """
    files = [path for path in changed(share.before, share.after) if policy.zone_file_of(path) == zone]
    named = [one for one in share.addressed if policy.zone_file_of(one.path) == zone]
    keys: set[Key] = {(str(one.field[0]), str(one.field[1])) for one in named if len(one.field) == 2}  # noqa: PLR2004
    paths = sorted({*files, *(one.path for one in named)})
    zone_key = policy.zones[zone].key or ""
    before, after = (_read(tree, paths, zone, zone_key) for tree in (share.before, share.after))
    keys |= {key for key in before.keys() | after.keys() if not same(before.get(key), after.get(key))}
    return [Desired(*key, before.get(key), after.get(key)) for key in sorted(keys) if key[1] != "SOA"]


def _read(tree: Tree, paths: list[str], zone: str, key: str) -> dict[Key, RRset]:
    return {one.key: one for path in paths for one in records(tree, path, zone, key=key)}


def require_alike(
    what: str, path: str, here: Mapping[Key, RRset], there: Mapping[Key, RRset], swaps: Iterable[Swap]
) -> None:
    """Require that what is published has the records of the repository, but for those that a change is about.

    Args:
        what: that is published.
        path: the file of the repository.
        here: the records of the repository.
        there: those that are published.
        swaps: the change.

    Raises:
        InfraError: `not-in-cluster`: they differ in more.
    """
    keys = sorted((here.keys() | there.keys()) - {(one.name, one.type) for one in swaps})
    others = [" ".join(key) for key in keys if key[1] != "SOA" and not same(here.get(key), there.get(key))]
    if others:
        named = ", ".join(others[:_NAMED]) + (", …" if len(others) > _NAMED else "")
        message = f"{what} differs from {path} in more than this change: {named}."
        raise InfraError("not-in-cluster", message, next_step="Bring both together by hand first.")


def target_of(zone: str, key: Key) -> Target:
    """A record set as plans name it."""
    return Target(system="dns", place=zone, scope=zone, kind=key[1], name=key[0])


class Left(Frozen):
    """One record set as we wrote it, from a request's record: what it takes to recognise our write and to undo it."""

    name: str
    type: str
    before: RRset | None
    after: RRset | None
    # The mark of ownership, where policy wants one: the texts at its name before, and whether our write added ours.
    marked: bool = False

    @classmethod
    def of(cls, written: Written) -> Left:
        """The record set of one recorded write."""
        kept: Any = written.undo
        target = written.target
        return cls.model_validate_json(canonical({**kept, "name": target.name, "type": target.kind}))

    @property
    def key(self) -> Key:
        """Its name and type."""
        return self.name, self.type

    def undo(self) -> dict[str, Any]:
        """What the record of the write keeps."""
        return self.model_dump(mode="json", exclude={"name", "type"})
