"""Changes values in YAML files and nothing else: one span each, comments and style kept, else refused."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from infra_mcp.errors import InfraError, Moved
from infra_mcp.model.effect import FieldPath, show_path
from infra_mcp.repository.edits import SetValue
from infra_mcp.repository.nodes import Unreadable, compose, decode, values
from infra_mcp.repository.partial import item_keys, same
from infra_mcp.repository.render import Found
from infra_mcp.repository.scalars import Json
from infra_mcp.repository.spans import Key, SourceText, Splice
from infra_mcp.repository.value import Tree

MAX_CHANGES = 2000  # single changes in one call
ABSENT = object()  # the desired value of a field to remove
# Empty maps that mean the same as none, so that removing our entry leaves no trace.
_PRUNED = ("annotations", "labels")


@dataclass(frozen=True)
class _Change:
    """One of the smallest changes from a text to the desired values; the path begins with the document."""

    kind: Literal["replace", "insert", "append", "remove"]
    path: tuple[Key, ...]
    value: Any = None


def apply_edits(tree: Tree, edits: Iterable[SetValue]) -> Tree:
    """The tree with values set, wherever their objects are now; `after` None removes the field.

    All are set at once, so that a value they share through an anchor can be set too.

    Raises:
        Moved: a field differs from the value that its edit was planned on.
        InfraError: `not-in-repository`, `ambiguous-object`, `manifest-invalid` naming file and line.
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
            data = rewrite(tree.read(path) or b"", changes)
        except Unreadable as error:
            raise InfraError("manifest-invalid", f"{path}, line {error.line}: {error.why}.") from None
        tree = tree.write(path, data)
    return tree


def resolve(obj: Json, field: FieldPath) -> list[Key]:
    """A field path with its keyed steps (`{"name": "web"}`) as indexes of this object's lists.

    Map keys that do not exist are kept: the field is created.

    Raises:
        InfraError: `manifest-invalid`: no item, or several, have those keys; or a step does not fit the object.
    """
    found: list[Key] = []
    here = obj
    for step in field:
        if isinstance(step, str):
            if here is not None and not isinstance(here, dict):
                what = f"There is no {show_path(field)}: the value above .{step} is not a map."
                raise InfraError("manifest-invalid", what)
            here = (here or {}).get(step)
            found.append(step)
            continue
        items = here if isinstance(here, list) else []
        if isinstance(step, int):
            if not 0 <= step < len(items):
                raise InfraError("manifest-invalid", f"There is no item at {show_path(field)}.")
            here = items[step]
            found.append(step)
            continue
        hits = [i for i, item in enumerate(items) if same(item_keys(item, tuple(step)), step)]
        if len(hits) != 1:
            what = "No item" if not hits else "More than one item"
            raise InfraError("manifest-invalid", f"{what} of the list matches {show_path(field)}.")
        here = items[hits[0]]
        found.append(hits[0])
    return found


def _keys(found: Found, field: FieldPath) -> tuple[Key, ...]:
    try:
        return tuple(resolve(found.object, field))
    except InfraError as error:
        raise InfraError(error.code, f"{found}: {error.what}") from None


def _at(obj: Json, keys: tuple[Key, ...]) -> Json:
    """The value of a field, or None; null and absent are the same to the API server."""
    for key in keys:
        if isinstance(obj, list) and isinstance(key, int):
            obj = obj[key]
        else:
            obj = obj.get(key) if isinstance(obj, dict) else None
    return obj


def rewrite(data: bytes, edits: Iterable[tuple[int, tuple[Key, ...], Any]]) -> bytes:
    """A file with values set, in documents counted from zero; missing keys on the way are made, `ABSENT` removes.

    Every other value, every comment, the order and the style stay as they are, and a change is one hunk (a list or map
    that differs in several places: one for each). A quoted value keeps its quotes. The index past a list's end appends
    to it. The text is read again after each step, until it has the desired values and no other change.

    Raises:
        Unreadable: this cannot be done without another change: an anchor shares the value, a comment would be lost, or
            there is no such place.
    """
    text = _read(decode(data))
    now = values(text.roots)
    desired = copy.deepcopy(now)
    for index, path, value in edits:
        if not _put(desired, index, path, value):
            line = text.walk(index, path)[-1].node.line if 0 <= index < len(desired) else 1
            raise Unreadable(line, "there is no such place to change")
    comments, removed = Counter(text.comments()), False
    left = {change.path for change in _differences(now, desired)}
    if len(left) > MAX_CHANGES:
        raise Unreadable(1, f"more than {MAX_CHANGES} values would change")
    while change := next(_differences(now, desired), None):
        text, now, left = _step(text, change, desired, left)
        removed = removed or change.kind == "remove"
    if not removed and comments - Counter(text.comments()):
        raise Unreadable(1, "a comment would be lost")
    return text.text.encode()


