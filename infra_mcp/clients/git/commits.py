"""Builds a commit beside the working tree: blobs, trees, the commit. No index, and no ref moves."""

from __future__ import annotations

from collections.abc import Mapping

from infra_mcp.clients.git.objects import SYMLINK, TREE, Entry, Objects
from infra_mcp.clients.git.runner import Runner
from infra_mcp.clients.git.writer import Writer
from infra_mcp.errors import InfraError
from infra_mcp.text import quoted

IDENTITY = ("infra-mcp", "infra-mcp@localhost")
MAX_PATH, LONGEST_NAME = 1000, 255


def check_path(path: str) -> None:
    """Refuse a path that could leave the tree, reach into git's own files, or be read as something else.

    Raises:
        InfraError: `git-failed`, naming the path.
    """
    parts = path.split("/")
    bad = (
        len(path) > MAX_PATH
        or not path.isprintable()
        or "\\" in path
        or any(part in ("", ".", "..") or len(part.encode()) > LONGEST_NAME for part in parts)
        or any(part.lower().startswith((".git", "git~")) for part in parts)
    )
    if bad:
        raise InfraError("git-failed", f"{quoted(path, 120)} is no path that may be written in the repository.")


def build(
    runner: Runner, objects: Objects, base: str, changes: Mapping[str, bytes | None], *, message: str, when: int
) -> str:
    """Make the commit object; see `Git.build_commit`."""
    present = {path: replaced(objects, base, path) for path in sorted(changes)}
    for path, entry in present.items():
        if entry is None and changes[path] is None:
            raise InfraError("git-failed", f"{path} cannot be deleted: it is not in commit {base[:12]}.")
    # Three children, started together: each costs more to start than to use.
    with Writer(runner) as writer:
        written = writer.store({path: data for path, data in changes.items() if data is not None})
        files = {path: _entry(entry, written.get(path)) for path, entry in present.items()}
        root = objects.resolve(f"{base}^{{tree}}")
        tree = _folder(objects, writer, root, files) or writer.tree(())
        if tree == root:
            raise InfraError("git-failed", "The commit would change nothing.")
        return writer.commit(_commit(tree, base, message, when))


def _entry(present: Entry | None, oid: str | None) -> Entry | None:
    """The file as it will be: an existing one keeps its mode; None is gone."""
    return None if oid is None else Entry(present.mode if present else "100644", oid)


def _folder(objects: Objects, writer: Writer, tree: str | None, files: Mapping[str, Entry | None]) -> str | None:
    """The folder's tree with these files changed; None when nothing is left in it."""
    entries = objects.tree(tree) if tree else {}
    deeper: dict[str, dict[str, Entry | None]] = {}
    for path, entry in files.items():
        name, slash, rest = path.partition("/")
        if slash:
            deeper.setdefault(name, {})[rest] = entry
        elif entry is None:
            entries.pop(name, None)
        else:
            entries[name] = entry
    for name, below in deeper.items():
        made = _folder(objects, writer, entries[name].oid if name in entries else None, below)
        if made is None:
            entries.pop(name, None)
        else:
            entries[name] = Entry(TREE, made)
    return writer.tree(entries.items()) if entries else None


def _commit(tree: str, base: str, message: str, when: int) -> bytes:
    """A commit object's bytes, in the form `git commit-tree` writes."""
    name, address = IDENTITY
    who = f"{name} <{address}> {when} +0000"
    return f"tree {tree}\nparent {base}\nauthor {who}\ncommitter {who}\n\n{message}".encode()


def replaced(objects: Objects, base: str, path: str) -> Entry | None:
    """The file a change replaces; None for a new one.

    Raises:
        InfraError: `git-failed`, unless the path may be written and leads through folders only, to a file or nothing.
    """
    check_path(path)
    parts = path.split("/")
    for depth in range(1, len(parts)):
        parent = "/".join(parts[:depth])
        entry = objects.lookup(base, parent)
        if entry is None:
            return None
        if entry.mode != TREE:
            what = "a symlink" if entry.mode == SYMLINK else "no folder"
            raise InfraError("git-failed", f"{path} cannot be written: {parent} is {what} in the repository.")
    entry = objects.lookup(base, path)
    if entry is not None and not entry.mode.startswith("100"):
        what = {SYMLINK: "a symlink", TREE: "a folder"}.get(entry.mode, "a submodule")
        raise InfraError("git-failed", f"{path} cannot be written: it is {what} in the repository.")
    return entry
