"""The two commits that a check compares, by what a clone of a pipeline has."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from infra_mcp.clients.git import Git
from infra_mcp.errors import InfraError
from infra_mcp.text import quoted

_NAME: Final = r"[^\s\x00-\x1f\x7f]{1,200}"
_RANGE = re.compile(rf"(?P<base>{_NAME}?)(?<!\.)\.\.\.?(?P<head>(?!\.){_NAME})")
_FETCH: Final = (
    "In GitHub Actions and Gitea Actions: `fetch-depth: 0` of actions/checkout; by hand: git fetch --unshallow."
)


@dataclass(frozen=True)
class Commits:
    """What is compared."""

    base: str
    head: str
    common: str  # what the head is compared with
    lacks: tuple[str, ...]  # what this clone does not have, and what that means


async def commits_of(git: Git, given: str) -> Commits:
    """The commits of a range, and the one where they went apart.

    Args:
        git: the clone.
        given: `BASE..HEAD`.

    Raises:
        InfraError: `invalid-argument`: it is no range; `setup-failed`: the clone lacks one of them; `git-failed`.
    """
    found = _RANGE.fullmatch(given)
    if found is None or given.startswith("-"):
        raise InfraError("invalid-argument", "The range must be BASE..HEAD, two commits or branches of this clone.")
    shallow = await git.is_shallow()
    base, head = [await _commit(git, found[name], shallow=shallow) for name in ("base", "head")]
    common = await git.merge_base(base, head)
    lacks = []
    if common is None:
        why = "This clone is shallow, and so" if shallow else "The two have no common commit, so"
        what = (
            f"{why} HEAD is compared with BASE itself: what BASE has and HEAD has not shows as if it were taken back."
        )
        lacks.append(f"{what} {_FETCH}" if shallow else what)
    elif common != base:
        lacks.append(
            f"BASE has moved on since {common[:12]}, where HEAD began: HEAD is compared with that commit. "
            "Check the merge of both to see what merging gives."
        )
    return Commits(base, head, common or base, tuple(lacks))


async def _commit(git: Git, name: str, *, shallow: bool) -> str:
    try:
        return await git.commit(name)
    except InfraError as error:
        if error.code != "git-failed" or "no commit" not in error.what:
            raise
        what = f"This {'shallow ' if shallow else ''}clone has no commit {quoted(name, 80)}."
        step = _FETCH if shallow else "Fetch it first: git fetch origin BRANCH."
        raise InfraError("setup-failed", what, next_step=step) from None
