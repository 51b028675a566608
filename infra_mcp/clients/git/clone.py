"""The server's own clone of a remote: bare, without old files where the remote allows it, and bounded on the disk.

A new clone takes two fetches: the history without files, then the files of the branch's head together. Each later fetch
is one: what is new comes with its files. So the head always has all of its files, and no read of one asks the remote.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from infra_mcp.clients.git.login import NAME, Remote
from infra_mcp.clients.git.objects import GITLINK, TREE, Objects, ref_of
from infra_mcp.clients.git.runner import Done, Runner
from infra_mcp.errors import InfraError

FETCH_SECONDS: Final = 300.0  # of the first fetch too
MOST: Final = 2048 << 20  # bytes
_MIB: Final = 1 << 20
_QUIETLY: Final = ("--quiet", "--no-tags", "--no-write-fetch-head", "--recurse-submodules=no")
_WITHOUT_FILES: Final = "--filter=blob:none"
_NOT_GIVEN: Final = ("unadvertised object", "not our ref")  # from a remote of git's old protocol
# Only the commands below are told that the clone lacks files. If its own settings said so, each read of such a file
# would fetch it, one by one and without the server's login.
_PARTIAL: Final = {f"remote.{NAME}.promisor": "true", f"remote.{NAME}.partialCloneFilter": "blob:none"}
# Packs and loose objects in git's own numbers, whatever the user's settings are; nothing goes on in the background.
_TIDY: Final = {
    "gc.auto": "6700",
    "gc.autoPackLimit": "50",
    "gc.autoDetach": "false",
    "gc.bigPackThreshold": "64m",  # only smaller ones are put together
    "gc.pruneExpire": "2.weeks.ago",
    "repack.writeBitmaps": "false",  # which need all objects
}


class Clone:
    """Fetches into a clone. Synchronous; the caller holds the clone's lock and gives its descriptor.

    Args:
        objects: of the clone.
        remote: where it is fetched from.
        most: bytes that the clone may take on the disk.
    """

    def __init__(self, objects: Objects, remote: Remote, most: int) -> None:
        self._objects = objects
        self._runner = objects.runner
        self._remote = remote
        self._most = most
        self._is_begun = False
        self._whole = ""  # the commit whose files were found to be here last

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self._runner.repo

    def make(self) -> None:
        """Make the empty clone where it is not there. The remote is not asked."""
        if (self.folder / "HEAD").exists():
            return
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._runner.run("init", "--quiet", "--bare")

    def fetch(self, branch: str, lock: int) -> Done:
        """Fetch a branch, with all files of its head. An end other than 0 is the caller's to explain.

        Raises:
            InfraError: `git-failed`, when the clone would take more of the disk than it may.
        """
        self.make()
        ref = ref_of(branch)
        self._is_begun = self._is_begun or bool(self._runner.run("for-each-ref", "--count=1").out)
        # A clone that is partial would leave files out each time, and be asked for them a second time.
        how = "--no-filter" if self._is_begun else _WITHOUT_FILES
        done = self._bounded(lock, how, "--force", "--", NAME, f"{ref}:{ref}")
        if done.code or (head := self._objects.head(branch)) == self._whole:
            return done
        lacking = self._objects.lacking(self._files(head))
        if lacking:
            done = self.fetch_files(lacking, lock)
            if any(words in done.err for words in _NOT_GIVEN):
                done = self._bounded(lock, "--refetch", "--no-filter", "--force", "--", NAME, f"{ref}:{ref}")
        if done.code == 0:
            self._whole = head
            self._tidy(lock)
        return done

    def fetch_files(self, oids: Iterable[str], lock: int) -> Done:
        """Fetch the content of these files, all with one request; raises as `fetch`."""
        names = "".join(f"{oid}\n" for oid in oids).encode()
        # It is not to say which commits it has: a remote with bitmaps would take it that their files are here, too.
        silent = ("-c", "fetch.negotiationAlgorithm=noop")
        return self._bounded(lock, _WITHOUT_FILES, "--stdin", NAME, before=silent, feed=names)

    def talk(self, lock: int | None, *words: str, room: int | None = None, feed: bytes | None = None) -> Done:
        """Run a git command that talks to the remote, with the server's login and no home of a person."""
        keep = () if lock is None else (lock,)
        runner = Runner(self.folder, keep=keep, seconds=FETCH_SECONDS, home=self.folder, room=room)
        return runner.run(*words, check=False, config=_PARTIAL | self._remote.config(), feed=feed)

    def _files(self, commit: str) -> Iterator[str]:
        """The ids of a commit's files, without those that the last whole commit has at the same paths."""
        if not self._whole:
            yield from (entry.oid for entry in self._objects.files(commit, ["."]).values())
            return
        for path in self._objects.changed(self._whole, commit):
            entry = self._objects.lookup(commit, path)
            if entry is not None and entry.mode not in (TREE, GITLINK):
                yield entry.oid

    def _tidy(self, lock: int) -> None:
        runner = Runner(self.folder, keep=(lock,), seconds=FETCH_SECONDS)
        with suppress(InfraError):  # it is tried again after the next fetch
            runner.run("gc", "--auto", "--quiet", check=False, config=_PARTIAL | _TIDY)

    def _bounded(self, lock: int, *words: str, before: Sequence[str] = (), feed: bytes | None = None) -> Done:
        packs = self.folder / "objects" / "pack"
        self._remove_unfinished(packs)
        room = self._most - sum(one.stat().st_size for one in packs.iterdir())
        if room > 0:
            done = self.talk(lock, *before, "fetch", *_QUIETLY, *words, room=room, feed=feed)
            # git does not say that its child was ended for it.
            if done.code == 0 or all(one.stat().st_size < room for one in packs.glob("tmp_*")):
                return done
            self._remove_unfinished(packs)
        what = f"{self._remote.shown} would take more than {self._most // _MIB} MiB of the disk."
        step = f"If it is meant to be so large, raise [tree] clone_mib in infra.toml; the clone is {self.folder}."
        raise InfraError("git-failed", what, next_step=step)

    def _remove_unfinished(self, packs: Path) -> None:
        """Remove what a fetch that was killed left: git never does, and it would count for ever."""
        for one in packs.glob("tmp_*"):
            one.unlink(missing_ok=True)
