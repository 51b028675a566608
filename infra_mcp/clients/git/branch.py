"""Moves a branch forward: by a fast-forward where it is checked out, by compare-and-swap where it is not."""

from __future__ import annotations

from collections.abc import Collection

from infra_mcp.clients.git import checkout as trees
from infra_mcp.clients.git.checkout import Checkout
from infra_mcp.clients.git.commits import replaced
from infra_mcp.clients.git.objects import Objects, ref_of
from infra_mcp.clients.git.runner import Done, Runner
from infra_mcp.errors import InfraError, Moved
from infra_mcp.text import one_line

WRITE_SECONDS = 300.0  # a checkout with slow filters may take its time
FAST_FORWARD = (
    "--ff-only",
    "--no-autostash",
    "--no-overwrite-ignore",
    "--no-verify-signatures",
    "--no-stat",
    "--no-edit",
    "-q",
)


class Busy(Exception):  # noqa: N818 - a signal to wait and try again, never shown
    """Another git process holds a lock of the repository."""


def check(runner: Runner, objects: Objects, branch: str, base: str, paths: Collection[str]) -> None:
    """Everything that would refuse a commit of these paths, or the move to it, now; see `Git.check_movable`."""
    for path in paths:
        replaced(objects, base, path)
    if objects.head(branch) != base:
        raise Moved(f"branch {branch}")
    checkout = trees.find(runner, branch)
    if checkout:
        trees.require_idle(runner, checkout, branch)
        trees.require_clear(runner, checkout, paths)


def contains(runner: Runner, objects: Objects, branch: str, commit: str) -> bool:
    """Whether the commit is the branch's head or one of its ancestors; an unknown commit is not."""
    head = objects.head(branch)
    if head == commit:
        return True
    return objects.resolve(f"{commit}^{{commit}}") is not None and _is_ancestor(runner, commit, head)


class Advance:
    """One move of a branch from `base` to `commit`, tried until it is done, refused, or out of patience.

    Args:
        runner: starts git.
        objects: reads the repository.
        branch: the branch's short name.
        commit: where it goes.
        base: where it must be now.
        keep: the descriptor of the lock that the writing children inherit.
    """

    def __init__(self, runner: Runner, objects: Objects, branch: str, *, commit: str, base: str, keep: int) -> None:
        self._runner = runner
        self._objects = objects
        self._branch = branch
        self._commit = commit
        self._base = base
        # What changes refs or files holds the repository's lock, even after us.
        self._writer = Runner(runner.repo, keep=[keep], seconds=WRITE_SECONDS)

    def attempt(self) -> None:
        """Try once. What is not done is not half done either.

        Raises:
            Busy: another git is at work; nothing is decided yet.
            Moved: the branch is not at the base any more, or cannot be fast-forwarded from it.
            InfraError: `checkout-refused`, naming files or the operation in progress; `git-failed`.
        """
        head = self._objects.head(self._branch)
        if head == self._commit:
            return
        ahead = [self._base] == self._objects.parents(self._commit) or _is_ancestor(
            self._runner, self._base, self._commit
        )
        if head != self._base or not ahead:
            raise Moved(f"branch {self._branch}")
        checkout = trees.find(self._runner, self._branch)
        if checkout is None:
            self._swap()
            return
        if trees.busy(self._runner, checkout, self._branch):
            raise Busy
        paths = self._objects.changed(self._base, self._commit)
        trees.require_clear(self._runner, checkout, paths)
        trees.require_idle(self._runner, checkout, self._branch)
        self._merge(checkout, paths)

    def _merge(self, checkout: Checkout, paths: Collection[str]) -> None:
        # A branch may carry options of its own for merges (`--squash`, `--no-commit`): not for ours.
        own = {f"branch.{self._branch}.mergeOptions": "--ff-only"}
        done = self._writer.run("merge", *FAST_FORWARD, self._commit, at=checkout.top, config=own, check=False)
        head = self._objects.head(self._branch)
        if head == self._commit:
            return
        if done.code == 0:
            what = f"git moved something else than branch {self._branch}: HEAD changed at the same moment."
            raise InfraError("checkout-refused", what)
        if "index.lock" not in done.err and "cannot lock ref" in done.err:
            self._take_back(checkout, paths, head)
        if head != self._base or "Not possible to fast-forward" in done.err:
            raise Moved(f"branch {self._branch}")
        self._refuse(done)

    def _take_back(self, checkout: Checkout, paths: Collection[str], head: str) -> None:
        """Undo the half of a merge that git did before it found the ref locked or moved: files and index are ahead.

        The two-tree form of read-tree touches only paths that differ between the trees and are still as we left them.
        """
        if head == self._base:
            self._writer.run("read-tree", "-m", "-u", self._commit, self._base, at=checkout.top, check=False)
        left = trees.in_the_way(self._runner, checkout, paths)
        if left:
            names = ", ".join(one_line(path) for path in sorted(left))
            what = f"Branch {self._branch} moved while git was moving it; our edit is left uncommitted in: {names}."
            raise InfraError("checkout-refused", what, next_step="Restore these files, then send it again.")

    def _swap(self) -> None:
        """Move a branch that is checked out nowhere."""
        ref = ref_of(self._branch)
        if self._runner.run("symbolic-ref", "-q", ref, check=False).code == 0:
            raise InfraError("git-failed", f"Branch {self._branch} is an alias of another ref.")
        reason = ("-m", "infra-mcp: fast-forward")
        done = self._writer.run("update-ref", "--no-deref", *reason, ref, self._commit, self._base, check=False)
        if done.code == 0:
            return
        if self._objects.head(self._branch) != self._base:
            raise Moved(f"branch {self._branch}")
        self._refuse(done)

    def _refuse(self, done: Done) -> None:
        if "File exists" in done.err or "cannot lock ref" in done.err:
            raise Busy
        names = [one_line(line.strip()) for line in done.err.splitlines() if line.startswith("\t")]
        said = f"These files of the checkout stand in the way: {', '.join(names)}." if names else f"git: {done.why}."
        raise InfraError("checkout-refused", said)


def _is_ancestor(runner: Runner, old: str, new: str) -> bool:
    done = runner.run("merge-base", "--is-ancestor", old, new, check=False)
    if done.code not in (0, 1):
        raise InfraError("git-failed", f"git merge-base: {done.why}.")
    return done.code == 0
