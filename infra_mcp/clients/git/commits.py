"""Commits: built beside the working tree, without an index and without moving a ref, and read with their trailers."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from infra_mcp.clients.git.objects import GITLINK, SYMLINK, TREE, Entry, Objects, ref_of
from infra_mcp.clients.git.runner import READ_SECONDS, Batch
from infra_mcp.clients.git.signing import Committer
from infra_mcp.errors import InfraError
from infra_mcp.text import one_line, quoted

MAX_PATH, MAX_NAME, MAX_AUTHOR = 1000, 255, 200
_AUTHOR = re.compile(r"^author (.*>)", re.MULTILINE)
_TRAILER = re.compile(r"([A-Za-z0-9-]+)\s*:\s*(.*)")


class Logged(NamedTuple):
    """A commit, the author it names, and the trailers of its message."""

    commit: str
    author: str
    trailers: dict[str, str]


def build(
    objects: Objects, base: str, changes: Mapping[str, bytes | None], message: str, when: int, committer: Committer
) -> str:
    """Write the commit object; see `Git.build_commit`."""
    present = {path: replaced(objects, base, path) for path in sorted(changes)}
    for path, entry in present.items():
        if entry is None and changes[path] is None:
            raise InfraError("git-failed", f"{path} cannot be deleted: it is not in commit {base[:12]}.")
    # Each child costs more to start than to use, so they start together. git checks what they write: `mktree` refuses a
    # tree of objects that do not exist, `hash-object` a malformed commit.
    with (
        tempfile.TemporaryDirectory(prefix="infra-mcp-") as folder,
        closing(objects.runner.batch("hash-object", "-w", "--no-filters", "--stdin-paths")) as blobs,
        closing(objects.runner.batch("mktree", "-z", "--batch")) as trees,
        closing(objects.runner.batch("hash-object", "-t", "commit", "-w", "--stdin")) as commits,
    ):
        writer = _Writer(objects, Path(folder), blobs, trees, commits)
        written = writer.store({path: data for path, data in changes.items() if data is not None})
        # An existing file keeps its mode; None deletes it.
        modes = {path: entry.mode if entry else "100644" for path, entry in present.items()}
        files = {path: Entry(mode, written[path]) if path in written else None for path, mode in modes.items()}
        root = objects.resolve(f"{base}^{{tree}}")
        tree = writer.folder(root, files) or writer.tree({})
        if tree == root:
            raise InfraError("git-failed", "The commit would change nothing.")
        return writer.commit(committer.commit(f"tree {tree}\nparent {base}\n", message, when))


def replaced(objects: Objects, base: str, path: str) -> Entry | None:
    """The file that a change replaces; None for a new one.

    Raises:
        InfraError: `git-failed`, unless the path may be written and leads through folders only, to a file or nothing.
    """
    _check_path(path)
    parts = path.split("/")
    for depth in range(1, len(parts)):
        parent = "/".join(parts[:depth])
        entry = objects.lookup(base, parent)
        if entry is None:
            return None
        if entry.mode != TREE:
            what = "a symlink" if entry.mode == SYMLINK else "not a folder"
            raise InfraError("git-failed", f"{path} cannot be written: {parent} is {what} in the repository.")
    entry = objects.lookup(base, path)
    if entry is not None and not entry.mode.startswith("100"):
        what = {SYMLINK: "a symlink", TREE: "a folder"}.get(entry.mode, "a submodule")
        raise InfraError("git-failed", f"{path} cannot be written: it is {what} in the repository.")
    return entry


def newest(objects: Objects, branch: str, limit: int) -> list[Logged]:
    """See `Git.log_trailers`; read from the objects themselves, so that no user's setting changes the result."""
    listed = objects.runner.run("rev-list", f"--max-count={limit:d}", ref_of(branch), "--").out.decode().split()
    found = []
    for commit, headers, message in objects.commits(listed):
        author = _AUTHOR.search(headers)
        found.append(Logged(commit, one_line(author[1], MAX_AUTHOR) if author else "", _trailers(message)))
    return found


def _check_path(path: str) -> None:
    """Refuse a path that could leave the tree, reach into git's own files, or be read as something else."""
    parts = path.split("/")
    bad = (
        len(path) > MAX_PATH
        or not path.isprintable()
        or "\\" in path
        or any(part in ("", ".", "..") or len(part.encode()) > MAX_NAME for part in parts)
        or any(part.lower().startswith((".git", "git~")) for part in parts)
    )
    if bad:
        raise InfraError("git-failed", f"{quoted(path, 120)} is not a path that may be written in the repository.")


class _Writer(NamedTuple):
    """Writes the objects of one commit."""

    objects: Objects
    scratch: Path
    blobs: Batch
    trees: Batch
    commits: Batch

    def store(self, contents: Mapping[str, bytes]) -> dict[str, str]:
        """Write blobs exactly as the bytes are (no filters, no line endings); their ids by path."""
        for number, data in enumerate(contents.values()):
            file = self.scratch / str(number)
            file.write_bytes(data)
            self.blobs.write(f"{file}\n".encode())
        return {path: _answer(self.blobs) for path in contents}

    def folder(self, tree: str | None, files: Mapping[str, Entry | None]) -> str | None:
        """Write the folder's tree with these files changed; None when nothing is left in it."""
        entries = dict(self.objects.tree(tree)) if tree else {}
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
            made = self.folder(entries[name].oid if name in entries else None, below)
            if made is None:
                entries.pop(name, None)
            else:
                entries[name] = Entry(TREE, made)
        return self.tree(entries) if entries else None

    def tree(self, entries: Mapping[str, Entry]) -> str:
        """Write one tree; git sorts its entries."""
        kinds = {TREE: "tree", GITLINK: "commit"}
        lines = [f"{mode} {kinds.get(mode, 'blob')} {oid}\t{name}\0" for name, (mode, oid) in entries.items()]
        self.trees.write(("".join(lines) + "\0").encode("utf-8", "surrogateescape"))
        return _answer(self.trees)

    def commit(self, data: bytes) -> str:
        """Write the commit; nothing else can be written afterwards."""
        self.commits.write(data, last=True)
        return _answer(self.commits)


def _answer(batch: Batch) -> str:
    try:
        return batch.read_line(time.monotonic() + READ_SECONDS).decode()
    except EOFError as error:
        why = quoted(str(error)) if str(error).strip() else "it did not answer"
        raise InfraError("git-failed", f"git {batch.name}: {why}.") from error


def _trailers(message: str) -> dict[str, str]:
    """The trailers as git's manual has them, by a colon: the last paragraph, if that holds nothing else."""
    title, _, rest = message.strip("\n").partition("\n\n")
    lines = re.split(r"\n[ \t]*\n", rest)[-1].splitlines() if title else []
    found: dict[str, str] = {}
    last = ""
    for line in lines:
        match = _TRAILER.fullmatch(line)
        if match:
            last = match[1]
            found[last] = match[2].strip()
        elif line[:1].isspace() and last:
            found[last] += f" {line.strip()}"
        elif not line.startswith("(cherry picked from"):
            return {}
    return found
