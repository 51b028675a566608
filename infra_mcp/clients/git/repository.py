"""The infra repository as the rest of the product uses it: async, with git's work in worker threads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import anyio
from anyio import to_thread

from infra_mcp.clients.git import branch as branches
from infra_mcp.clients.git.commits import Logged, build, newest
from infra_mcp.clients.git.lock import RepositoryLock
from infra_mcp.clients.git.objects import Entry, Objects
from infra_mcp.clients.git.runner import Runner
from infra_mcp.clients.git.signing import Committer
from infra_mcp.effects import effect
from infra_mcp.errors import InfraError, Locked

RETRY_SECONDS = 0.05


class Git:
    """One git repository, through the git command line.

    Reads go through one persistent child; writes never touch the user's index, stash or uncommitted edits except by a
    fast-forward that git accepts. Hooks, signing, garbage collection and file-system monitors are off for all of it.
    A cancelled call still waits for its git child to end. It neither fetches nor pushes; `Upstream` does.

    Args:
        repo: the top of a working tree of the repository (any of its worktrees).
        lock_file: a file in the state directory. Its lock is inherited by the git children that write, so that those a
            killed server left running are waited for.
        patience: seconds to wait for another git's index or ref lock before refusing.
        lock_patience: seconds to wait for `exclusive`.

    Attributes:
        committer: the author and committer of what is built, with the key that signs it.
    """

    def __init__(self, repo: Path, lock_file: Path, *, patience: float = 5.0, lock_patience: float = 60.0) -> None:
        self._runner = Runner(repo)
        self._objects = Objects(self._runner)
        self._lock = RepositoryLock(lock_file, lock_patience)
        self._patience = patience
        self.committer = Committer()

    async def check_usable(self) -> None:
        """Report early that git refuses to work in this repository with our environment.

        Raises:
            InfraError: `setup-failed`, with git's reason.
        """
        try:
            await to_thread.run_sync(self._runner.run, "rev-parse", "--git-dir")
        except InfraError as error:
            raise InfraError("setup-failed", f"git refuses {self._runner.repo}: {error.what}") from error

    async def head(self, branch: str) -> str:
        """The commit the branch is at now.

        Raises:
            InfraError: `git-failed`, when there is no such branch.
        """
        return await to_thread.run_sync(self._objects.head, branch)

    async def latest(self, branch: str) -> str:
        """The commit the branch is at now, asked where changes are written: here, as `head`.

        Raises:
            InfraError: `git-failed`, when there is no such branch.
        """
        return await self.head(branch)

    async def commit(self, name: str) -> str:
        """The commit that a name, such as `HEAD`, refers to now.

        Raises:
            InfraError: `git-failed`, when there is no such commit.
        """
        found = await to_thread.run_sync(self._objects.resolve, f"{name}^{{commit}}")
        if found is None:
            raise InfraError("git-failed", f"The repository has no commit {name}.", next_step="Commit something first.")
        return found

    async def list_tree(self, commit: str, paths: Sequence[str]) -> dict[str, Entry]:
        """Every file (and symlink, mode 120000) of a commit at or below the paths; `.` is the whole tree.

        A path that does not exist has no files. Submodules are left out.

        Raises:
            InfraError: `git-failed`, when there is no such commit.
        """
        return await to_thread.run_sync(self._objects.files, commit, list(paths))

    def read_blobs_now(self, oids: Iterable[str], largest: int | None = None) -> dict[str, bytes]:
        """The content of blobs, by id, exactly as stored; those larger than that many bytes are left out. It blocks.

        Raises:
            InfraError: `git-failed`, naming an id that is not a blob's.
        """
        return self._objects.blobs(list(oids), largest)

    async def changed(self, old: str, new: str) -> list[str]:
        """The paths at which two commits differ, sorted; submodules too.

        Raises:
            InfraError: `git-failed`, when there is no such commit.
        """
        return await to_thread.run_sync(self._objects.changed, old, new)

    async def sizes(self, oids: Iterable[str]) -> dict[str, int]:
        """The size of each object that is there, in bytes, by id; its content is not read."""
        return await to_thread.run_sync(self._objects.sizes, list(oids))

    async def merge_base(self, one: str, other: str) -> str | None:
        """The commit where two commits went apart, of those that this clone has; None where it has none of both."""
        done = await to_thread.run_sync(partial(self._runner.run, "merge-base", one, other, check=False))
        return done.out.decode().strip() or None

    async def is_shallow(self) -> bool:
        """Whether this clone lacks older commits, as pipelines make them."""
        return (await to_thread.run_sync(self._runner.run, "rev-parse", "--is-shallow-repository")).out == b"true\n"

    @effect("git.build")
    async def build_commit(self, base: str, changes: Mapping[str, bytes | None], message: str, when: int) -> str:
        """Create a commit object on top of `base`; no ref and no working tree changes.

        The same arguments give the same id, also signed, unless by an ECDSA key. Bytes are stored as they are, an
        existing file keeps its mode. Author, committer and signature are those of `committer`.

        Args:
            base: the parent commit.
            changes: new content by path; None deletes.
            message: the whole message, trailers included.
            when: author's and committer's date, in seconds since 1970.

        Raises:
            InfraError: `git-failed`: a path that leaves the tree, lies in git's own files or behind a symlink; nothing
                would change; or git failed. `setup-failed`: the key cannot be used.
        """
        return await to_thread.run_sync(build, self._objects, base, dict(changes), message, when, self.committer)

    async def check_movable(self, branch: str, base: str, paths: Collection[str]) -> None:
        """Report early that a commit of these paths, or the move to it, would be refused. Writes nothing.

        Raises:
            InfraError: `git-failed`, for a path that no commit may hold; `checkout-refused`, naming the files or
                the operation in progress.
            Moved: the branch is not at `base`.
        """
        await to_thread.run_sync(branches.check, self._objects, branch, base, list(paths))

    @effect("git.move")
    async def move(self, branch: str, commit: str, base: str) -> None:
        """Move the branch from `base` forward to `commit`; a branch that is there already is fine.

        Where it is checked out, in any worktree, this is `git merge --ff-only` in that checkout; else a
        compare-and-swap of the ref. A lock of another git is waited for, and never removed.

        Raises:
            InfraError: `checkout-refused`, naming the files or the operation in progress.
            Locked: `checkout-refused`, naming the lock that another git kept for longer than the patience.
            Moved: the branch is no longer at `base`, or `commit` is not ahead of it.
        """
        async with self._lock.hold() as hold:
            advance = branches.Advance(self._objects, branch, commit, base, hold.descriptor)
            deadline = anyio.current_time() + self._patience
            while True:
                try:
                    return await to_thread.run_sync(advance.attempt)
                except branches.Busy as busy:
                    if anyio.current_time() >= deadline:
                        what = f"Another git process holds a lock (index.lock or a ref's) that branch {branch} needs."
                        step = "Wait for it to end; if none runs, a person removes the lock file. Then send it again."
                        raise Locked("checkout-refused", what, next_step=step) from busy
                await anyio.sleep(RETRY_SECONDS)

    async def contains(self, branch: str, commit: str) -> bool:
        """Whether the branch contains the commit, asked after git children that an earlier server left have ended.

        Raises:
            InfraError: `git-failed`, when there is no such branch, or such a child does not end.
        """
        async with self._lock.hold():
            return await to_thread.run_sync(branches.contains, self._objects, branch, commit)

    def exclusive(self) -> AbstractAsyncContextManager[object]:
        """Hold the short lock on the repository; `move` and `contains` inside it do not wait for it again.

        Raises:
            InfraError: `git-failed`, when it is not free in time.
        """
        return self._lock.hold()

    async def log_trailers(self, branch: str, limit: int) -> list[Logged]:
        """The newest commits of the branch, each with its author and trailers; of a repeated trailer the last.

        Anyone who may commit may write such a trailer: it proves nothing by itself.

        Raises:
            InfraError: `git-failed`, when there is no such branch.
        """
        return await to_thread.run_sync(newest, self._objects, branch, limit)

    async def aclose(self) -> None:
        """End the persistent child. The next call would start another."""
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(self._objects.close)
