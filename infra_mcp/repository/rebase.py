"""Makes a planned change on another head, or reverts it there, and keeps the changes of others. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from infra_mcp.errors import InfraError, Moved
from infra_mcp.model.effect import FileChange
from infra_mcp.repository.commit import diff
from infra_mcp.repository.edit import apply_edits
from infra_mcp.repository.edits import FileEdit, PutFile, SetRecord, SetValue
from infra_mcp.repository.kustomization import is_kustomization
from infra_mcp.repository.value import Tree
from infra_mcp.repository.zones.edit import apply_records


def changed(before: Tree, after: Tree) -> dict[str, bytes | None]:
    """The new content, by path, of each file that differs between two trees on one base; None for a deleted one."""
    return {path: data for path, data in sorted(after.changed.items()) if data != before.read(path)}


def file_changes(before: Tree, after: Tree, stage: int) -> tuple[FileChange, ...]:
    """Each file that differs, with its diff, by path."""
    return tuple(
        FileChange(
            path=path,
            operation="delete" if data is None else "create" if before.read(path) is None else "edit",
            before=before.oid(path),
            diff=diff(path, before.read(path), data),
            stage=stage,
        )
        for path, data in changed(before, after).items()
    )


def rebase(before: Tree, after: Tree, head: Tree, read: Collection[str] = frozenset()) -> dict[str, bytes | None]:
    """The files to write on another commit than the one that a change was planned on.

    Args:
        before: the tree that the change was planned on.
        after: the same with the change.
        head: the tree to commit on.
        read: the files that its builds read.

    Raises:
        Moved: another commit changed one of its files, one that it builds from, or any kustomization (which could
            build from its files by now); or added one of its objects elsewhere.
    """
    files = changed(before, after)
    for path in sorted(before.entries.keys() | head.entries.keys()):
        matters = path in read or is_kustomization(path)
        if matters and before.oid(path) != head.oid(path) and head.read(path) != before.read(path):
            raise Moved(path)
    for path in files:
        if head.read(path) != before.read(path):
            raise Moved(path)
    for located in (one for path in files if before.read(path) is None for one in after.objects_of(path)):
        if head.find(located.ref) is not None:
            raise Moved(str(located.ref))
    return files


def revert(edits: Iterable[FileEdit], ours: Tree, head: Tree, commit: str) -> Mapping[str, bytes | None]:
    """The files to write on the present head to revert a commit's edits, one by one; changes of others stay.

    Args:
        edits: the edits of the commit.
        ours: the tree of that commit.
        head: the tree to commit on.
        commit: its id, for messages.

    Raises:
        InfraError: `undo-incomplete`, when someone changed the same values or files since.
    """
    undone: dict[str, bytes | None] = {}
    values, records = [], []
    for edit in edits:
        if isinstance(edit, SetValue):
            if edit.ref is not None and head.find(edit.ref) is None:
                raise InfraError("undo-incomplete", f"{edit} is no longer in the repository; commit {commit} stays.")
            values.append(edit.inverted())
        elif isinstance(edit, SetRecord):
            records.append(edit.inverted())
        elif isinstance(edit, PutFile):
            if head.read(edit.path) is not None:
                _same(edit.path, ours.read(edit.path), head, commit)
                undone[edit.path] = None
        elif head.read(edit.path) != edit.content.encode():
            _same(edit.path, None, head, commit)
            undone[edit.path] = edit.content.encode()
    try:
        back = apply_records(apply_edits(head, reversed(values)), reversed(records))
    except Moved as moved:
        what = f"{moved} was changed by someone else since; commit {commit} stays."
        raise InfraError("undo-incomplete", what) from moved
    return {**back.changed, **undone}


def _same(path: str, expected: bytes | None, head: Tree, commit: str) -> None:
    if head.read(path) != expected:
        raise InfraError("undo-incomplete", f"{path} was changed by someone else since commit {commit}.")
