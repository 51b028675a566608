"""Sets values in HCL text and changes nothing else: one hunk a place; order, comments and alignment stay.

An expression is never replaced: what it refers to decides. After each edit the text is read again; it must have the
value that was wanted, and no other change.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from infra_mcp.errors import InfraError, Moved
from infra_mcp.model.effect import FieldPath
from infra_mcp.repository.edits import SetValue
from infra_mcp.repository.hcl.source import Body, Entry, Expression, read
from infra_mcp.repository.hcl.write import TEXT_KEY, written
from infra_mcp.repository.nodes import Unreadable
from infra_mcp.repository.partial import get_path, same
from infra_mcp.repository.scalars import Json

_BLANK: Final = b" \t"


@dataclass(frozen=True)
class _Splice:
    start: int
    end: int
    text: bytes


def set_value(data: bytes, edit: SetValue) -> bytes:
    """A file with one value set; `after` None removes the attribute or entry.

    Raises:
        Moved: the value differs from the one that the edit was planned on.
        Unreadable: the file is no HCL; the place is an expression, or there is none for a new value.
        InfraError: `manifest-invalid`: the edit is of a kind that HCL has not.
    """
    if edit.inside is not None or any(isinstance(step, dict) for step in edit.field) or not edit.field:
        raise InfraError("manifest-invalid", f"{edit.path}: such a field is for YAML and JSON only.")
    body = read(data)
    value = body.value
    there, now = get_path(value, edit.field)
    if same(now, edit.after) and there == (edit.after is not None):
        return data
    if not same(now, edit.before):
        raise Moved
    source = _Source(data)
    splices = source.in_body(body, edit.field, edit.after)
    for splice in sorted(splices, key=lambda one: one.start, reverse=True):
        data = data[: splice.start] + splice.text + data[splice.end :]
    if not same(read(data).value, _with(value, edit.field, edit.after)):
        raise Unreadable(source.line(splices[0].start), "the value cannot be set without changing more")
    return data


def _with(value: Json, field: FieldPath, after: Json) -> Json:
    """The value of a whole file with one field set."""
    made = copy.deepcopy(value)
    here = made
    for step in field[:-1]:
        here = here[step]
    last: Any = field[-1]
    if after is None:
        del here[last]
    elif isinstance(here, list) and last == len(here):
        here.append(after)
    else:
        here[last] = after
    return made


@dataclass
class _Source:
    """Finds what to cut and what to insert."""

    data: bytes

    def __post_init__(self) -> None:
        self.newline = b"\r\n" if b"\r\n" in self.data else b"\n"

    def line(self, at: int) -> int:
        return self.data.count(b"\n", 0, at) + 1

    def in_body(self, body: Body, field: FieldPath, after: Json) -> list[_Splice]:
        step, rest = field[0], field[1:]
        entry = next((one for one in body.entries if one.name == step), None)
        if entry is not None:
            if not rest and after is None:
                return [self._removal(entry.start, entry.end)]
            return self._in_value(entry.value, rest, after)
        bodies, rest = self._inside(body, field)
        if bodies:
            held = [one for one in bodies if rest and get_path(one.value, rest[:1])[0]]
            return self.in_body((held or bodies[-1:])[0], self._required(bodies[0], rest), after)
        if rest or not isinstance(step, str) or not TEXT_KEY.fullmatch(step):
            raise Unreadable(self.line(body.start), "there is no such attribute or block")
        return [self._attribute(body, step, after)]

    def _required(self, body: Body, field: FieldPath) -> FieldPath:
        if not field:
            raise Unreadable(self.line(body.start), "that is a whole block")
        return field

    def _inside(self, body: Body, field: FieldPath) -> tuple[list[Body], FieldPath]:
        """The blocks that a field's first steps name, and the rest of it."""
        blocks = body.grouped().get(str(field[0]), [])
        rest, depth = field[1:], 0
        while blocks and any(len(one.labels) > depth for one in blocks):
            label = rest[0] if rest else None
            blocks = [one for one in blocks if len(one.labels) > depth and one.labels[depth] == label]
            rest, depth = rest[1:], depth + 1
        if len(blocks) > 1 and rest and isinstance(rest[0], int):
            blocks, rest = blocks[rest[0] : rest[0] + 1], rest[1:]
        return [one.body for one in blocks], rest

    def _in_value(self, value: Expression, field: FieldPath, after: Json) -> list[_Splice]:
        if not field:
            return self._fitted(value, after)
        step, rest = field[0], field[1:]
        if isinstance(step, int) and value.kind == "tuple" and step < len(value.items):
            if rest or after is not None:
                return self._in_value(value.items[step], rest, after)
            return self._fitted(value, [*value.value[:step], *value.value[step + 1 :]])
        if isinstance(step, int) and value.kind == "tuple" and step == len(value.items) and not rest:
            return self._fitted(value, [*value.value, after])
        if isinstance(step, str) and value.kind == "object":
            entry = next((one for one in value.entries if one.name == step), None)
            if entry is not None and (rest or after is not None):
                return self._in_value(entry.value, rest, after)
            if not rest:
                kept = {key: item for key, item in value.value.items() if key != step}
                return self._fitted(value, kept if after is None else {**kept, step: after})
        self._require_plain(value)
        raise Unreadable(self.line(value.start), "there is no place for the field in this value")

    def _require_plain(self, value: Expression) -> None:
        if value.kind in {"expression", "template"}:
            raise Unreadable(self.line(value.start), "the value is an expression: what it refers to decides")
        for inner in (*value.items, *(one.value for one in value.entries)):
            self._require_plain(inner)

    def _fitted(self, value: Expression, after: Json) -> list[_Splice]:
        """The splices that give an expression another value."""
        if same(value.value, after):
            return []
        if value.kind == "object" and isinstance(after, dict) and value.entries:
            return self._entries(value, after)
        if value.kind == "tuple" and isinstance(after, list) and value.items:
            return self._items(value, after)
        self._require_plain(value)
        return [_Splice(value.start, value.end, self._text(after, value.start))]

    def _entries(self, value: Expression, after: dict[str, Json]) -> list[_Splice]:
        known = {one.name: one for one in value.entries}
        splices: list[_Splice] = []
        gone = [one for one in value.entries if one.name not in after]
        new = [(name, item) for name, item in after.items() if name not in known]
        if len(gone) == len(value.entries):
            self._require_plain(value)
            return [_Splice(value.start, value.end, self._text(after, value.start))]
        for name, item in after.items():
            if name in known:
                splices += self._fitted(known[name].value, item)
        splices += self._cut([(one.start, one.end) for one in value.entries], [one in gone for one in value.entries])
        spans = [(one.start, one.end) for one in value.entries if one not in gone]
        lines = [self._pair(value.entries[-1], name, item) for name, item in new]
        return splices + self._added(value, spans, lines, is_tuple=False)

    def _items(self, value: Expression, after: list[Json]) -> list[_Splice]:
        """What both have in common at their ends stays; the items between are fitted one by one."""
        old = value.items
        head = 0
        while head < min(len(old), len(after)) and same(old[head].value, after[head]):
            head += 1
        tail = 0
        while tail < min(len(old), len(after)) - head and same(old[-1 - tail].value, after[-1 - tail]):
            tail += 1
        between = old[head : len(old) - tail]
        wanted = after[head : len(after) - tail]
        if not after:
            self._require_plain(value)
            return [_Splice(value.start, value.end, b"[]")]
        splices: list[_Splice] = []
        for one, item in zip(between, wanted, strict=False):
            splices += self._fitted(one, item)
        extra = {id(one) for one in between[len(wanted) :]}
        splices += self._cut([(one.start, one.end) for one in old], [id(one) in extra for one in old])
        lines = [self._text(item, value.items[0].start) for item in wanted[len(between) :]]
        spans = [(one.start, one.end) for one in old if id(one) not in extra]
        before = spans[: len(spans) - tail] if lines else spans
        if lines and not before:  # in front of all others
            first = spans[0][0]
            joint = b"," + (self.newline + self._indent(first) if self._is_alone(first) else b" ")
            return [*splices, _Splice(first, first, b"".join(one + joint for one in lines))]
        return splices + self._added(value, before, lines, is_tuple=True)

    def _added(
        self, value: Expression, spans: Sequence[tuple[int, int]], lines: list[bytes], *, is_tuple: bool
    ) -> list[_Splice]:
        """Inserts lines behind the last of these spans, in the form of the collection."""
        if not lines:
            return []
        start, end = spans[-1]
        if not self._is_alone(start):
            return [_Splice(end, end, b"".join(b", " + one for one in lines))]
        comma = self._comma(end, value.end)
        indent = self.newline + self._indent(start)
        stop = self._line_end(max(end, comma + 1 if comma is not None else 0), value.end - 1)
        needs = is_tuple or comma is not None
        body = b"".join(indent + one + (b"," if needs else b"") for one in lines)
        if needs and comma is None:
            body = body[:-1]  # as the last item was written
            if stop == end:
                return [_Splice(end, end, b"," + body)]
            return [_Splice(end, end, b","), _Splice(stop, stop, body)]
        return [_Splice(stop, stop, body)]

    def _cut(self, spans: Sequence[tuple[int, int]], gone: Sequence[bool]) -> list[_Splice]:
        splices = []
        for number, ((start, end), is_gone) in enumerate(zip(spans, gone, strict=True)):
            if not is_gone:
                continue
            comma = self._comma(end, len(self.data))
            if self._is_alone(start):
                splices.append(self._removal(start, end if comma is None else comma + 1))
            elif number + 1 < len(spans):
                splices.append(_Splice(start, spans[number + 1][0], b""))
            else:
                splices.append(_Splice(spans[number - 1][1] if number and not gone[number - 1] else start, end, b""))
        return splices

    def _attribute(self, body: Body, name: str, after: Json) -> _Splice:
        """A new attribute behind the others of its body; aligned with the line above where it fits in there."""
        if not body.entries:
            if not body.is_top:
                raise Unreadable(self.line(body.start), "the block has no attribute to put a new one behind")
            glue = b"" if not self.data or self.data.endswith(b"\n") else self.newline
            line = f"{name} = ".encode() + written(after).encode()
            at = len(self.data)
            return _Splice(at, at, glue + line.replace(b"\n", self.newline) + (b"" if glue else self.newline))
        last = body.entries[-1]
        line = self._indent(last.start) + self._pair(last, name, after)
        stop = self._line_end(last.end, len(self.data))
        if stop >= len(self.data):
            return _Splice(stop, stop, self.newline + line)
        stop += len(self.newline) if self.data.startswith(self.newline, stop) else 0
        return _Splice(stop, stop, line + self.newline)

    def _pair(self, above: Entry, name: str, after: Json) -> bytes:
        """A name and its value, the sign between them below that of the entry above where that is possible."""
        key = name if TEXT_KEY.fullmatch(name) else written(name)
        sign = self.data[above.equals : above.equals + 1].decode()
        is_line = b"\n" not in self.data[above.start : above.end]
        width = len(self.data[above.start : above.equals].decode()) - 1 if is_line else 0
        return f"{key.ljust(width)} {sign} ".encode() + self._text(after, above.start)

    def _text(self, value: Json, at: int) -> bytes:
        indent = len(self._indent(at))
        return written(value, indent).encode().replace(b"\n", self.newline)

    def _removal(self, start: int, end: int) -> _Splice:
        """Cuts whole lines where nothing but a comment stands beside."""
        if not self._is_alone(start):
            raise Unreadable(self.line(start), "something else stands on the same line")
        first = self.data.rfind(b"\n", 0, start) + 1
        stop = self._line_end(end, len(self.data))
        if stop >= len(self.data) and first:
            return _Splice(first - len(self.newline), stop, b"")
        return _Splice(first, min(stop + len(self.newline), len(self.data)), b"")

    def _is_alone(self, at: int) -> bool:
        """Whether only blanks stand before it on its line."""
        return not self.data[self.data.rfind(b"\n", 0, at) + 1 : at].strip(_BLANK)

    def _indent(self, at: int) -> bytes:
        line = self.data[self.data.rfind(b"\n", 0, at) + 1 : at]
        return line[: len(line) - len(line.lstrip(_BLANK))]

    def _comma(self, at: int, end: int) -> int | None:
        """The comma right behind a place, where there is one."""
        found = re.compile(rb"[ \t]*,").match(self.data, at, end)
        return found.end() - 1 if found else None

    def _line_end(self, at: int, end: int) -> int:
        """The end of a line from a place that only a comment may follow.

        Raises:
            Unreadable: something else follows there.
        """
        found = re.compile(rb"[ \t]*(?:(?:#|//)[^\r\n]*|/\*[^\r\n]*\*/[ \t]*)?(?=\r?\n|$)").match(self.data, at, end)
        if found is None:
            stop = self.data.find(self.newline, at)
            raise Unreadable(self.line(at if stop < 0 else stop), "something else stands on the same line")
        return found.end()
