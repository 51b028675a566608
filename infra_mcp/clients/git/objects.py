"""Reads commits, trees and blobs through one persistent `git cat-file --batch-command`.

A round trip costs a fraction of a millisecond, where a git process costs three. Objects never change, so trees are
kept; refs do, so they are resolved by git afresh each time they are asked for.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from infra_mcp.clients.git.runner import READ_SECONDS, Runner, readable
from infra_mcp.errors import InfraError
from infra_mcp.text import quoted

__all__ = ["GITLINK", "SYMLINK", "TREE", "Entry", "Objects", "ref_of"]

TREE, SYMLINK, GITLINK = "40000", "120000", "160000"
WINDOW = 400  # requests in one flush: well below a pipe's 64 KiB, so that writing them never blocks
KEPT_TREES = 50_000
MOST_FILES = 500_000
MAX_PREFIX = 4096  # PATH_MAX of Linux
_OID = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_BAD_BRANCH = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[-/.]|/\.|\.lock(/|$)|[/.]$")


_Tree = tuple[tuple[str, str, str], ...]  # mode, name, id


class Entry(NamedTuple):
    """A file of a commit: git's mode and the id of its blob."""

    mode: str
    oid: str


class _Object(NamedTuple):
    oid: str
    kind: str
    size: int
    data: bytes


def ref_of(branch: str) -> str:
    """The full ref of a branch.

    Raises:
        InfraError: `git-failed`, for what cannot be a branch's name (git-check-ref-format(1)).
    """
    if not branch or branch == "@" or _BAD_BRANCH.search(branch):
        raise InfraError("git-failed", f"{quoted(branch, 80)} cannot be the name of a branch.")
    return f"refs/heads/{branch}"


