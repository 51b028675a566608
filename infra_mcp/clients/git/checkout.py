"""The working tree in which a branch is checked out, and what there would refuse a move of the branch.

git itself does not refuse all of it: a merge in a checkout whose HEAD is detached moves HEAD and not the branch, a
deleted file is created again, a symlinked folder is replaced by a real one. So these checks come before git's own.
"""

from __future__ import annotations

import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from infra_mcp.clients.git.objects import ref_of
from infra_mcp.clients.git.runner import Runner
from infra_mcp.errors import InfraError
from infra_mcp.text import one_line

# Files of a checkout's own git folder that show an unfinished operation.
UNFINISHED = {
    "MERGE_HEAD": "a merge",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
    "rebase-merge": "a rebase",
    "rebase-apply": "a rebase or `git am`",
    "sequencer": "a sequence of cherry-picks or reverts",
    "BISECT_START": "a bisect",
}
STATUS = {"??": "untracked", "!!": "ignored"}
MAX_NAMED = 10  # paths in a message; the rest is counted
MAX_PATHS = 500  # paths in one command line


@dataclass(frozen=True)
class Checkout:
    """A working tree that has the branch checked out."""

    runner: Runner
    branch: str
    top: Path
    folder: Path  # its own git folder, with HEAD and index

    def is_busy(self) -> bool:
        """Whether another git holds the checkout's index, its HEAD or the branch right now."""
        locks = [self.folder / "index.lock", self.folder / "HEAD.lock"]
        return any(lock.exists() for lock in [*locks, self.runner.common_folder / f"{ref_of(self.branch)}.lock"])

    def require_idle(self) -> None:
        """Refuse while git is in the middle of an operation there, or HEAD is not the branch itself."""
        for name, operation in UNFINISHED.items():
            if (self.folder / name).exists():
                what = f"{operation.capitalize()} is in progress on branch {self.branch}."
                raise InfraError("checkout-refused", what)
        on = self.runner.run("symbolic-ref", "-q", "HEAD", at=self.top, check=False).out.decode().strip()
        if on != ref_of(self.branch):
            raise InfraError("checkout-refused", f"HEAD of the checkout is not branch {self.branch}.")

    def require_clear(self, paths: Collection[str]) -> None:
        """Refuse when any of the paths is changed, staged, deleted, untracked or ignored there, or behind a symlink."""
        found = self.blocking(paths)
        if found:
            raise blocked(self.branch, [f"{one_line(path)} ({state})" for path, state in sorted(found.items())])

    def blocking(self, paths: Collection[str]) -> dict[str, str]:
        """The states of these paths that forbid a move. Nothing is written, the index is not even refreshed."""
        found = self._blocked_parents(paths)
        ordered = sorted(paths)
        for start in range(0, len(ordered), MAX_PATHS):
            flags = ("--porcelain=v1", "-z", "--ignored=traditional", "--untracked-files=all", "--no-renames")
            done = self.runner.run("status", *flags, "--", *ordered[start : start + MAX_PATHS], at=self.top)
            for record in done.out.decode("utf-8", "surrogateescape").split("\0"):
                if record:
                    found.setdefault(record[3:], STATUS.get(record[:2]) or _state(*record[:2]))
        return found

    def _blocked_parents(self, paths: Collection[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for parent in {"/".join(path.split("/")[:depth]) for path in paths for depth in range(1, path.count("/") + 1)}:
            try:
                mode = (self.top / parent).lstat().st_mode
            except (FileNotFoundError, NotADirectoryError):
                continue
            if not stat.S_ISDIR(mode):
                found[parent] = "a symlink" if stat.S_ISLNK(mode) else "not a folder"
        return found


def blocked(branch: str, names: list[str]) -> InfraError:
    """The error for files that block the move of the branch."""
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    what = f"These files of the checkout block the move of branch {branch}: {', '.join(names[:MAX_NAMED])}{more}."
    return InfraError("checkout-refused", what)


def find(runner: Runner, branch: str) -> Checkout | None:
    """The one working tree that has the branch checked out, or None.

    Raises:
        InfraError: `checkout-refused`, when several have it, it is gone from disk, or a rebase or bisect anywhere will
            return to the branch, which looks checked out nowhere until then.
    """
    ref = ref_of(branch)
    for folder in [runner.common_folder, *sorted(runner.common_folder.glob("worktrees/*"))]:
        operation = _returns_to(folder, branch)
        if operation:
            raise InfraError("checkout-refused", f"{operation.capitalize()} of branch {branch} is in progress.")
    git = runner.repo / ".git"
    only = git.is_dir() and git.samefile(runner.common_folder) and not (git / "worktrees").exists()
    # Only a plain yes is taken from the file: HEAD may name an alias of the branch, or stand in a reftable.
    if only and _lines(git / "HEAD")[:1] == [f"ref: {ref}"]:
        return Checkout(runner, branch, runner.repo, git)
    listed = runner.run("worktree", "list", "--porcelain", "-z").out.decode("utf-8", "surrogateescape")
    holders = []
    for number, record in enumerate(listed.split("\0\0")):
        fields = dict(line.partition(" ")[::2] for line in record.split("\0") if line)
        if fields.get("branch") == ref:
            top = Path(fields["worktree"]) if number else _main_tree(runner, branch, Path(fields["worktree"]))
            holders.append((top, "prunable" in fields))
    if len(holders) > 1:
        names = " and ".join(one_line(top.name) for top, _ in holders)
        raise InfraError("checkout-refused", f"Branch {branch} is checked out more than once: {names}.")
    if not holders:
        return None
    top, gone = holders[0]
    if gone or not top.is_dir():
        what = f"Branch {branch} is checked out in {one_line(top.name)}, which does not exist any more."
        raise InfraError("checkout-refused", what, next_step="Run `git worktree prune`, then send it again.")
    git = top / ".git"
    own = git if git.is_dir() else runner.path("rev-parse", "--absolute-git-dir", at=top)
    return Checkout(runner, branch, top, own)


def _main_tree(runner: Runner, branch: str, listed: Path) -> Path:
    """The first of git's list, which is a guess where the git folder lies apart from its working tree."""
    if (listed / ".git").exists():
        return listed
    if runner.path("rev-parse", "--absolute-git-dir").samefile(runner.common_folder):
        return runner.repo
    what = f"Branch {branch} is checked out in the working tree of a separate git folder, which cannot be found."
    raise InfraError("checkout-refused", what, next_step="Serve that working tree, or check out another branch there.")


def _returns_to(folder: Path, branch: str) -> str | None:
    """The operation of the working tree of this git folder that will set the branch when it ends."""
    ref = ref_of(branch)
    heads = [*_lines(folder / "rebase-merge" / "head-name")[:1], *_lines(folder / "rebase-apply" / "head-name")[:1]]
    # `git rebase --update-refs` lists the other branches it will move: ref, before, after.
    if ref in [*heads, *_lines(folder / "rebase-merge" / "update-refs")]:
        return "a rebase"
    return "a bisect" if _lines(folder / "BISECT_START")[:1] in ([branch], [ref]) else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []


def _state(staged: str, unstaged: str) -> str:
    if "U" in (staged, unstaged) or (staged + unstaged) in ("AA", "DD"):
        return "in conflict"
    if "D" in (staged, unstaged):
        return "deleted"
    return "staged" if unstaged == " " else "changed"
