"""Whether a revision has the values of a change, whatever became of the commit that brought them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from infra_mcp.errors import InfraError, Moved
from infra_mcp.repository.edit import apply_edits
from infra_mcp.repository.edits import DeleteFile, FileEdit, PutFile, SetRecord, SetValue
from infra_mcp.repository.value import Tree
from infra_mcp.repository.zones.edit import apply_records


def lost(stages: Sequence[Sequence[FileEdit]], ours: Tree, revision: Tree) -> str:
    """The first place of a change that a revision does not have as the change left it; empty where it has them all.

    A squash, a rebase or a queue makes commits with other ids, and others may have changed the same files elsewhere; so
    each place is compared by itself: a value, a record set, or all of a file that was added.

    Args:
        stages: the edits of each commit of the change, in order; the last one of a place counts.
        ours: the tree of the last of these commits.
        revision: the tree that is asked about.
    """
    last = {_place(edit): edit for edits in stages for edit in edits}
    return next((str(_named(edit)) for edit in last.values() if not _has(edit, ours, revision)), "")


def _place(edit: FileEdit) -> object:
    if isinstance(edit, SetValue):
        return edit.path, edit.document, str(edit.field), str(edit.inside)
    if isinstance(edit, SetRecord):
        one = edit.after or edit.before
        return edit.path, edit.zone, one and one.key
    return edit.path


def _named(edit: FileEdit) -> object:
    return edit.path if isinstance(edit, PutFile | DeleteFile) else f"{edit.path} ({edit})"


def _has(edit: FileEdit, ours: Tree, revision: Tree) -> bool:
    """Whether making the edit again would change nothing."""
    if isinstance(edit, PutFile):
        return revision.read(edit.path) == ours.read(edit.path)
    if isinstance(edit, DeleteFile):
        return revision.read(edit.path) is None
    try:
        again = apply_edits(revision, [edit]) if isinstance(edit, SetValue) else apply_records(revision, [edit])
    except (Moved, InfraError):
        return False
    return all(data == revision.read(path) for path, data in again.changed.items())
