"""What two commits differ in: their files, and the values in these. Blocks while files are read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from infra_mcp.errors import InfraError
from infra_mcp.model.effect import FieldPath
from infra_mcp.model.location import At
from infra_mcp.repository.census.index import LARGEST
from infra_mcp.repository.changes import Change, Path, differences
from infra_mcp.repository.hcl import source as hcl
from infra_mcp.repository.locator.holds import steps
from infra_mcp.repository.paths import SUFFIXES
from infra_mcp.repository.scalars import Json
from infra_mcp.repository.value import Tree

_VALUES: Final = (*SUFFIXES, *hcl.SUFFIXES)  # of files whose values are compared
_CONTENT: Final = frozenset({("data",), ("stringData",)})  # of a Secret
MAX_VALUES: Final = 200  # of one file


@dataclass(frozen=True)
class ValueChange:
    """One value of a file that two commits have differently."""

    at: At
    before: Json = None
    after: Json = None
    had: bool = True  # whether it was there before
    has: bool = True  # whether it is there after
    is_secret: bool = False  # whether it is the content of a Secret


def unreadable(tree: Tree, paths: Iterable[str]) -> dict[str, str]:
    """Why files cannot be read as values, by path; without those that are not there."""
    found = {}
    for path in (path for path in paths if path.endswith(_VALUES)):
        try:
            tree.documents(path)
        except InfraError as error:
            found[path] = error.what
    return found


def value_changes(before: Tree, after: Tree, path: str) -> list[ValueChange]:
    """The values that differ in a file that both trees have, as few and as small as possible.

    Args:
        before: one tree.
        after: another one.
        path: of the file; one that holds no values, is large or cannot be read has none.

    Returns:
        At most `MAX_VALUES` of them, and one more where there are more.
    """
    if not path.endswith(_VALUES) or not (before.is_file(path) and after.is_file(path)):
        return []
    sides = [tree.read(path) for tree in (before, after)]
    if any(data is None or len(data) > LARGEST for data in sides):
        return []
    try:
        old, new = before.documents(path) or [], after.documents(path) or []
    except InfraError:
        return []
    return [_change(path, old, new, one) for one in islice(differences(old, new), MAX_VALUES + 1)]


def _change(path: str, old: list[Any], new: list[Any], one: Change) -> ValueChange:
    had, has = one.kind in {"replace", "remove"}, one.kind != "remove"
    # A whole document that is added is counted among the new ones; everything else as `differences` walks, by the old.
    documents = new if one.kind == "add" and len(one.path) == 1 else old
    document, field = _named(documents, one)
    body = documents[document]
    return ValueChange(
        At(path, document if max(len(old), len(new)) > 1 else None, field),
        _get(old, one.path) if had else None,
        one.value if has else None,
        had,
        has,
        is_secret=isinstance(body, dict) and body.get("kind") == "Secret" and field[:1] in _CONTENT,
    )


def _named(documents: list[Any], change: Change) -> tuple[int, FieldPath]:
    """The document of a change, and the field in it with items by their names, as a `Spot` has it."""
    document, *rest = change.path
    field: list[Any] = []
    value = documents[int(document)]
    for at, key in enumerate(rest):
        item: Any = value[key] if isinstance(value, list) and isinstance(key, int) and key < len(value) else None
        if change.kind == "add" and at == len(rest) - 1:
            item = change.value
        is_item = isinstance(key, int)
        named = [name for name, _ in steps(value)] if is_item and isinstance(item, dict) and "name" in item else []
        field.append({"name": item["name"]} if named and all(isinstance(one, dict) for one in named) else key)
        value = _get(value, (key,))
    return int(document), tuple(field)


def _get(value: Any, path: Path) -> Json:  # noqa: ANN401 - a JSON value
    """What stands at a path of keys and positions; None where nothing does."""
    for key in path:
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
        else:
            return None
    return value
