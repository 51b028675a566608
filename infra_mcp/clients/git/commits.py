"""Builds a commit beside the working tree: blobs, a temporary index, a tree, a commit. No ref moves."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from infra_mcp.clients.git.objects import SYMLINK, TREE, Entry, Objects
from infra_mcp.clients.git.runner import Done, Runner, shown
from infra_mcp.errors import InfraError

__all__ = ["IDENTITY", "build", "check_path"]

IDENTITY = ("infra-mcp", "infra-mcp@localhost")
CHILDREN = 8  # hash-object processes at a time
LONGEST_PATH, LONGEST_NAME = 1000, 255
# A temporary index holds every path, whatever part of the tree the user has checked out.
FULL_INDEX = {"core.sparseCheckout": "false", "index.sparse": "false"}


def check_path(path: str) -> None:
    """Refuse a path that could leave the tree, reach into git's own files, or be read as something else.

    Raises:
        InfraError: `git-failed`, naming the path.
    """
    parts = path.split("/")
    bad = (
        len(path) > LONGEST_PATH
        or not path.isprintable()
        or "\\" in path
        or any(part in ("", ".", "..") or len(part.encode()) > LONGEST_NAME for part in parts)
        or any(part.lower().startswith((".git", "git~")) for part in parts)
    )
    if bad:
        raise InfraError("git-failed", f"'{shown(path)[:120]}' is no path that may be written in the repository.")


def build(
    runner: Runner, objects: Objects, base: str, changes: Mapping[str, bytes | None], *, message: str, when: int
) -> str:
    """Make the commit object; see `Git.build_commit`."""
    present = {path: _present(objects, base, path) for path in sorted(changes)}
    for path, entry in present.items():
        if entry is None and changes[path] is None:
            raise InfraError("git-failed", f"{path} cannot be deleted: it is not in commit {base[:12]}.")
    with tempfile.TemporaryDirectory(prefix="infra-mcp-") as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        reading = runner.start("read-tree", base, config=FULL_INDEX, env=index)
        try:
            written = _hash(runner, {path: data for path, data in changes.items() if data is not None})
        finally:
            read = runner.finish(reading)
        _require(read, "read-tree")
        lines = [_line(path, entry, written.get(path, "0" * len(base))) for path, entry in present.items()]
        data = "".join(lines).encode()
        runner.run("update-index", "-z", "--index-info", data=data, config=FULL_INDEX, env=index)
        tree = runner.run("write-tree", config=FULL_INDEX, env=index).out.decode().strip()
    if tree == objects.resolve(f"{base}^{{tree}}"):
        raise InfraError("git-failed", "The commit would change nothing.")
    name, address = IDENTITY
    date = f"{when} +0000"
    signature = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in
                 (("NAME", name), ("EMAIL", address), ("DATE", date))}  # fmt: skip
    made = runner.run("commit-tree", "--no-gpg-sign", "-p", base, "-F", "-", tree, data=message.encode(), env=signature)
    return made.out.decode().strip()


def _present(objects: Objects, base: str, path: str) -> Entry | None:
    """The file a change replaces, once it is sure that the path leads through folders only, to a file or to nothing."""
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


def _hash(runner: Runner, contents: Mapping[str, bytes]) -> dict[str, str]:
    """Write the blobs, several at a time, exactly as the bytes are: no filters, no line endings."""
    written: dict[str, str] = {}
    paths = list(contents)
    for start in range(0, len(paths), CHILDREN):
        window = paths[start : start + CHILDREN]
        children = [runner.start("hash-object", "-w", "--no-filters", "--stdin", feed=True) for _ in window]
        ended = [runner.finish(child, contents[path]) for path, child in zip(window, children, strict=True)]
        written |= {path: _require(done, "hash-object") for path, done in zip(window, ended, strict=True)}
    return written


def _require(done: Done, name: str) -> str:
    if done.code:
        raise InfraError("git-failed", f"git {name}: {done.why}.")
    return done.out.decode().strip()


def _line(path: str, entry: Entry | None, oid: str) -> str:
    """A record for `update-index --index-info`: mode 0 removes; an existing file keeps its mode."""
    mode = "0" if not oid.strip("0") else entry.mode if entry else "100644"
    return f"{mode} {oid}\t{path}\0"
