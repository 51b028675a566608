"""The infra repository at its remote: read from a bare clone of the server's own, and moved only by a push."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

from anyio import to_thread

from infra_mcp.clients.git.branch import check_paths, contains
from infra_mcp.clients.git.clone import MOST, Clone
from infra_mcp.clients.git.login import NAME, Login, Remote
from infra_mcp.clients.git.objects import ref_of
from infra_mcp.clients.git.repository import Git
from infra_mcp.clients.git.runner import Done, Runner
from infra_mcp.effects import effect
from infra_mcp.errors import InfraError, Raced, Unavailable
from infra_mcp.text import one_line, quoted

_MAX_ADDED: Final = 20  # commits of others in a pull request that are named
_MAX_WORDS: Final = 600  # characters of what the remote said
_SILENT: Final = (  # git's words for a remote that does not answer; it may later
    "could not resolve host",
    "failed to connect",
    "couldn't connect",
    "could not connect",
    "connection refused",
    "connection timed out",
    "connection reset",
    "operation timed out",
    "network is unreachable",
    "no route to host",
    "temporary failure in name resolution",
    "the remote end hung up",
    "unexpected disconnect",
    "returned error: 5",
    "empty reply from server",
    "kex_exchange_identification",  # ssh, before it has seen a key of the host
    "connection closed by",
    "operation too slow",
)
_SSH_ENDED: Final = "fatal: Could not read from remote repository"
_HOST_KEY: Final = "host key verification failed"
_LOGIN: Final = ("permission denied (", "authentication failed", "could not read username", "returned error: 40")
_LOST: Final = ("cannot lock ref", "failed to update ref", "fetch first", "reference already exists")
_NO_SUCH_BRANCH: Final = "couldn't find remote ref"


class Upstream(Git):
    """The branch at its remote. Reads and builds as `Git` does; what it writes is a push, and nothing else moves.

    The clone is bare and the server's own: no checkout, index, stash or ref of a person is touched. A push states the
    commit that the remote's branch must be at, so that one that lost a race is refused and planned again.

    Args:
        folder: where the clone is; made at the first use.
        lock_file: as of `Git`.
        remote: the repository and the login for it.
        most: bytes that the clone may take on the disk.
    """

    def __init__(self, folder: Path, lock_file: Path, remote: Remote, *, most: int = MOST, **patience: float) -> None:
        super().__init__(folder, lock_file, **patience)
        self.remote = remote
        self._clone = Clone(self._objects, remote, most)

    async def check_usable(self) -> None:
        """Make the clone where it is not there. The remote is not asked.

        Raises:
            InfraError: `setup-failed`, with git's reason.
        """
        await to_thread.run_sync(self._clone.make)
        await super().check_usable()

    async def latest(self, branch: str) -> str:
        """The commit that the remote's branch is at now, fetched.

        Raises:
            Unavailable: `remote-unreachable`.
            InfraError: `git-failed`: there is no such branch, or the remote refuses us.
        """
        async with self._lock.hold() as hold:
            await to_thread.run_sync(self._fetch, branch, hold.descriptor)
        return await super().head(branch)

    async def head(self, branch: str) -> str:
        """The commit that the branch was at when it was last fetched or pushed; it is fetched if it never was."""
        found = await to_thread.run_sync(self._known, branch)
        return found or await self.latest(branch)

    async def check_movable(self, branch: str, base: str, paths: Collection[str]) -> None:
        """Report early that a commit of these paths would be refused; whether the remote takes it shows at the push.

        Raises:
            InfraError: `git-failed`, for a path that no commit may hold.
            Moved: the branch is not at `base`.
        """
        await to_thread.run_sync(check_paths, self._objects, branch, base, list(paths))

    @effect("git.push")
    async def move(self, branch: str, commit: str, base: str) -> None:
        """Push the commit to the remote's branch, which must be at `base`; one that is there already is fine.

        Raises:
            Raced: the remote's branch is elsewhere; what it is at now has been fetched.
            Unavailable: `remote-unreachable`; whether it was pushed is unknown, and `contains` tells.
            InfraError: `push-refused`, with the remote's words: a hook, or a branch that is protected.
        """
        async with self._lock.hold() as hold:
            await to_thread.run_sync(self._push, branch, commit, base, hold.descriptor)

    @effect("git.publish")
    async def publish(self, branch: str, commit: str, ours: Collection[str]) -> None:
        """Push a commit to a branch of our own, for a proposal; one that is there already is fine.

        Args:
            branch: ours alone, so it may move in any direction.
            commit: what it is to be at.
            ours: what we may have pushed there before.

        Raises:
            Raced: the branch is at something that we did not push.
            Unavailable: `remote-unreachable`.
            InfraError: `push-refused`, with the remote's words.
        """
        async with self._lock.hold() as hold:
            await to_thread.run_sync(self._publish, branch, commit, ours, hold.descriptor)

    @effect("git.unpublish")
    async def unpublish(self, branch: str, ours: Collection[str]) -> bool:
        """Delete a branch of our own at the remote, unless it is at something that we did not push; whether it is gone.

        Nothing of the clone is read or changed, so that nothing waits for it.

        Raises:
            Unavailable: `remote-unreachable`.
            InfraError: `push-refused`.
        """
        return await to_thread.run_sync(self._unpublish, branch, ours)

    async def added(self, number: int, ours: str, head: str) -> tuple[str, ...]:
        """The commits that others added to a pull request of ours, each with its author, the first first.

        Args:
            number: of the pull request; forges keep its head as `refs/pull/NUMBER/head`.
            ours: the commit that we proposed last.
            head: the commit that it is at.

        Raises:
            Unavailable: `remote-unreachable`.
            InfraError: `git-failed`.
        """
        async with self._lock.hold() as hold:
            return await to_thread.run_sync(self._added, number, ours, head, hold.descriptor)

    async def contains(self, branch: str, commit: str) -> bool:
        """Whether the remote's branch contains the commit, asked there."""
        async with self._lock.hold() as hold:
            await to_thread.run_sync(self._fetch, branch, hold.descriptor)
            return await to_thread.run_sync(contains, self._objects, branch, commit)

    def read_blobs_now(self, oids: Iterable[str], largest: int | None = None) -> dict[str, bytes]:
        """As of `Git`. Those of commits from before the clone was made are fetched, all with one request.

        Raises:
            InfraError: `git-failed`, naming an id that is not a blob's, or as `latest`.
        """
        wanted = list(oids)
        try:
            return super().read_blobs_now(wanted, largest)
        except InfraError:
            lacking = self._objects.lacking(wanted)
            if not lacking:
                raise
        with self._lock.hold_now() as hold:
            done = self._clone.fetch_files(lacking, hold.descriptor)
        if done.code:
            raise self._failure(done)
        return super().read_blobs_now(wanted, largest)

    def _known(self, branch: str) -> str | None:
        self._clone.make()
        return self._objects.resolve(f"{ref_of(branch)}^{{commit}}")

    def _fetch(self, branch: str, lock: int) -> None:
        done = self._clone.fetch(branch, lock)
        if done.code == 0:
            return
        if _NO_SUCH_BRANCH in done.err:
            raise InfraError("git-failed", f"{self.remote.shown} has no branch {branch}.")
        raise self._failure(done)

    def _push(self, branch: str, commit: str, base: str, lock: int) -> None:
        ref = ref_of(branch)
        if self._objects.head(branch) == commit:
            return
        try:
            self._leased(branch, f"{commit}:{ref}", base, lock)
        except Raced:
            self._fetch(branch, lock)
            if self._objects.head(branch) != commit:  # else an earlier try of ours came through
                raise
        else:
            self._runner.run("update-ref", "--no-deref", ref, commit)

    def _added(self, number: int, ours: str, head: str, lock: int) -> tuple[str, ...]:
        if self._objects.resolve(f"{head}^{{commit}}") is None:
            kept = f"refs/pull/{number}/head:refs/infra-mcp/proposals/{number}"
            options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--force")
            done = self._clone.talk(lock, "fetch", *options, "--", NAME, kept)
            if done.code:
                raise self._failure(done)
        asked = ("log", "--reverse", f"--max-count={_MAX_ADDED}", "--format=%h by %an", f"{ours}..{head}", "--")
        return tuple(map(one_line, self._runner.run(*asked).out.decode("utf-8", "replace").splitlines()))

    def _publish(self, branch: str, commit: str, ours: Collection[str], lock: int) -> None:
        self._clone.make()
        there = self._there(branch, lock)
        if there not in (None, *ours):
            raise Raced(f"branch {branch} of {self.remote.shown}")
        if there != commit:
            self._leased(branch, f"{commit}:{ref_of(branch)}", there or "", lock)
        self._runner.run("update-ref", "--no-deref", ref_of(branch), commit)  # so that its objects are kept

    def _unpublish(self, branch: str, ours: Collection[str]) -> bool:
        self._clone.make()
        there = self._there(branch)
        if there in ours:
            self._leased(branch, f":{ref_of(branch)}", there or "")
        return there in (None, *ours)

    def _there(self, branch: str, lock: int | None = None) -> str | None:
        """The commit that a branch is at there, which is not fetched; None where there is no such branch."""
        done = self._clone.talk(lock, "ls-remote", "--", NAME, ref_of(branch))
        if done.code:
            raise self._failure(done)
        return done.out.decode("ascii", "replace").partition("\t")[0] or None

    def _leased(self, branch: str, refspec: str, former: str, lock: int | None = None) -> None:
        lease = f"--force-with-lease={ref_of(branch)}:{former}"
        options = ("--porcelain", "--no-verify", "--no-follow-tags", lease)
        done = self._clone.talk(lock, "push", *options, "--", NAME, refspec)
        if done.code == 0:
            return
        said = done.out.decode("utf-8", "replace")
        refused = "[remote rejected]" in said
        # By our own git, where the lease does not hold; by the remote, since its branch had moved a moment before.
        if "[rejected]" in said or (refused and any(words in said for words in _LOST)):
            raise Raced(f"branch {branch} of {self.remote.shown}")
        if refused:
            raise self._refused(branch, said, done.err)
        raise self._failure(done)

    def _refused(self, branch: str, said: str, err: str) -> InfraError:
        marked = next(line for line in said.splitlines() if "[remote rejected]" in line)
        reason = marked.rpartition("(")[2].rstrip(") ")
        words = [line.removeprefix("remote:").strip() for line in err.splitlines() if line.startswith("remote:")]
        text = quoted("; ".join([reason, *filter(None, words)]), _MAX_WORDS)
        what = f"{self.remote.shown} refused the push to {branch}: {text}."
        step = "Let the server's account push there, or use the forge's way for proposals; then send it again."
        return InfraError("push-refused", what, next_step=step)

    def _failure(self, done: Done) -> InfraError:
        lowered, shown, login = done.err.lower(), self.remote.shown, self.remote.login
        if _HOST_KEY in lowered:
            known = login.known_hosts or "/etc/ssh/ssh_known_hosts"
            problem = "is not the one in" if "has changed" in lowered else "is not in"
            step = f"Compare the key with the fingerprints that its owner publishes, then write its line into {known}."
            return InfraError("git-failed", f"The host key of {shown} {problem} {known}.", next_step=step)
        if any(words in lowered for words in _LOGIN):
            if file := login.token_file if self.remote.is_http else login.key_file:
                step = f"Check that {file} is what the server's account there has, and its rights."
            else:
                step = f"Set {'token_file' if self.remote.is_http else 'key_file'} in [forge] of infra.toml."
            return InfraError("git-failed", f"{shown} refused the login: {self._why(done)}.", next_step=step)
        if any(words in lowered for words in _SILENT):
            return Unavailable("remote-unreachable", f"{shown} does not answer: {self._why(done)}.")
        return InfraError("git-failed", f"{shown}: {self._why(done)}.")

    def _why(self, done: Done) -> str:
        words = done.err
        if _SSH_ENDED in words:  # git's words; ssh has given the reason in the line before
            words = words[: words.index(_SSH_ENDED)].strip().rpartition("\n")[2]
        return done._replace(err=words or done.err).why.replace(self.remote.url, self.remote.shown)


def remote_of(repo: Path, name: str, login: Login) -> Remote:
    """The remote that a checkout knows by a name.

    Raises:
        InfraError: `setup-failed`, when it knows none.
    """
    done = Runner(repo).run("config", "--get", f"remote.{name}.url", check=False)
    url = done.out.decode("utf-8", "replace").strip()
    if done.code or not url:
        step = f"git remote add {name} URL, or name another one as [tree] remote in infra.toml."
        raise InfraError("setup-failed", f"The repository has no remote {quoted(name, 80)}.", next_step=step)
    return Remote(url, login)
