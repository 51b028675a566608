"""Paths inside the repository: what roots are above them, and what their names say."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from infra_mcp.errors import InfraError

SUFFIXES = (".yaml", ".yml", ".json")  # of files that may hold objects
# Folders whose files are for tests and people to copy, or are somebody else's: they are applied to no cluster.
SAMPLES = re.compile(
    r"tests?|testdata|test-data|e2e|fixtures|samples?|examples?|vendor|node_modules|third_party|\.[^/]*"
)
_CHARTS = frozenset({"chart.yaml", "chart.yml"})


def normal(root: str) -> str:
    """A root without `./` and slashes at the ends; empty for the whole repository.

    Raises:
        InfraError: `policy-invalid`, for a root outside the repository.
    """
    parts = [part for part in root.split("/") if part not in ("", ".")]
    if root.startswith("/") or ".." in parts:
        raise InfraError("policy-invalid", f"The root {root!r} is not in the repository.")
    return "/".join(parts)


def is_chart(path: str) -> bool:
    """Whether a file has the name of a chart's, `Chart.yaml`, which some people write in small letters."""
    return posixpath.basename(path).lower() in _CHARTS


def is_in(path: str, folder: str) -> bool:
    """Whether a path is this folder or file, or below it; an empty one is the whole repository."""
    return not folder or path == folder or path.startswith(f"{folder}/")


def depth(path: str, roots: Iterable[str]) -> int:
    """The length of the longest of these roots above a path, the one that decides about it; -1 without one."""
    return max((len(root) for root in roots if is_in(path, root)), default=-1)


def below(path: str, root: str) -> bool:
    """Whether a path is below a root, and no part of it in between is hidden or leads elsewhere."""
    parts = path.split("/")
    whole = not any(part in ("", ".", "..") or part.startswith(".") for part in parts[root.count("/") + bool(root) :])
    return whole and (not root or path.startswith(f"{root}/"))
