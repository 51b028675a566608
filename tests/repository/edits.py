"""Edits a file, and shows its values and the lines that differ."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from infra_mcp.clients.git import Entry
from infra_mcp.errors import InfraError
from infra_mcp.repository.edit import apply_edits
from infra_mcp.repository.edits import SetValue
from infra_mcp.repository.nodes import Unreadable, compose, values
from infra_mcp.repository.partial import get_path
from infra_mcp.repository.value import Base, Tree

__all__ = ["apply_edit", "changed_lines", "loaded", "remove_field", "set_field", "set_fields"]

PATH = "a"  # no suffix: any YAML may stand in it


def set_fields(text: bytes, edits: Iterable[tuple[int, Sequence[str | int], Any]]) -> bytes:
    """The text with values set, in documents counted from zero; None removes a value."""
    entries = {PATH: Entry("100644", "0" * 40)}
    tree = Tree(Base("c" * 40, "", (), entries, {}, fetch=lambda oids: dict.fromkeys(oids, text)))
    wanted = [_edit(text, index, tuple(path), value) for index, path, value in edits]
    try:
        return apply_edits(tree, wanted).read(PATH) or b""
    except InfraError as error:
        what = error.what.removeprefix(f"{PATH}, ").removeprefix(f"{PATH}: ")
        raise InfraError(error.code, what[:1].upper() + what[1:]) from None


def _edit(text: bytes, index: int, path: tuple[str | int, ...], value: Any) -> SetValue:
    before = None
    with suppress(Unreadable, IndexError):
        before = get_path(loaded(text)[index], path)[1]
    return SetValue(path=PATH, document=index, field=path, before=before, after=value)


def set_field(text: bytes, index: int, path: Sequence[str | int], value: Any) -> bytes:
    return set_fields(text, [(index, path, value)])


def remove_field(text: bytes, index: int, path: Sequence[str | int]) -> bytes:
    return set_fields(text, [(index, path, None)])


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
