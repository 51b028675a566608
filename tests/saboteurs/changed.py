"""Which files a change touched: against where its branch began, or else against the release or commit before it."""

from __future__ import annotations

import subprocess
from pathlib import Path

__all__ = ["changed"]

_EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"  # git knows it in every repository


def changed(root: Path) -> tuple[str, set[str]]:
    """What the checkout is compared with, for people, and the files that differ, uncommitted ones included.

    The first that is there and is not HEAD itself: where the branch left its upstream or the remote's own branch, the
    last release's tag, the commit before. A repository with one commit is new as a whole.
    """
    head = _git(root, "rev-parse", "HEAD")
    for name, words in (
        ("its upstream", ("merge-base", "HEAD", "@{upstream}")),
        ("the remote's branch", ("merge-base", "HEAD", "origin/HEAD")),
        ("the last release", ("rev-list", "-n1", _git(root, "describe", "--tags", "--abbrev=0") or "no-tag")),
        ("the commit before", ("rev-parse", "--verify", "HEAD~1")),
    ):
        base = _git(root, *words)
        if base and base != head:
            return f"{name}, {base[:12]}", _differing(root, base)
    return "nothing", _differing(root, _EMPTY_TREE)


def _differing(root: Path, base: str) -> set[str]:
    return set(_git(root, "diff", "--name-only", base).splitlines())


def _git(root: Path, *words: str) -> str:
    """What git prints; nothing where it fails."""
    argv = ["git", "-C", str(root), *words]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout.strip() if done.returncode == 0 else ""
