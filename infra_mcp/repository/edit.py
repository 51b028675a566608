"""Changes values in YAML, JSON and HCL files and nothing else: one span each, comments and style kept, else refused."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from infra_mcp.errors import InfraError, Moved
from infra_mcp.model.effect import FieldPath, show_path
from infra_mcp.repository.changes import Change, Key, Path, differences, sorted_place
from infra_mcp.repository.edits import SetValue
from infra_mcp.repository.hcl.edit import set_value
from infra_mcp.repository.hcl.source import SUFFIXES as HCL
from infra_mcp.repository.nodes import Unreadable, compose, decode, values
from infra_mcp.repository.partial import get_path, item_keys, same
from infra_mcp.repository.scalars import Json
from infra_mcp.repository.spans import SourceText, Splice
from infra_mcp.repository.value import Tree

MAX_CHANGES = 2000  # single changes in one call
ABSENT = object()  # the desired value of a field to remove
# Empty maps that mean the same as none, so that removing our entry leaves no trace.
_PRUNED = ("annotations", "labels")


def apply_edits(tree: Tree, edits: Iterable[SetValue]) -> Tree:
    """The tree with values set, wherever their objects are now; `after` None removes the field or item.

    All values of a file are written at once, so that one that they share through an anchor can be set too. An item
    that no item of its list is identified with is added, at its place where the list is sorted, else at the end.

    Raises:
        Moved: a field differs from the value that its edit was planned on.
        InfraError: `not-in-repository`, `ambiguous-object`, `manifest-invalid` naming file and line.
    """
    drafts: dict[str, _Draft | _HclDraft] = {}
    for edit in edits:
        found = tree.require(edit.ref) if edit.ref else tree.document(edit.path, edit.document)
        if found.path not in drafts:
            data = tree.read(found.path) or b""
            drafts[found.path] = _HclDraft(data) if found.path.endswith(HCL) else _Draft(data)
        try:
            drafts[found.path].set((found.index, *found.at), edit)
        except Moved:
            raise Moved(f"{found.path}: {edit} {show_path(edit.field)}") from None
        except Unreadable as error:
            raise InfraError("manifest-invalid", f"{found.path}, line {error.line}: {error.why}.") from None
        except InfraError as error:
            raise InfraError(error.code, f"{found}: {error.what}") from None
    for path, draft in drafts.items():
        try:
            tree = tree.write(path, draft.written())
        except Unreadable as error:
            raise InfraError("manifest-invalid", f"{path}, line {error.line}: {error.why}.") from None
    return tree


class _Draft:
    """A file with the values that it shall have."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.desired = values(compose(decode(data)))

    def set(self, at: Path, edit: SetValue) -> None:
        """Set a value of the object there; an item comes or goes by itself, so that the others keep their places."""
        is_item = edit.inside is None and edit.field and not isinstance(edit.field[-1], str)
        by_itself = is_item and (edit.before is None or edit.after is None)
        if by_itself:
            self.written()
        _set(self.desired, at, edit)
        if by_itself:
            self.written()

    def written(self) -> bytes:
        """The file with these values."""
        text = _written(_read(decode(self.data)), self.desired)
        self.data, self.desired = text.text.encode(), values(text.roots)
        return self.data


class _HclDraft:
    """An HCL file with the values that it shall have."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def set(self, _: Path, edit: SetValue) -> None:
        self.data = set_value(self.data, edit)

    def written(self) -> bytes:
        return self.data


def resolve(obj: Json, field: FieldPath) -> list[Key]:
    """A field path with its keyed steps (`{"name": "web"}`) as indexes of this object's lists.

    Map keys that do not exist are kept: the field is created. So is the index past a list's end.

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
        hits = _hits(items, step)
        if len(hits) != 1:
            what = "No item" if not hits else "More than one item"
            raise InfraError("manifest-invalid", f"{what} of the list matches {show_path(field)}.")
        here = items[hits[0]] if hits[0] < len(items) else None
        found.append(hits[0])
    return found


def _hits(items: list[Any], step: int | dict[str, Any]) -> list[int]:
    if isinstance(step, int):
        return [step] if 0 <= step <= len(items) else []
    return [i for i, item in enumerate(items) if same(item_keys(item, tuple(step)), step)]


def _set(documents: list[Any], at: Path, edit: SetValue) -> None:
    """Make one edit in the values of a file.

    Raises:
        Moved: the field differs from the value that the edit was planned on.
        InfraError: `manifest-invalid`, as `resolve`.
    """
    index, obj = int(at[0]), get_path(documents, at)[1]
    if edit.inside is None and _set_item(obj, edit):
        return
    keys = resolve(obj, edit.field)
    now = get_path(obj, tuple(keys))[1]
    if edit.inside is not None:
        if not isinstance(now, str):
            raise Moved
        value: Any = set_inside(now, edit.inside, edit.before, edit.after)
    else:
        if same(now, edit.after):
            return
        if not same(now, edit.before):
            raise Moved
        value = ABSENT if edit.after is None else edit.after
    path = (*at[1:], *keys)
    if not path and isinstance(now, str) and isinstance(value, str):
        documents[index] = value
    elif not _put(documents, index, path, value):
        raise InfraError("manifest-invalid", f"There is no place for {show_path(edit.field)}.")


