"""Edits a file, and shows its values and the lines that differ."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from infra_mcp.errors import InfraError
from infra_mcp.repository.edit import ABSENT, apply_edits, rewrite
from infra_mcp.repository.edits import SetValue
from infra_mcp.repository.nodes import Unreadable, compose, values
from infra_mcp.repository.value import Tree

__all__ = ["apply_edit", "changed_lines", "loaded", "remove_field", "set_field", "set_fields"]


def set_fields(text: bytes, edits: Iterable[tuple[int, Sequence[str | int], Any]]) -> bytes:
    try:
        return rewrite(text, [(index, tuple(path), value) for index, path, value in edits])
    except Unreadable as error:
        raise InfraError("manifest-invalid", f"Line {error.line}: {error.why}.") from None


def set_field(text: bytes, index: int, path: Sequence[str | int], value: Any) -> bytes:
    return set_fields(text, [(index, path, value)])


def remove_field(text: bytes, index: int, path: Sequence[str | int]) -> bytes:
    return set_fields(text, [(index, path, ABSENT)])


def apply_edit(tree: Tree, edit: SetValue) -> Tree:
    return apply_edits(tree, [edit])


def loaded(data: bytes) -> list[Any]:
    return values(compose(data.decode()))


def changed_lines(before: bytes, after: bytes) -> list[str]:
    old, new = (data.decode().split("\n") for data in (before, after))
    return [
        row
        for row in difflib.unified_diff(old, new, lineterm="", n=0)
        if row[0] in "+-" and row[:3] not in ("+++", "---")
    ]
