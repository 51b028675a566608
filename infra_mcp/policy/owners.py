"""Who owns a path: the patterns of [[owners]]. Pure.

A pattern means what git means by it as a pathspec with `:(glob)`: without a wildcard a file, or a folder with all that
is below it; otherwise the whole path must match, where `*` stands for characters without a slash, and `**/`, `/**/` and
`/**` for any number of folders.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache


def is_path_pattern(pattern: str) -> bool:
    """Whether it is a path inside the repository, with no wildcards but `*` and `**`."""
    parts = pattern.split("/")
    return not any(part in {"", ".", "..", ".git"} or part.startswith("-") for part in parts)


def is_within(path: str, folder: str) -> bool:
    """Whether a path is this file or folder, or below it; `.` is the whole repository."""
    return folder in (".", path) or path.startswith(f"{folder}/")


def covers(pattern: str, path: str) -> bool:
    """Whether a path is one that the pattern is about."""
    if "*" not in pattern:
        return is_within(path, pattern)
    parts, folders = pattern.split("/"), path.split("/")
    reached = {0}  # how many parts of the path the pattern may have used up
    for number, part in enumerate(parts, 1):
        if part == "**":
            reached = set(range(min(reached) + (number == len(parts)), len(folders) + 1))
        else:
            form = _compiled(part)
            reached = {at + 1 for at in reached if at < len(folders) and form.fullmatch(folders[at])}
        if not reached:
            return False
    return len(folders) in reached


def nearest(patterns: Iterable[tuple[str, str]], path: str) -> str | None:
    """The owner of a path: that of the pattern about it with the most characters that are no wildcard.

    Of several such patterns, the one without a wildcard decides, and then the first.

    Args:
        patterns: each pattern with its owner, in the order of the policy.
        path: a file or a folder.
    """
    about = [(pattern, owner) for pattern, owner in patterns if covers(pattern, path)]
    return max(about, key=lambda one: (len(one[0].replace("*", "")), "*" not in one[0]), default=("", None))[1]


@lru_cache(maxsize=4096)
def _compiled(part: str) -> re.Pattern[str]:
    """One part of a pattern; `**` inside of one is a `*`."""
    return re.compile(".*".join(re.escape(text) for text in re.split(r"\*+", part)), re.DOTALL)
