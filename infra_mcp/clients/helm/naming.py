"""The names that Helm takes. None of them can be a flag, a path or part of a command."""

from __future__ import annotations

import re
from typing import Final

from infra_mcp.errors import InfraError

RELEASE: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
MAX_RELEASE: Final = 53  # characters, Helm's own bound
_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def require_names(name: str, namespace: str) -> None:
    """Require names of a release and its namespace.

    Raises:
        InfraError: `invalid-argument`.
    """
    if len(name) > MAX_RELEASE or not RELEASE.fullmatch(name):
        what = f"A release's name is lower-case letters, digits, dots and hyphens, at most {MAX_RELEASE}."
        raise InfraError("invalid-argument", what)
    if not _NAMESPACE.fullmatch(namespace):
        raise InfraError("invalid-argument", "A namespace's name is lower-case letters, digits and hyphens.")
