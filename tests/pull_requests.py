"""Clones with a base and a pull request's head, made of files."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

__all__ = ["CLEAN", "PullRequest", "git"]

CLEAN = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "PATH": os.environ["PATH"]}
_PERSON = ("-c", "user.name=Pat", "-c", "user.email=pat@example.org", "-c", "core.autocrlf=false")


def git(repo: Path, *words: str) -> str:
    """Run git there, without this machine's configuration."""
    done = subprocess.run(
        ["git", "-C", str(repo), *_PERSON, *words], check=True, env=CLEAN, stdin=subprocess.DEVNULL, capture_output=True
    )
    return done.stdout.decode().strip()


class PullRequest:
    """A clone with branch `main`, and `head` on top of it.

    Args:
        repo: a folder that is made.
        base: content by path.
        head: what the pull request changes; None deletes a file.
        links: symbolic links that it adds, with their targets.
    """

    def __init__(
        self,
        repo: Path,
        base: Mapping[str, str | bytes],
        head: Mapping[str, str | bytes | None],
        links: Mapping[str, str] | None = None,
    ) -> None:
        self.repo = repo
        repo.mkdir(parents=True)
        git(repo, "init", "-q", "-b", "main")
        self.write(base)
        self.commit("The base")
        git(repo, "checkout", "-q", "-b", "head")
        self.write(head)
        for path, target in (links or {}).items():
            (repo / path).parent.mkdir(parents=True, exist_ok=True)
            (repo / path).symlink_to(target)
        self.commit("The pull request")

    def write(self, files: Mapping[str, str | bytes | None]) -> None:
        """Write files into the working tree."""
        for path, content in files.items():
            place = self.repo / path
            if content is None:
                place.unlink()
                with suppress(OSError):  # other files are in it
                    place.parent.rmdir()
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content.encode() if isinstance(content, str) else content)

    def commit(self, title: str) -> str:
        """Commit everything there is; returns the commit's id."""
        git(self.repo, "add", "--all", "--force")
        git(self.repo, "commit", "-q", "--allow-empty", "-m", title)
        return git(self.repo, "rev-parse", "HEAD")