def _set_item(obj: Json, edit: SetValue) -> bool:
    """Add the item that an edit identifies by its keys, or see that it is gone; False where the list has it."""
    step = edit.field[-1] if edit.field else ""
    if not isinstance(step, dict):
        return False
    holder = resolve(obj, edit.field[:-1])
    items = get_path(obj, tuple(holder))[1]
    if not isinstance(items, list | None) or _hits(items or [], step):
        return False
    if edit.before is not None:
        there = item_keys(edit.after, tuple(step))
        if edit.after is not None and (there is None or not _hits(items or [], there)):
            raise Moved
        return True  # it is as it should be already
    if edit.after is None:
        return True
    if not same(item_keys(edit.after, tuple(step)), step):
        raise InfraError("manifest-invalid", f"The new item is not the one that {show_path(edit.field)} names.")
    if items is None:
        return _put([obj], 0, tuple(holder), [edit.after])
    first = next(iter(step))
    texts = [(item_keys(item, (first,)) or {}).get(first) for item in items]
    items.insert(sorted_place(texts, step[first]), copy.deepcopy(edit.after))
    return True


def set_inside(text: str, field: FieldPath, before: Json, after: Json) -> str:
    """YAML that a text holds (Argo CD's `helm.values: |`) with one value set; None removes the field.

    Raises:
        Moved: the field differs from the value before.
        InfraError: `manifest-invalid`: the text is no single YAML document, or the value cannot be set in it.
    """
    try:
        source = _read(text)
        desired = values(source.roots)
        if len(desired) == 1:
            _set(desired, (0,), SetValue(path="", field=field, before=before, after=after))
            return _written(source, desired).text
        error = Unreadable(1, "it is not one YAML document")
    except Unreadable as caught:
        error = caught
    what = f"{show_path(field)} in a text: line {error.line} of the text: {error.why}."
    raise InfraError("manifest-invalid", what) from None


def rewrite(data: bytes, edits: Iterable[tuple[int, Path, Any]]) -> bytes:
    """A file with values set, in documents counted from zero; missing keys on the way are made, `ABSENT` removes.

    Raises:
        Unreadable: this cannot be done without another change: an anchor shares the value, a comment would be lost, or
            there is no such place.
    """
    text = _read(decode(data))
    desired = values(text.roots)
    for index, path, value in edits:
        if not _put(desired, index, path, value):
            line = text.walk(index, path)[-1].node.line if 0 <= index < len(desired) else 1
            raise Unreadable(line, "there is no such place to change")
    return _written(text, desired).text.encode()


def _written(text: SourceText, desired: list[Any]) -> SourceText:
    """The text with the desired values."""
    now = values(text.roots)
    comments, removed = Counter(text.comments()), False
    left = {change.place for change in differences(now, desired)}
    if len(left) > MAX_CHANGES:
        raise Unreadable(1, f"more than {MAX_CHANGES} values would change")
    while change := next(differences(now, desired), None):
        text, now, left = _step(text, change, desired, left)
        removed = removed or change.kind == "remove"
    if not removed and comments - Counter(text.comments()):
        raise Unreadable(1, "a comment would be lost")
    return text


def _step(
    text: SourceText, change: Change, desired: list[Any], before: set[tuple[str, Path]]
) -> tuple[SourceText, list[Any], set[tuple[str, Path]]]:
    """Make one change; the new text, its values, and the changes that are left, which must be fewer than before."""
    document, path = int(change.path[0]), change.path[1:]
    cut = _cut(text, change, document, path)
    line = text.text.count("\n", 0, cut.start) + 1
    try:
        after = _read(text.text[: cut.start] + cut.text + text.text[cut.end :])
        now = values(after.roots)
    except Unreadable:
        raise Unreadable(line, "the value cannot be written here without changing how the rest reads") from None
    left = {one.place for one in differences(now, desired)}
    if not left < before:
        uses = ", ".join(map(str, text.uses(document, path)))
        at = f" (an alias on line {uses} refers to this value)" if uses else ""
        raise Unreadable(line, f"a change here{at} would change more than was asked")
    return after, now, left


def _read(text: str) -> SourceText:
    is_json = text.lstrip().startswith(("{", "["))
    if is_json:
        try:
            json.loads(text)
        except ValueError:
            is_json = False
    return SourceText(text, compose(text), is_json)


def _cut(text: SourceText, change: Change, document: int, path: Path) -> Splice:
    steps = text.walk(document, path[:-1] if change.kind in ("insert", "add") else path)
    last, missing = steps[-1], len(path) + 1 - len(steps)
    match change.kind, missing:
        case "insert", 1:
            return text.insert(last, change.index, str(path[-1]), change.value)
        case "add", 1:
            return text.add(last, int(path[-1]), change.value)
        case "remove", 0:
            return text.remove(last)
        case "replace", 0 if path:
            return text.replace(last, change.value)
        case "replace", 0 if last.node.kind == "scalar" and last.node.style == "":
            # The file is the text itself, for readers that know no YAML: quotes would be a part of it.
            cut = text.replace(last, change.value)
            if cut.text == change.value:
                return cut
    raise Unreadable(last.node.line, "there is no such place to change")


def _put(documents: list[Any], index: int, path: Path, value: Json) -> bool:
    """Set a value in one of the documents, making maps on the way, or remove it; whether there is such a place."""
    if not 0 <= index < len(documents) or not path:
        return False
    holder: Any = documents
    for key, after in zip((index, *path), path, strict=False):
        if isinstance(holder, dict) and isinstance(after, str) and holder.get(str(key)) is None:
            if value is ABSENT:
                return True
            holder[str(key)] = {}
        there, holder = get_path(holder, (key,))
        if not there:
            return False
    key = path[-1]
    if isinstance(holder, dict) and isinstance(key, str):
        if value is not ABSENT:
            holder[key] = copy.deepcopy(value)
        elif holder.pop(key, ABSENT) is not ABSENT and not holder and path[-2:-1] and path[-2] in _PRUNED:
            del get_path(documents[index], path[:-2])[1][path[-2]]
        return True
    if isinstance(holder, list) and isinstance(key, int) and 0 <= key <= len(holder):
        holder[key : key + 1] = [] if value is ABSENT else [copy.deepcopy(value)]
        return True
    return False
