"""Reads commits, trees and blobs through one persistent `git cat-file --batch-command`.

A round trip costs a fraction of a millisecond, where a git process costs three. Objects never change, so trees are
kept; refs do, so they are resolved by git afresh each time they are asked for.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from infra_mcp.clients.git.runner import READ_SECONDS, Batch, Runner
from infra_mcp.errors import InfraError
from infra_mcp.text import quoted

TREE, SYMLINK, GITLINK = "40000", "120000", "160000"
WINDOW = 400  # requests in one flush: well below a pipe's 64 KiB, so that writing them never blocks
KEPT_TREES = 50_000
MAX_FILES = 500_000
MAX_PREFIX = 4096  # PATH_MAX of Linux
_OID = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_BAD_BRANCH = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[-/.]|/\.|\.lock(/|$)|[/.]$")


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
        self.runner = runner
        self._turn = threading.Lock()
        self._batch: Batch | None = None
        self._trees: dict[str, dict[str, Entry]] = {}

    def resolve(self, name: str) -> str | None:
        """The id of the object that `name` refers to now, or None."""
        ((_, found),) = self._ask("info", [name])
        return found.oid if found else None

    def head(self, branch: str) -> str:
        """The commit a branch is at now."""
        found = self.resolve(f"{ref_of(branch)}^{{commit}}")
        if found is None:
            raise InfraError("git-failed", f"There is no branch {branch} with a commit in the repository.")
        return found

    def blobs(self, oids: Iterable[str], largest: int | None = None) -> dict[str, bytes]:
        """The content of blobs, by id; those larger than that many bytes are left out, and not read."""
        wanted = [_oid(oid) for oid in dict.fromkeys(oids)]
        if largest is not None:
            wanted = [oid for oid, found in self._ask("info", wanted) if found is None or found.size <= largest]
        return {o.oid: o.data for o in self._contents(wanted, "blob")}

    def lacking(self, oids: Iterable[str]) -> list[str]:
        """Those of the objects that are not here."""
        return [oid for oid, found in self._ask("info", list(dict.fromkeys(oids))) if found is None]

    def files(self, commit: str, roots: Sequence[str]) -> dict[str, Entry]:
        """All files and symlinks at or below the roots, by path; a root that is not there has none."""
        found: dict[str, Entry] = {}
        level: list[tuple[str, str]] = []
        for root in roots:
            path = "/".join(part for part in root.split("/") if part not in ("", "."))
            entry = self.lookup(commit, path)
            if entry and entry.mode == TREE:
                level.append((f"{path}/" if path else "", entry.oid))
            elif entry and entry.mode != GITLINK:
                found[path] = entry
        while level:
            trees = self._read_trees(oid for _, oid in level)
            deeper: list[tuple[str, str]] = []
            for prefix, tree in level:
                _require_listable(len(found) + len(deeper), prefix)
                for name, entry in trees[tree].items():
                    if entry.mode == TREE:
                        deeper.append((f"{prefix}{name}/", entry.oid))
                    elif entry.mode != GITLINK:
                        found[prefix + name] = entry
            level = deeper
        return found

    def lookup(self, commit: str, path: str) -> Entry | None:
        """The file or folder at one path of a commit, empty for its root; None when there is none."""
        entry: Entry | None = Entry(TREE, self._root(commit))
        for part in path.split("/") if path else ():
            if entry is None or entry.mode != TREE:
                return None
            entry = self.tree(entry.oid).get(part)
        return entry

    def tree(self, oid: str) -> Mapping[str, Entry]:
        """The entries of one tree, by name."""
        return self._read_trees([oid])[oid]

    def changed(self, old: str, new: str) -> list[str]:
        """The paths at which two commits differ, sorted; only folders that differ are read."""
        found: list[str] = []
        level: list[tuple[str, str | None, str | None]] = [("", self._root(old), self._root(new))]
        while level:
            trees = self._read_trees(oid for _, *pair in level for oid in pair if oid)
            deeper: list[tuple[str, str | None, str | None]] = []
            for prefix, one, other in level:
                _require_listable(len(found) + len(deeper), prefix)
                before, after = (trees[tree] if tree else {} for tree in (one, other))
                for name in before.keys() | after.keys():
                    sides = before.get(name), after.get(name)
                    if sides[0] == sides[1]:
                        continue
                    if any(side and side.mode != TREE for side in sides):
                        found.append(prefix + name)
                    old_tree, new_tree = (side.oid if side and side.mode == TREE else None for side in sides)
                    if old_tree or new_tree:
                        deeper.append((f"{prefix}{name}/", old_tree, new_tree))
            level = deeper
        return sorted(found)

    def sizes(self, oids: Iterable[str]) -> dict[str, int]:
        """The size of each object that is there, in bytes, by id."""
        wanted = [_oid(oid) for oid in dict.fromkeys(oids)]
        return {found.oid: found.size for _, found in self._ask("info", wanted) if found}

    def parents(self, commit: str) -> list[str]:
        """The ids of a commit's parents."""
        ((_, headers, _),) = self.commits([commit])
        return [line.removeprefix("parent ") for line in headers.splitlines() if line.startswith("parent ")]

    def commits(self, oids: Iterable[str]) -> Iterator[tuple[str, str, str]]:
        """Commits in the given order: id, headers, message."""
        for found in self._contents([_oid(oid) for oid in oids], "commit"):
            headers, _, message = found.data.decode("utf-8", "replace").partition("\n\n")
            yield found.oid, headers, message

    def close(self) -> None:
        """End the child."""
        with self._turn:
            self._drop()

    def _root(self, commit: str) -> str:
        found = self.resolve(f"{_oid(commit)}^{{tree}}")
        if found is None:
            raise InfraError("git-failed", f"There is no commit {commit} in the repository.")
        return found

    def _read_trees(self, oids: Iterable[str]) -> dict[str, dict[str, Entry]]:
        kept = self._trees
        trees = {oid: kept.get(oid) for oid in oids}
        read = {
            found.oid: dict(_entries(found.data, len(found.oid) // 2))
            for found in self._contents([oid for oid, tree in trees.items() if tree is None], "tree")
        }
        # A new dictionary when it is full: another thread may still walk the old one.
        self._trees = read if len(kept) + len(read) > KEPT_TREES else kept
        self._trees.update(read)
        return {oid: read[oid] if tree is None else tree for oid, tree in trees.items()}

    def _contents(self, oids: Sequence[str], kind: str) -> Iterator[_Object]:
        for oid, found in self._ask("contents", oids):
            if found is None or found.kind != kind:
                raise InfraError("git-failed", f"The repository has no {kind} {oid}.")
            yield found

    def _ask(self, command: str, names: Sequence[str]) -> Iterator[tuple[str, _Object | None]]:
        """Ask the child for objects; a child that has died meanwhile is replaced once."""
        for start in range(0, len(names), WINDOW):
            window = names[start : start + WINDOW]
            with self._turn:
                for last in (False, True):
                    try:
                        found = self._exchange(command, window)
                        break
                    except (EOFError, OSError) as error:
                        if last:
                            self.runner.run("rev-parse", "--git-dir")  # gives the reason, where git refuses it
                            raise InfraError("git-failed", "git cat-file ended before it had answered.") from error
            yield from zip(window, found, strict=True)

    def _exchange(self, command: str, names: Sequence[str]) -> list[_Object | None]:
        try:
            if self._batch is None:
                form = "--batch-command=%(objectname) %(objecttype) %(objectsize)"
                self._batch = self.runner.batch("cat-file", form, "--buffer", quiet=True)
            lines = "".join(f"{command} {name}\n" for name in names)
            self._batch.write(f"{lines}flush\n".encode("utf-8", "surrogateescape"))
            deadline = time.monotonic() + READ_SECONDS
            return [_reply(self._batch, command == "contents", deadline) for _ in names]
        except BaseException:
            self._drop()
            raise

    def _drop(self) -> None:
        if self._batch is not None:
            self._batch.close()
            self._batch = None


def _reply(batch: Batch, content: bool, deadline: float) -> _Object | None:
    oid, _, rest = batch.read_line(deadline).decode("utf-8", "replace").partition(" ")
    kind, _, size = rest.partition(" ")
    if not size.isdigit() or not _OID.fullmatch(oid):
        return None  # "NAME missing" or "NAME ambiguous"
    data = batch.read(int(size) + 1, deadline)[:-1] if content else b""
    return _Object(oid, kind, int(size), data)


def _require_listable(files: int, prefix: str) -> None:
    """Refuse trees that contain each other many times over, at every depth: small to push, endless to list."""
    if files > MAX_FILES or len(prefix) > MAX_PREFIX:
        what = f"The commit has more than {MAX_FILES} files, or folders deeper than can be checked out."
        raise InfraError("git-failed", what, next_step="Name fewer folders in [tree] roots.")


def _oid(oid: str) -> str:
    if not _OID.fullmatch(oid):
        raise InfraError("git-failed", f"{quoted(oid, 80)} is not the id of an object.")
    return oid


def _entries(data: bytes, width: int) -> Iterator[tuple[str, Entry]]:
    r"""The entries of a tree object: `MODE NAME\0` and the id's bytes, one after the other."""
    at = 0
    while at < len(data):
        space, null = data.index(b" ", at), data.index(b"\0", at)
        name = data[space + 1 : null].decode("utf-8", "surrogateescape")
        yield name, Entry(data[at:space].decode("ascii"), data[null + 1 : null + 1 + width].hex())
        at = null + 1 + width
