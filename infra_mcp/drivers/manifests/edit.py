"""What the action changes in the repository: new files for new objects, one-hunk edits for those that are there."""

from __future__ import annotations

from collections.abc import Iterable

from anyio import to_thread

from infra_mcp.drivers.manifests.prepared import Task, Wanted, differences
from infra_mcp.errors import InfraError
from infra_mcp.model.plan import FileChange, TreeEdit
from infra_mcp.repository.commit import diff
from infra_mcp.repository.edit import apply_edits
from infra_mcp.repository.layout import place
from infra_mcp.repository.render import dump
from infra_mcp.repository.value import Tree

__all__ = ["edited"]


async def edited(
    task: Task, tree: Tree, wanted: Iterable[Wanted]
) -> tuple[Tree, tuple[TreeEdit, ...], tuple[FileChange, ...]]:
    """The tree in which every wanted object says what it should, the edits that led there, and the files' diffs.

    Files may be as large as people make them: they are edited and compared in a worker thread.

    Raises:
        InfraError: `ambiguous-object`, `manifest-invalid`, as finding and editing do.
    """
    return await to_thread.run_sync(_edited, task, tree, tuple(wanted))


def _edited(
    task: Task, tree: Tree, wanted: tuple[Wanted, ...]
) -> tuple[Tree, tuple[TreeEdit, ...], tuple[FileChange, ...]]:
    base = tree
    edits: list[TreeEdit] = []
    for want in wanted:
        if not want.in_git:
            continue
        located = tree.find(want.ref)
        if located is None:
            tree = _added(task, tree, want)
            continue
        own = [
            TreeEdit(path=located.path, ref=want.ref, field=path, before=before, after=after)
            for path, before, after, _ in differences(located.object, want.sets)
        ]
        tree = apply_edits(tree, own)  # at once, for values that share an anchor
        edits += own
    return tree, tuple(edits), _file_changes(base, tree)


def _added(task: Task, tree: Tree, want: Wanted) -> Tree:
    path = place(task.policy.tree.new, task.policy.tree.roots[0].path, want.sets)
    if tree.read(path) is not None:
        what = f"{want.ref} belongs into {path}, and that file is there with other content."
        raise InfraError("manifest-invalid", what, next_step="Rename that file, or change [tree] new in infra.toml.")
    return tree.write(path, dump(want.sets))


def _file_changes(base: Tree, tree: Tree) -> tuple[FileChange, ...]:
    """Each changed file with its diff, by path."""
    return tuple(
        FileChange(
            path=path,
            operation="create" if base.oid(path) is None else "edit",
            before=base.oid(path),
            diff=diff(path, base.read(path), content),
        )
        for path, content in sorted(tree.changed.items())
    )
