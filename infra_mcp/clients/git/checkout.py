"""Where a branch is checked out, and what there stands in the way of moving it.

git itself does not refuse all of it: a merge in a checkout whose HEAD is detached moves HEAD and not the branch, a
deleted file is made again, a symlinked folder is replaced by a real one. So these checks come before git's own.
"""

from __future__ import annotations

import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from infra_mcp.clients.git.objects import ref_of
from infra_mcp.clients.git.runner import Runner
from infra_mcp.errors import InfraError
from infra_mcp.text import one_line

# Files of a checkout's own git folder that say an operation waits for its end.
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
NAMED = 10  # paths in a message; the rest is counted
PATHS = 500  # paths in one command line


@dataclass(frozen=True)
class Checkout:
    """A working tree that has the branch checked out."""

    top: Path
    folder: Path  # its own git folder, with HEAD and index


def find(runner: Runner, branch: str) -> Checkout | None:
    """The one working tree that has the branch checked out, or None.

    Raises:
        InfraError: `checkout-refused`, when several have it, it is gone from disk, or a rebase or bisect anywhere is
            to come back to the branch (it looks checked out nowhere then).
    """
    ref = ref_of(branch)
    for folder in _git_folders(runner.common_folder):
        operation = _returns_to(folder, branch)
        if operation:
            raise InfraError("checkout-refused", f"{operation.capitalize()} of branch {branch} is in progress.")
    # Only a plain yes is taken from the file: HEAD may name an alias of the branch, or stand in a reftable.
    if _only_tree(runner) and _first_line(runner.repo / ".git" / "HEAD") == f"ref: {ref}":
        return Checkout(runner.repo, runner.repo / ".git")
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
        what = f"Branch {branch} is checked out in {one_line(top.name)}, which is not there any more."
        raise InfraError("checkout-refused", what, next_step="Run `git worktree prune`, then send it again.")
    own = top / ".git"
    return Checkout(top, own if own.is_dir() else runner.path("rev-parse", "--absolute-git-dir", at=top))


def _main_tree(runner: Runner, branch: str, listed: Path) -> Path:
    """The first of git's list, which is a guess where the git folder lies apart from its working tree."""
    if (listed / ".git").exists():
        return listed
    if runner.path("rev-parse", "--absolute-git-dir").samefile(runner.common_folder):
        return runner.repo
    what = f"Branch {branch} is checked out in the working tree of a separate git folder, which cannot be found."
    raise InfraError("checkout-refused", what, next_step="Serve that working tree, or check out another branch there.")


def require_idle(runner: Runner, checkout: Checkout, branch: str) -> None:
    """Refuse while git is in the middle of something there, or HEAD is not the branch itself.

    Raises:
        InfraError: `checkout-refused`, naming the operation.
    """
    for name, operation in UNFINISHED.items():
        if (checkout.folder / name).exists():
            raise InfraError("checkout-refused", f"{operation.capitalize()} is in progress on branch {branch}.")
    on = runner.run("symbolic-ref", "-q", "HEAD", at=checkout.top, check=False).out.decode().strip()
    if on != ref_of(branch):
        raise InfraError("checkout-refused", f"HEAD of the checkout is not branch {branch}.")


def require_clear(runner: Runner, checkout: Checkout, paths: Collection[str]) -> None:
    """Refuse when any of the paths is changed, staged, deleted, untracked or ignored there, or behind a symlink.

    Raises:
        InfraError: `checkout-refused`, naming each path and what it is.
    """
    found = in_the_way(runner, checkout, paths)
    if found:
        names = [f"{one_line(path)} ({what})" for path, what in sorted(found.items())]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        what = f"These files of the checkout stand in the way: {', '.join(names[:NAMED])}{more}."
        raise InfraError("checkout-refused", what)


def in_the_way(runner: Runner, checkout: Checkout, paths: Collection[str]) -> dict[str, str]:
    """What stands in the way at these paths, by path. Nothing is written, the index not even refreshed."""
    found = _blocked_parents(checkout.top, paths)
    ordered = sorted(paths)
    for start in range(0, len(ordered), PATHS):
        window = ordered[start : start + PATHS]
        flags = ("--porcelain=v1", "-z", "--ignored=traditional", "--untracked-files=all", "--no-renames")
        told = runner.run("status", *flags, "--", *window, at=checkout.top).out.decode("utf-8", "surrogateescape")
        for record in told.split("\0"):
            if record:
                found.setdefault(record[3:], STATUS.get(record[:2]) or _tracked(record[:2]))
    return found


def busy(runner: Runner, checkout: Checkout, branch: str) -> bool:
    """Whether another git holds the checkout's index, its HEAD or the branch right now."""
    locks = [checkout.folder / "index.lock", checkout.folder / "HEAD.lock"]
    return any(lock.exists() for lock in [*locks, runner.common_folder / f"{ref_of(branch)}.lock"])


def _only_tree(runner: Runner) -> bool:
    """Whether ours is the repository's one working tree, so that its HEAD file answers without a process."""
    own = runner.repo / ".git"
    return own.is_dir() and own.samefile(runner.common_folder) and not (own / "worktrees").exists()


def _git_folders(common: Path) -> Iterator[Path]:
    yield common
    linked = common / "worktrees"
    if linked.is_dir():
        yield from sorted(linked.iterdir())


def _returns_to(folder: Path, branch: str) -> str | None:
    """The operation of the working tree of this git folder that will set the branch when it ends."""
    ref = ref_of(branch)
    for state in ("rebase-merge", "rebase-apply"):
        if _first_line(folder / state / "head-name") == ref:
            return "a rebase"
    # `git rebase --update-refs` lists the other branches it will move: ref, before, after.
    if ref in _lines(folder / "rebase-merge" / "update-refs"):
        return "a rebase"
    return "a bisect" if _first_line(folder / "BISECT_START") in (branch, ref) else None


def _first_line(path: Path) -> str | None:
    lines = _lines(path)
    return lines[0] if lines else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []


def _blocked_parents(top: Path, paths: Collection[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    parents = {"/".join(path.split("/")[:depth]) for path in paths for depth in range(1, path.count("/") + 1)}
    for parent in parents:
        try:
            mode = (top / parent).lstat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISLNK(mode):
            found[parent] = "a symlink"
        elif not stat.S_ISDIR(mode):
            found[parent] = "not a folder"
    return found


def _tracked(code: str) -> str:
    staged, unstaged = code[0], code[1]
    if "U" in code or code in ("AA", "DD"):
        return "in conflict"
    if unstaged == "D" or staged == "D":
        return "deleted"
    return "staged" if unstaged == " " else "changed"
