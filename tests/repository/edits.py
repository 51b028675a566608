"""What an edit did to a file: its values, and the lines that differ."""

from __future__ import annotations

import difflib
from typing import Any

from infra_mcp.repository.nodes import compose, values

__all__ = ["changed_lines", "loaded"]


def loaded(data: bytes) -> list[Any]:
    return values(compose(data.decode()))


def changed_lines(before: bytes, after: bytes) -> list[str]:
    old, new = (data.decode().split("\n") for data in (before, after))
    return [
        row
        for row in difflib.unified_diff(old, new, lineterm="", n=0)
        if row[0] in "+-" and row[:3] not in ("+++", "---")
    ]
