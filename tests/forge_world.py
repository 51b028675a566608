"""A forge for tests of the engine: pull requests in memory over a bare repository, merged by git itself.

It stands in for Gitea where a test is about what the engine does; the same tests run at a real one, too
(engine/forge_ground.py).
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from infra_mcp.clients.forge import Account, Check, Deployment, Proposal, Review, Rights
from infra_mcp.errors import InfraError, Unavailable

__all__ = ["ForgeWorld"]

BOT = Account("infra-bot", bot=True)


class ForgeWorld:
    """A forge with one repository. What its accounts do is a method; `away` makes it answer nothing.

    Args:
        repo: the bare repository.
    """

    def __init__(self, repo: Path) -> None:
        self.repo, self.shown = repo, "git.example/team/infra"
        self.away = self.refuses = False
        self.made: dict[int, Proposal] = {}
        self.texts: dict[int, tuple[str, str]] = {}
        self.comments: list[tuple[int, str]] = []
        self.set: dict[str, list[Check]] = {}
        self.said: dict[int, dict[str, Review]] = {}
        self.pushers: dict[str, str] = {}  # by head: of what others pushed, as far as the forge knows

    # -- what people do

    def merge(self, number: int, how: str = "merge", by: str = "ann") -> str:
        """Merge a pull request: `merge`, `squash` or `rebase`; the commit that is on the branch then."""
        one = self._now(number)
        self.git("update-ref", f"refs/pull/{number}/head", one.head)
        if how == "merge":
            tree = self.git("merge-tree", "--write-tree", one.base, one.head)
            merged = self._commit(tree, f"Merge pull request {number}", one.base, one.head)
        elif how == "squash":
            tree = self.git("merge-tree", "--write-tree", one.base, one.head)
            merged = self._commit(tree, f"Squashed {number}", one.base)
        else:
            merged = self._rebased(one)
        self.git("update-ref", f"refs/heads/{one.base}", merged)
        self.made[number] = replace(one, state="merged", merged=merged, ended_by=Account(by))
        return merged

    def end(self, number: int, by: str = "ann") -> None:
        """Close a pull request."""
        self.made[number] = replace(self._now(number), state="closed", ended_by=Account(by))

    def review(self, number: int, by: str, *, approves: bool = True, bot: bool = False) -> None:
        """Review a pull request at the head that it has now: the last word of an account counts."""
        word = Review(Account(by, bot), approves, self._now(number).head)
        self.said.setdefault(number, {})[by] = word

    def dismiss(self, number: int, by: str) -> None:
        """Take a review away."""
        del self.said[number][by]

    def git(self, *words: str) -> str:
        """Git in the repository."""
        named = ["-c", "user.name=ann", "-c", "user.email=ann@localhost"]
        done = subprocess.run(["git", "-C", str(self.repo), *named, *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def _rebased(self, one: Proposal) -> str:
        with tempfile.TemporaryDirectory() as folder:
            self.git("worktree", "add", "--detach", folder, one.head)
            named = ["-c", "user.name=ann", "-c", "user.email=ann@localhost"]
            subprocess.run(["git", "-C", folder, *named, "rebase", "-q", "--force-rebase", one.base], check=True)
            merged = subprocess.run(["git", "-C", folder, "rev-parse", "HEAD"], capture_output=True, check=True).stdout
            self.git("worktree", "remove", "--force", folder)
        return merged.decode().strip()

    def _commit(self, tree: str, message: str, *parents: str) -> str:
        on = [word for parent in parents for word in ("-p", parent)]
        return self.git("commit-tree", tree.splitlines()[0], *on, "-m", message)

    def _now(self, number: int) -> Proposal:
        one = self.made[number]
        if one.state != "open":
            return one
        there = self.git("for-each-ref", "--format=%(objectname)", f"refs/heads/{one.branch}")
        if not there:
            self.made[number] = replace(one, state="closed", ended_by=Account("ann"))
            return self.made[number]
        words = ["git", "-C", str(self.repo), "merge-tree", "--write-tree", one.base, there]
        conflicts = subprocess.run(words, capture_output=True, check=False).returncode != 0
        return replace(one, head=there, conflicts=conflicts)

    def _answer(self) -> None:
        if self.away:
            raise Unavailable("forge-unreachable", "git.example does not answer.")

    # -- what the engine asks

    async def account(self) -> Account:
        self._answer()
        return BOT

    async def rights(self, branch: str, *, merges: bool) -> Rights:
        del branch, merges
        self._answer()
        return Rights()

    async def propose(self, branch: str, base: str, title: str, body: str, labels=()) -> Proposal:
        del labels
        self._answer()
        if self.refuses:
            raise InfraError("forge-refused", "git.example/team/infra: you may not open pull requests.")
        known = await self.proposal_of(branch)
        if known is not None and known.state == "open":
            return known
        number = len(self.made) + 1
        head = self.git("rev-parse", f"refs/heads/{branch}")
        url = f"https://git.example/team/infra/pulls/{number}"
        self.made[number] = Proposal(number, url, "open", branch, head, base, BOT)
        self.texts[number] = title, body
        return self.made[number]

    async def proposal(self, number: int) -> Proposal:
        self._answer()
        return self._now(number)

    async def proposal_of(self, branch: str) -> Proposal | None:
        self._answer()
        found = [number for number, one in self.made.items() if one.branch == branch]
        return self._now(max(found)) if found else None

    async def describe(self, number: int, title: str, body: str) -> None:
        self._answer()
        self.texts[number] = title, body

    async def comment(self, number: int, text: str) -> None:
        self._answer()
        self.comments.append((number, text))

    async def close(self, number: int) -> None:
        self._answer()
        if self._now(number).state == "open":
            self.made[number] = replace(self._now(number), state="closed", ended_by=BOT)

    async def merge_when_ready(self, proposal: Proposal) -> None:
        self._answer()
        self.made[proposal.number] = replace(self._now(proposal.number), auto=True)

    async def reviews(self, number: int) -> tuple[Review, ...]:
        self._answer()
        return tuple(self.said.get(number, {}).values())

    async def authors(self, proposal: Proposal) -> frozenset[str] | None:
        self._answer()
        if proposal.head not in self.pushers:
            return None
        names = self.git("log", "--format=%an", f"{proposal.base}..{proposal.head}").split("\n")
        return frozenset((*self.pushers.values(), *names))

    async def checks(self, commit: str) -> tuple[Check, ...]:
        self._answer()
        return tuple(self.set.get(commit, ()))

    async def deployments(self, commit: str) -> tuple[Deployment, ...]:
        del commit
        self._answer()
        return ()

    def passes(self, commit: str, name: str, by: str, state="success") -> None:
        """Set a check of a commit."""
        self.set.setdefault(commit, []).append(Check(name, by, state, datetime.now(UTC)))

    async def aclose(self) -> None:
        """Nothing is held."""
