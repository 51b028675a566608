"""Finds a zone's records in a file of the repository, whichever form it has, and changes one record set."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from infra_mcp.errors import InfraError, Moved
from infra_mcp.model.rrset import RRset, same
from infra_mcp.repository.edits import Location, SetRecord
from infra_mcp.repository.nodes import Unreadable, compose, decode, values
from infra_mcp.repository.value import Tree
from infra_mcp.repository.zones import config_map, endpoints, master, octodns
from infra_mcp.repository.zones.fault import ZoneFault

_YAML = (".yaml", ".yml")


class _Form(NamedTuple):
    read: Callable[[bytes, str, str | None], list[RRset]]
    edited: Callable[[bytes, SetRecord], bytes]


def records(tree: Tree, path: str, zone: str, name: str | None = None, *, key: str = "") -> list[RRset]:
    """The record sets that a file gives to a zone, or to one name of it; none where the file is not there.

    Args:
        tree: the repository.
        path: the file.
        zone: the zone's name.
        name: only this one.
        key: of the ConfigMap in the file whose value is the zone file.

    Raises:
        InfraError: `manifest-invalid`, naming the file.
    """
    data = tree.read(path)
    if data is None:
        return []
    try:
        return config_map.read(data, zone, key, name) if key else _form(path, data).read(data, zone, name)
    except Unreadable as error:
        raise InfraError("manifest-invalid", f"{path}, line {error.line}: {error.why}.") from None
    except ZoneFault as fault:
        raise InfraError("manifest-invalid", f"{path}: {fault}.") from None


def location_of(edit: SetRecord) -> Location:
    """The place that an edit of a record is about: its file, and in it the record's name and type."""
    one = edit.after or edit.before
    return Location(path=edit.path, field=one.key if one else ())


def apply_records(tree: Tree, edits: Iterable[SetRecord]) -> Tree:
    """The tree with record sets changed, each wherever it is in its file now.

    Raises:
        Moved: a record set differs from the one that its edit was planned on.
        InfraError: `manifest-invalid`, naming the file.
    """
    for edit in edits:
        one = edit.after or edit.before
        if one is None:
            continue
        there = records(tree, edit.path, edit.zone, one.name, key=edit.key)
        now = next((held for held in there if held.type == one.type), None)
        if _equal(now, edit.after):
            continue
        if not _equal(now, edit.before):
            raise Moved(f"{edit.path}: {one.name} {one.type}")
        tree = tree.write(edit.path, _edited(tree.read(edit.path) or b"", edit))
    return tree


def _equal(one: RRset | None, other: RRset | None) -> bool:
    return same(one, other) and (one is None or other is None or one.ttl == other.ttl)


def _form(path: str, data: bytes) -> _Form:
    """The form of a file: by its suffix, and whether it holds a cluster's objects."""
    if not path.endswith(_YAML):
        return _Form(master.read, lambda data, edit: master.edited(data, edit.zone, edit.before, edit.after))
    documents = values(compose(decode(data))) if data.strip() else []
    kinds = {one.get("kind") for one in documents if isinstance(one, dict) and "apiVersion" in one}
    if endpoints.KIND in kinds:
        return _Form(endpoints.read, lambda data, edit: endpoints.edited(data, edit.zone, edit.before, edit.after))
    return _Form(
        octodns.read, lambda data, edit: octodns.edited(data, edit.zone, edit.before, edit.after, edit.comment)
    )


def _edited(data: bytes, edit: SetRecord) -> bytes:
    try:
        if edit.key:
            return config_map.edited(data, edit.zone, edit.key, edit.before, edit.after)
        return _form(edit.path, data).edited(data, edit)
    except Unreadable as error:
        raise InfraError("manifest-invalid", f"{edit.path}, line {error.line}: {error.why}.") from None
    except ZoneFault as fault:
        raise InfraError("manifest-invalid", f"{edit.path}: {fault}.") from None
