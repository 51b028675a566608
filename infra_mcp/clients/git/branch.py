"""Moves a branch forward: by a fast-forward where it is checked out, by compare-and-swap where it is not."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from infra_mcp.clients.git import checkout as checkouts
from infra_mcp.clients.git.checkout import Checkout
from infra_mcp.clients.git.commits import replaced
from infra_mcp.clients.git.objects import Objects, ref_of
from infra_mcp.clients.git.runner import Done, Runner
from infra_mcp.errors import InfraError, Moved
from infra_mcp.text import one_line

WRITE_SECONDS = 300.0  # a checkout with slow filters may take its time
FAST_FORWARD = ("--ff-only", "--no-autostash", "--no-overwrite-ignore", "--no-verify-signatures", "--no-edit")


class Busy(Exception):  # noqa: N818 - a signal to wait and try again, never shown
    """Another git process holds a lock of the repository."""


def check_paths(objects: Objects, branch: str, base: str, paths: Collection[str]) -> None:
    """Raise what would refuse a commit of these paths on top of the branch; see `Git.check_movable`."""
    for path in paths:
        replaced(objects, base, path)
    if objects.head(branch) != base:
        raise Moved(f"branch {branch}")


def check(objects: Objects, branch: str, base: str, paths: Collection[str]) -> None:
    """The same, and what would refuse the move to it in a checkout."""
    check_paths(objects, branch, base, paths)
    checkout = checkouts.find(objects.runner, branch)
    if checkout:
        checkout.require_idle()
        checkout.require_clear(paths)


def contains(objects: Objects, branch: str, commit: str) -> bool:
    """Whether the commit is the branch's head or one of its ancestors; an unknown commit is not."""
    head = objects.head(branch)
    if head == commit:
        return True
    return objects.resolve(f"{commit}^{{commit}}") is not None and _is_ancestor(objects.runner, commit, head)


@dataclass(frozen=True)
class Advance:
    """A move of a branch, tried until it is done or refused."""

    objects: Objects
    branch: str
    commit: str  # where it goes
    base: str  # where it must be now
    lock: int  # the descriptor that the writing children inherit, so that they hold the repository's lock even after us

    def attempt(self) -> None:
        """Try once: it is done, or nothing is.

        Raises:
            Busy: another git is at work; nothing is decided yet.
            Moved: the branch is no longer at the base, or cannot be fast-forwarded from it.
            InfraError: `checkout-refused`, naming files or the operation in progress; `git-failed`.
        """
        head = self.objects.head(self.branch)
        if head == self.commit:
            return
        runner = self.objects.runner
        ahead = [self.base] == self.objects.parents(self.commit) or _is_ancestor(runner, self.base, self.commit)
        if head != self.base or not ahead:
            raise Moved(f"branch {self.branch}")
        checkout = checkouts.find(runner, self.branch)
        if checkout is None:
            self._swap()
            return
        if checkout.is_busy():
            raise Busy
        paths = self.objects.changed(self.base, self.commit)
        checkout.require_clear(paths)
        checkout.require_idle()
        self._merge(checkout, paths)

    @property
    def _writer(self) -> Runner:
        return Runner(self.objects.runner.repo, keep=(self.lock,), seconds=WRITE_SECONDS)

    def _merge(self, checkout: Checkout, paths: Collection[str]) -> None:
        # A branch may carry options of its own for merges (`--squash`, `--no-commit`): not for ours.
        own = {f"branch.{self.branch}.mergeOptions": "--ff-only"}
        done = self._writer.run(
            "merge", *FAST_FORWARD, "--no-stat", "-q", self.commit, at=checkout.top, config=own, check=False
        )
        head = self.objects.head(self.branch)
        if head == self.commit:
            return
        if done.code == 0:
            what = f"git did not move branch {self.branch} but another: HEAD changed at the same moment."
            raise InfraError("checkout-refused", what)
        if "index.lock" not in done.err and "cannot lock ref" in done.err:
            self._take_back(checkout, paths, head)
        if head != self.base or "Not possible to fast-forward" in done.err:
            raise Moved(f"branch {self.branch}")
        self._refuse(done)

    def _take_back(self, checkout: Checkout, paths: Collection[str], head: str) -> None:
        """Undo the half of a merge that git did before it found the ref locked or moved: files and index are ahead.

        The two-tree form of read-tree touches only paths that differ between the trees and are still as we left them.
        """
        if head == self.base:
            self._writer.run("read-tree", "-m", "-u", self.commit, self.base, at=checkout.top, check=False)
        left = checkout.blocking(paths)
        if left:
            names = ", ".join(one_line(path) for path in sorted(left))
            what = f"Branch {self.branch} moved while git was moving it; our edit is left uncommitted in: {names}."
            raise InfraError("checkout-refused", what, next_step="Restore these files, then send it again.")

    def _swap(self) -> None:
        """Move a branch that is checked out nowhere."""
        ref = ref_of(self.branch)
        if self.objects.runner.run("symbolic-ref", "-q", ref, check=False).code == 0:
            raise InfraError("git-failed", f"Branch {self.branch} is an alias of another ref.")
        reason = ("-m", "infra-mcp: fast-forward")
        done = self._writer.run("update-ref", "--no-deref", *reason, ref, self.commit, self.base, check=False)
        if done.code == 0:
            return
        if self.objects.head(self.branch) != self.base:
            raise Moved(f"branch {self.branch}")
        self._refuse(done)

    def _refuse(self, done: Done) -> None:
        if "File exists" in done.err or "cannot lock ref" in done.err:
            raise Busy
        names = [one_line(line.strip()) for line in done.err.splitlines() if line.startswith("\t")]
        if names:
            raise checkouts.blocked(self.branch, names)
        raise InfraError("checkout-refused", f"git: {done.why}.")


def _is_ancestor(runner: Runner, old: str, new: str) -> bool:
    done = runner.run("merge-base", "--is-ancestor", old, new, check=False)
    if done.code not in (0, 1):
        raise InfraError("git-failed", f"git merge-base: {done.why}.")
    return done.code == 0