class Objects:
    """The object database of one repository. Synchronous; safe to call from several threads."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._turn = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._buffer = bytearray()
        self._trees: dict[str, _Tree] = {}

    def resolve(self, name: str) -> str | None:
        """The id of what `name` stands for now, or None."""
        found = self._ask([f"info {name}"])[0]
        return found.oid if found else None

    def head(self, branch: str) -> str:
        """The commit a branch is at now.

        Raises:
            InfraError: `git-failed`, when there is no such branch.
        """
        found = self.resolve(f"{ref_of(branch)}^{{commit}}")
        if found is None:
            raise InfraError("git-failed", f"There is no branch {branch} with a commit in the repository.")
        return found

    def blobs(self, oids: Iterable[str], largest: int | None = None) -> dict[str, bytes]:
        """The content of blobs, by id; those larger than that many bytes are left out, and not read.

        Raises:
            InfraError: `git-failed`, naming the first that is not there.
        """
        wanted = [_oid(oid) for oid in dict.fromkeys(oids)]
        if largest is not None:
            sizes = self._sizes(wanted)
            wanted = [oid for oid in wanted if sizes.get(oid, 0) <= largest]
        return {o.oid: o.data for o in self._contents(wanted, "blob")}

    def files(self, commit: str, roots: Sequence[str]) -> dict[str, Entry]:
        """All files and symlinks at or below the roots, by path; a root that is not there has none."""
        found: dict[str, Entry] = {}
        level: list[tuple[str, str]] = []
        for root in roots:
            parts = [part for part in root.split("/") if part not in ("", ".")]
            if not parts:
                level.append(("", self._root(commit)))
                continue
            entry = self.lookup(commit, "/".join(parts))
            if entry and entry.mode == TREE:
                level.append(("/".join(parts) + "/", entry.oid))
            elif entry and entry.mode != GITLINK:
                found["/".join(parts)] = entry
        while level:
            trees = self._read_trees(oid for _, oid in level)
            deeper: list[tuple[str, str]] = []
            for prefix, tree in level:
                _require_listable(len(found) + len(deeper), prefix)
                for mode, name, oid in trees[tree]:
                    if mode == TREE:
                        deeper.append((f"{prefix}{name}/", oid))
                    elif mode != GITLINK:
                        found[prefix + name] = Entry(mode, oid)
            level = deeper
        return found

    def lookup(self, commit: str, path: str) -> Entry | None:
        """What stands at one path of a commit, folders too; None when nothing does, or a parent is no folder."""
        entry = Entry(TREE, self._root(commit))
        for part in path.split("/"):
            if entry.mode != TREE:
                return None
            (tree,) = self._read_trees([entry.oid]).values()
            below = {name: Entry(mode, oid) for mode, name, oid in tree}
            if part not in below:
                return None
            entry = below[part]
        return entry

    def tree(self, oid: str) -> dict[str, Entry]:
        """The entries of one tree, by name."""
        (entries,) = self._read_trees([oid]).values()
        return {name: Entry(mode, below) for mode, name, below in entries}

    def changed(self, old: str, new: str) -> list[str]:
        """The paths at which two commits differ, sorted; only folders that differ are read."""
        return sorted(self._differing("", self._root(old), self._root(new)))

    def parents(self, commit: str) -> list[str]:
        """The ids of a commit's parents."""
        (found,) = self._contents([_oid(commit)], "commit")
        headers = found.data.partition(b"\n\n")[0].decode("utf-8", "replace").splitlines()
        return [line.removeprefix("parent ") for line in headers if line.startswith("parent ")]

    def commits(self, oids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Commits as they are stored, in the given order."""
        return ((found.oid, found.data) for found in self._contents([_oid(oid) for oid in oids], "commit"))

    def close(self) -> None:
        """End the child."""
        with self._turn:
            self._drop()

    def _root(self, commit: str) -> str:
        found = self.resolve(f"{_oid(commit)}^{{tree}}")
        if found is None:
            raise InfraError("git-failed", f"There is no commit {commit} in the repository.")
        return found

    def _differing(self, prefix: str, old: str | None, new: str | None) -> Iterator[str]:
        trees = self._read_trees(oid for oid in (old, new) if oid)
        before, after = ({n: (m, o) for m, n, o in trees[tree]} if tree else {} for tree in (old, new))
        for name in before.keys() | after.keys():
            was, now = before.get(name), after.get(name)
            if was == now:
                continue
            if (was and was[0] != TREE) or (now and now[0] != TREE):
                yield prefix + name
            folders = [side[1] if side and side[0] == TREE else None for side in (was, now)]
            if any(folders):
                yield from self._differing(f"{prefix}{name}/", *folders)

    def _read_trees(self, oids: Iterable[str]) -> dict[str, _Tree]:
        kept = self._trees
        trees = {oid: kept.get(oid) for oid in oids}
        read = {
            found.oid: tuple(_entries(found.data, len(found.oid) // 2))
            for found in self._contents([oid for oid, tree in trees.items() if tree is None], "tree")
        }
        # A new dictionary when it is full: another thread may still walk the old one.
        self._trees = read if len(kept) + len(read) > KEPT_TREES else kept
        self._trees.update(read)
        return {oid: read[oid] if tree is None else tree for oid, tree in trees.items()}

    def _sizes(self, oids: Sequence[str]) -> dict[str, int]:
        windows = (oids[start : start + WINDOW] for start in range(0, len(oids), WINDOW))
        asked = (one for window in windows for one in self._ask([f"info {oid}" for oid in window]))
        return {one.oid: one.size for one in asked if one is not None}

    def _contents(self, oids: Sequence[str], kind: str) -> Iterator[_Object]:
        for start in range(0, len(oids), WINDOW):
            window = oids[start : start + WINDOW]
            for oid, found in zip(window, self._ask([f"contents {oid}" for oid in window]), strict=True):
                if found is None or found.kind != kind:
                    raise InfraError("git-failed", f"The repository has no {kind} {oid}.")
                yield found

    def _ask(self, commands: Collection[str]) -> list[_Object | None]:
        """One exchange with the child; a child that has died meanwhile is replaced once."""
        with self._turn:
            for last in (False, True):
                try:
                    return self._exchange(commands)
                except (EOFError, OSError) as error:
                    self._drop()
                    if last:
                        self._runner.run("rev-parse", "--git-dir")  # says why, where git takes the repository for none
                        raise InfraError("git-failed", "git cat-file ended before it had answered.") from error
                except InfraError:
                    self._drop()
                    raise
        raise AssertionError  # pragma: no cover - the loop returns or raises

    def _exchange(self, commands: Collection[str]) -> list[_Object | None]:
        if self._child is None:
            form = "--batch-command=%(objectname) %(objecttype) %(objectsize)"
            self._child = self._runner.start("cat-file", form, "--buffer", feed=True, quiet=True)
        if self._child.stdin is None:  # pragma: no cover - it was started with a pipe
            raise EOFError
        _write(self._child.stdin.fileno(), "\n".join([*commands, "flush", ""]).encode("utf-8", "surrogateescape"))
        deadline = time.monotonic() + READ_SECONDS
        return [self._reply(command.startswith("contents"), deadline) for command in commands]

    def _reply(self, content: bool, deadline: float) -> _Object | None:
        while (end := self._buffer.find(b"\n")) < 0:
            self._fill(deadline)
        header = bytes(self._buffer[:end]).decode("utf-8", "replace")
        del self._buffer[: end + 1]
        oid, _, rest = header.partition(" ")
        kind, _, size = rest.partition(" ")
        if not size.isdigit() or not _OID.fullmatch(oid):
            return None  # "NAME missing" or "NAME ambiguous"
        if not content:
            return _Object(oid, kind, int(size), b"")
        while len(self._buffer) <= int(size):
            self._fill(deadline)
        data = bytes(self._buffer[: int(size)])
        del self._buffer[: int(size) + 1]
        return _Object(oid, kind, int(size), data)

    def _fill(self, deadline: float) -> None:
        if self._child is None or self._child.stdout is None:  # pragma: no cover - only called with a child
            raise EOFError
        source = self._child.stdout.fileno()
        if not readable(source, deadline):
            raise InfraError("git-failed", f"git cat-file did not answer within {READ_SECONDS:g} s.")
        piece = os.read(source, 1 << 20)
        if not piece:
            raise EOFError
        self._buffer += piece

    def _drop(self) -> None:
        child, self._child, self._buffer = self._child, None, bytearray()
        if child is None:
            return
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            child.wait(timeout=1.0)  # it ends by itself when its input does
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _require_listable(files: int, prefix: str) -> None:
    """Refuse trees that stand in each other many times over, at every depth: small to push, endless to list."""
    if files > MOST_FILES or len(prefix) > MAX_PREFIX:
        what = f"The commit has more than {MOST_FILES} files, or folders deeper than can be checked out."
        raise InfraError("git-failed", what, next_step="Name fewer folders in [tree] roots.")


def _oid(oid: str) -> str:
    if not _OID.fullmatch(oid):
        raise InfraError("git-failed", f"{quoted(oid, 80)} is not the id of an object.")
    return oid


def _entries(data: bytes, width: int) -> Iterator[tuple[str, str, str]]:
    r"""The entries of a tree object: `MODE NAME\0` and the id's bytes, one after the other."""
    at = 0
    while at < len(data):
        space, null = data.index(b" ", at), data.index(b"\0", at)
        name = data[space + 1 : null].decode("utf-8", "surrogateescape")
        yield data[at:space].decode("ascii"), name, data[null + 1 : null + 1 + width].hex()
        at = null + 1 + width


def _write(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]
