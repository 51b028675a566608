"""Changes values in YAML files so that nothing else changes: one span each, comments and style kept, else refused."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from infra_mcp.errors import InfraError, Moved
from infra_mcp.model.effect import FieldPath, show_path
from infra_mcp.repository.changes import ABSENT, Change, Key, differences, put
from infra_mcp.repository.edits import SetValue
from infra_mcp.repository.nodes import Unreadable, compose, decode, values
from infra_mcp.repository.partial import same
from infra_mcp.repository.render import Found
from infra_mcp.repository.spans import SourceText, Splice
from infra_mcp.repository.value import Tree

CHANGES = 2000  # single changes that one call may come to


def set_field(text: bytes, index: int, path: Sequence[Key], value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """Set one value in one document; keys that are missing on the way are made.

    Every other value, every comment, the order and the style of everything else stay as they are, and the change is one
    hunk (a list or map that differs in several places: one for each). A value written with quotes keeps them. A list is
    appended to by the index past its end.

    Args:
        text: the file.
        index: which of its documents, counted from zero.
        path: keys and list indexes.
        value: any JSON value; None writes `null`.

    Raises:
        InfraError: `manifest-invalid`, naming the line, when that cannot be done without changing more: the value is
            shared through an anchor, a comment would be lost, or there is no such place.
    """
    return set_fields(text, [(index, path, value)])


def set_fields(text: bytes, edits: Iterable[tuple[int, Sequence[Key], Any]]) -> bytes:
    """Set several values at once. A value shared through an anchor can be set when all its places are set to it.

    Raises:
        InfraError: as `set_field`.
    """
    try:
        return _rewrite(text, [(index, tuple(path), value) for index, path, value in edits])
    except Unreadable as error:
        raise InfraError("manifest-invalid", f"Line {error.line}: {error.why}.") from None


def remove_field(text: bytes, index: int, path: Sequence[Key]) -> bytes:
    """Take one key or list item out, with the comment on its line; labels or annotations left empty go too.

    Raises:
        InfraError: as `set_field`.
    """
    return set_fields(text, [(index, path, ABSENT)])


def resolve(obj: Any, field: FieldPath) -> list[Key]:  # noqa: ANN401 - any JSON value
    """A field path with its keyed steps (`{"name": "web"}`) as indexes of this object's lists.

    Map keys that are not there are taken as they come: the field is to be made.

    Raises:
        InfraError: `manifest-invalid`: no item, or several, have those keys; or a step does not fit what is there.
    """
    found: list[Key] = []
    here = obj
    for step in field:
        if isinstance(step, str):
            if here is not None and not isinstance(here, dict):
                raise InfraError(
                    "manifest-invalid", f"There is no {show_path(field)}: .{step} is looked for in no map."
                )
            here = (here or {}).get(step)
            found.append(step)
            continue
        items = here if isinstance(here, list) else []
        hits = [i for i, item in enumerate(items) if _has_keys(item, step)]
        if len(hits) != 1:
            what = "No item" if not hits else "More than one item"
            raise InfraError("manifest-invalid", f"{what} of the list is meant by {show_path(field)}.")
        here = items[hits[0]]
        found.append(hits[0])
    return found


def apply_edit(tree: Tree, edit: SetValue) -> Tree:
    """The tree with one value set, wherever the object stands now; `after` None takes the field out.

    Raises:
        Moved: the field is not what the edit was planned on.
        InfraError: `not-in-repository`, `ambiguous-object`, `manifest-invalid` naming file and line.
    """
    return apply_edits(tree, [edit])


def apply_edits(tree: Tree, edits: Iterable[SetValue]) -> Tree:
    """The tree with several values set at once, so that a value they share through an anchor can be set too.

    Raises:
        Moved: as `apply_edit`.
        InfraError: as `apply_edit`.
    """
    meant: dict[str, list[tuple[int, tuple[Key, ...], Any]]] = {}
    for edit in edits:
        found = tree.require(edit.ref) if edit.ref else tree.document(edit.path, edit.document)
        keys = _keys(found, edit.field)
        now = _at(found.object, keys)
        if same(now, edit.after):
            continue
        if not same(now, edit.before):
            raise Moved(f"{found.path}: {edit} {show_path(edit.field)}")
        value = ABSENT if edit.after is None else edit.after
        meant.setdefault(found.path, []).append((found.index, (*found.at, *keys), value))
    for path, changes in meant.items():
        try:
            data = _rewrite(tree.read(path) or b"", changes)
        except Unreadable as error:
            raise InfraError("manifest-invalid", f"{path}, line {error.line}: {error.why}.") from None
        tree = tree.write(path, data)
    return tree


def _keys(found: Found, field: FieldPath) -> tuple[Key, ...]:
    try:
        return tuple(resolve(found.object, field))
    except InfraError as error:
        raise InfraError(error.code, f"{found}: {error.what}") from None


def _at(obj: Any, keys: tuple[Key, ...]) -> Any:  # noqa: ANN401 - any JSON value
    """The value of a field, or None; null and absent are the same to the API server."""
    for key in keys:
        if isinstance(obj, list) and isinstance(key, int):
            obj = obj[key]
        else:
            obj = obj.get(key) if isinstance(obj, dict) else None
    return obj


def _has_keys(item: Any, keys: dict[str, Any]) -> bool:  # noqa: ANN401 - any JSON value
    if set(keys) == {"="}:
        return same(item, keys["="])
    # The API server adds the protocol of a port, and makes it part of its key.
    defaults = {"protocol": "TCP"}
    return isinstance(item, dict) and all(same(item.get(k, defaults.get(k)), value) for k, value in keys.items())


def _rewrite(data: bytes, edits: list[tuple[int, tuple[Key, ...], Any]]) -> bytes:
    """Change the text step by step, reading it again after each, until it says what is wanted and nothing else."""
    text = decode(data)
    sheet = _sheet(text)
    now = values(sheet.roots)
    wanted = copy.deepcopy(now)
    for index, path, value in edits:
        if not put(wanted, index, path, value):
            line = sheet.walk(index, path)[-1].node.line if 0 <= index < len(wanted) else 1
            raise Unreadable(line, "there is no such place to change")
    comments, removed = Counter(sheet.comments()), False
    meant = {change.path for change in differences(now, wanted)}
    if len(meant) > CHANGES:
        raise Unreadable(1, f"more than {CHANGES} values would change")
    while change := next(differences(now, wanted), None):
        sheet, now, left = _changed(sheet, change, wanted, meant)
        meant = left
        removed = removed or change.kind == "remove"
    if not removed and comments - Counter(sheet.comments()):
        raise Unreadable(1, "a comment would be lost")
    return sheet.text.encode()


def _changed(
    sheet: SourceText, change: Change, wanted: list[Any], meant: set[tuple[Key, ...]]
) -> tuple[SourceText, list[Any], set[tuple[Key, ...]]]:
    cut = _cut(sheet, change)
    line = sheet.text.count("\n", 0, cut.start) + 1
    try:
        after = _sheet(sheet.text[: cut.start] + cut.text + sheet.text[cut.end :])
        now = values(after.roots)
    except Unreadable:
        raise Unreadable(line, "the value cannot be written here without changing how the rest reads") from None
    left = {one.path for one in differences(now, wanted)}
    if not left < meant:
        uses = ", ".join(map(str, sheet.uses(_document(change), change.path[1:])))
        at = f" (an alias on line {uses} stands for what is here)" if uses else ""
        raise Unreadable(line, f"a change here{at} would change more than was asked")
    return after, now, left


def _sheet(text: str) -> SourceText:
    return SourceText(text, compose(text), _is_json(text))


def _is_json(text: str) -> bool:
    if not text.lstrip().startswith("{"):
        return False
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _document(change: Change) -> int:
    return change.path[0] if isinstance(change.path[0], int) else 0


def _cut(sheet: SourceText, change: Change) -> Splice:
    path = change.path[1:]
    steps = sheet.walk(_document(change), path)
    last = steps[-1]
    there = len(steps) == len(path) + 1
    if change.kind == "insert" and len(steps) == len(path):
        return sheet.insert(last, str(path[-1]), change.value)
    if change.kind == "append" and len(steps) == len(path):
        return sheet.append(last, change.value)
    if change.kind == "remove" and there:
        return sheet.remove(last)
    if change.kind == "replace" and there and path:
        return sheet.replace(last, change.value)
    raise Unreadable(last.node.line, "there is no such place to change")