def _step(
    text: SourceText, change: _Change, desired: list[Any], before: set[tuple[Key, ...]]
) -> tuple[SourceText, list[Any], set[tuple[Key, ...]]]:
    """Make one change; the new text, its values, and the paths that still differ, which must be fewer than before."""
    document, path = int(change.path[0]), change.path[1:]
    cut = _cut(text, change, document, path)
    line = text.text.count("\n", 0, cut.start) + 1
    try:
        after = _read(text.text[: cut.start] + cut.text + text.text[cut.end :])
        now = values(after.roots)
    except Unreadable:
        raise Unreadable(line, "the value cannot be written here without changing how the rest reads") from None
    left = {one.path for one in _differences(now, desired)}
    if not left < before:
        uses = ", ".join(map(str, text.uses(document, path)))
        at = f" (an alias on line {uses} refers to this value)" if uses else ""
        raise Unreadable(line, f"a change here{at} would change more than was asked")
    return after, now, left


def _read(text: str) -> SourceText:
    is_json = text.lstrip().startswith("{")
    if is_json:
        try:
            json.loads(text)
        except ValueError:
            is_json = False
    return SourceText(text, compose(text), is_json)


def _cut(text: SourceText, change: _Change, document: int, path: tuple[Key, ...]) -> Splice:
    steps = text.walk(document, path)
    last, missing = steps[-1], len(path) + 1 - len(steps)
    match change.kind, missing:
        case "insert", 1:
            return text.insert(last, str(path[-1]), change.value)
        case "append", 1:
            return text.append(last, change.value)
        case "remove", 0:
            return text.remove(last)
        case "replace", 0 if path:
            return text.replace(last, change.value)
    raise Unreadable(last.node.line, "there is no such place to change")


def _put(documents: list[Any], index: int, path: tuple[Key, ...], value: Json) -> bool:
    """Set a value in one of the documents, making maps on the way, or remove it; whether there is such a place."""
    if not 0 <= index < len(documents) or not path:
        return False
    holder: Any = documents
    for key, after in zip((index, *path), path, strict=False):
        if isinstance(holder, dict) and isinstance(after, str) and holder.get(str(key)) is None:
            if value is ABSENT:
                return True
            holder[str(key)] = {}
        if not _holds(holder, key):
            return False
        holder = holder[key]
    key = path[-1]
    if isinstance(holder, dict) and isinstance(key, str):
        if value is not ABSENT:
            holder[key] = copy.deepcopy(value)
        elif holder.pop(key, ABSENT) is not ABSENT and not holder and path[-2:-1] and path[-2] in _PRUNED:
            del _at(documents[index], path[:-2])[path[-2]]
        return True
    if isinstance(holder, list) and isinstance(key, int) and 0 <= key <= len(holder):
        holder[key : key + 1] = [] if value is ABSENT else [copy.deepcopy(value)]
        return True
    return False


def _holds(holder: Json, key: Key) -> bool:
    if isinstance(holder, dict):
        return isinstance(key, str) and key in holder
    return isinstance(holder, list) and isinstance(key, int) and 0 <= key < len(holder)


def _differences(now: Json, desired: Json, path: tuple[Key, ...] = ()) -> Iterator[_Change]:
    """The smallest changes left to make."""
    if isinstance(now, dict) and isinstance(desired, dict) and (now.keys() & desired.keys() or not now):
        for key, value in desired.items():
            if key in now:
                yield from _differences(now[key], value, (*path, key))
            else:
                yield _Change("insert", (*path, key), value)
        yield from (_Change("remove", (*path, key)) for key in now if key not in desired)
    elif isinstance(now, list) and isinstance(desired, list):
        yield from _list_differences(now, desired, path)
    elif not same(now, desired):
        yield _Change("replace", path, desired)


def _list_differences(now: list[Any], desired: list[Any], path: tuple[Key, ...]) -> Iterator[_Change]:
    if _correspond(now, desired):
        for i, value in enumerate(desired):
            if i < len(now):
                yield from _differences(now[i], value, (*path, i))
            else:
                yield _Change("append", (*path, i), value)
    elif dropped := _dropped(now, desired):
        yield from (_Change("remove", (*path, i)) for i in reversed(dropped))
    else:
        yield _Change("replace", path, desired)


def _correspond(now: list[Any], desired: list[Any]) -> bool:
    """Whether items at one index are the same item, perhaps changed: a name identifies an item."""
    pairs = list(zip(now, desired, strict=False))
    if len(now) > len(desired) or any(_shape(a) is not _shape(b) for a, b in pairs):
        return False
    others = sum(_name(a) != _name(b) for a, b in pairs)
    return bool(others <= (len(now) == len(desired)))  # one item may have another name


def _shape(item: Json) -> type:
    return next((shape for shape in (dict, list) if isinstance(item, shape)), object)


def _name(item: Json) -> Json:
    return item.get("name") if isinstance(item, dict) else None


def _dropped(now: list[Any], desired: list[Any]) -> list[int]:
    """The indexes of the items whose removal from `now` gives `desired`; none when it does not, or removes all."""
    rest = iter(desired)
    ahead = next(rest, ABSENT)
    dropped = []
    for i, item in enumerate(now):
        if ahead is not ABSENT and same(item, ahead):
            ahead = next(rest, ABSENT)
        else:
            dropped.append(i)
    return dropped if ahead is ABSENT and len(dropped) < len(now) else []
