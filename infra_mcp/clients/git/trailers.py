"""Commits with their trailers, read from the objects themselves: no setting of a user's changes what is found."""

from __future__ import annotations

import re
from typing import NamedTuple

from infra_mcp.clients.git.objects import Objects, ref_of
from infra_mcp.clients.git.runner import Runner
from infra_mcp.text import one_line

MAX_AUTHOR = 200
_AUTHOR = re.compile(r"^author (.*>)", re.MULTILINE)
_TRAILER = re.compile(r"([A-Za-z0-9-]+)\s*:\s*(.*)")


class Logged(NamedTuple):
    """A commit: who wrote it, by their own word, and the trailers of its message."""

    commit: str
    author: str
    trailers: dict[str, str]


def newest(runner: Runner, objects: Objects, branch: str, limit: int) -> list[Logged]:
    """See `Git.log_trailers`."""
    listed = runner.run("rev-list", f"--max-count={limit:d}", ref_of(branch), "--").out.decode().split()
    return [_logged(commit, data) for commit, data in objects.commits(listed)]


def _logged(commit: str, data: bytes) -> Logged:
    head, _, message = data.decode("utf-8", "replace").partition("\n\n")
    author = _AUTHOR.search(head)
    return Logged(commit, one_line(author[1], MAX_AUTHOR) if author else "", _trailers(message))


def _trailers(message: str) -> dict[str, str]:
    """The trailers as git's manual has them, by a colon: the last paragraph, if that holds nothing else."""
    title, _, rest = message.strip("\n").partition("\n\n")
    lines = re.split(r"\n[ \t]*\n", rest)[-1].splitlines() if title else []
    found: dict[str, str] = {}
    last = ""
    for line in lines:
        match = _TRAILER.fullmatch(line)
        if match:
            last = match[1]
            found[last] = match[2].strip()
        elif line[:1].isspace() and last:
            found[last] += f" {line.strip()}"
        elif not line.startswith("(cherry picked from"):
            return {}
    return found
