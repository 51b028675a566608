"""Makes one change of a YAML text by replacing one span, from the positions of the nodes.

A change that would touch a comment, or that people write in several ways, is refused. `edit` reads the result again, so
it notices a wrong splice.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from infra_mcp.repository import blocks, styles
from infra_mcp.repository.nodes import Node, Unreadable, is_merge, is_object, key_start, key_text
from infra_mcp.repository.scalars import Json

Key = str | int
_EMPTY_LINE_END = re.compile(r"[ \t]*(#[^\r\n]*)?(?=\r?\n|$)")
_HEADER = re.compile(r"([|>])([-+]?[1-9]?[-+]?)([^\r\n]*)")


@dataclass(frozen=True)
class Splice:
    """Characters `start` to `end` become `text`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class PathStep:
    """A node on the way to a value, aliases followed, and its position in its holder."""

    holder: Node | None
    position: int
    node: Node
    shared: Node | None  # the alias or merge key it was reached through


@dataclass(frozen=True)
class SourceText:
    """One text with the nodes of its documents, and its author's habits."""

    text: str
    roots: list[Node]
    as_json: bool

    @property
    def newline(self) -> str:
        """How lines end here."""
        first = self.text.find("\n")
        return "\r\n" if first > 0 and self.text[first - 1] == "\r" else "\n"

    def walk(self, document: int, path: tuple[Key, ...]) -> list[PathStep]:
        """The steps from the root along the path, as far as it exists."""
        root = self.roots[document].real
        steps, in_object = [PathStep(None, 0, root, None)], is_object(root)
        for key in path:
            step = self._below(steps[-1].node, key, in_object)
            if step is None:
                break
            steps.append(step)
        return steps

    def _below(self, node: Node, key: Key, in_object: bool) -> PathStep | None:
        if node.kind == "seq" and isinstance(key, int):
            if not 0 <= key < len(node.items):
                return None
            item = node.items[key]
            return PathStep(node, key, item.real, item if item.target else None)
        if node.kind != "map":
            return None
        for position, (name, item) in enumerate(node.pairs):
            if not is_merge(name) and key_text(name, in_object=in_object) == key:
                return PathStep(node, position, item.real, item if item.target else None)
        for name, item in node.pairs:
            for source in (item.real.items or [item]) if is_merge(name) else ():
                found = self._below(source.real, key, in_object)
                if found:
                    return PathStep(found.holder, found.position, found.node, name)
        return None

    def uses(self, document: int, path: tuple[Key, ...]) -> list[int]:
        """The lines of the aliases that refer to a node on the path."""
        on_the_way = {id(node) for step in self.walk(document, path) for node in (step.holder, step.node)}
        return [leaf.line for leaf in _leaves(self.roots[document]) if leaf.target and id(leaf.target) in on_the_way]

    def comments(self) -> list[str]:
        """All comments, in order."""
        found = [comment for root in self.roots for comment in self._comments(root)]
        ends = [0, *(self.end(root) for root in self.roots), len(self.text)]
        starts = [*(root.start for root in self.roots), len(self.text)]
        for end, start in zip(ends, starts, strict=False):
            found += _comments(self.text[end:start])
        return found

    def _comments(self, node: Node) -> Iterator[str]:
        last = node.start
        for leaf in _leaves(node):
            yield from _comments(self.text[last : leaf.start])
            if leaf.style in ("|", ">"):
                yield from _comments(self.text[leaf.start : self.line_end(leaf.start)])
            last = max(last, self.end(leaf))
        yield from _comments(self.text[last : self.end(node)])

    def end(self, node: Node) -> int:
        """The offset after the node's content, before comments and blank lines."""
        if node.kind in ("map", "seq") and node.style == "block":
            return self.end(node.children[-1]) if node.children else node.start
        if node.style in ("|", ">"):
            return node.start + len(self.text[node.start : node.end].rstrip("\r\n \t"))
        return node.end

    def line_end(self, offset: int) -> int:
        """The offset of the line break at or after an offset."""
        end = self.text.find("\n", offset)
        if end < 0:
            return len(self.text)
        return end - 1 if end > offset and self.text[end - 1] == "\r" else end

    def line_start(self, offset: int) -> int:
        """The offset at which the line of an offset begins."""
        return self.text.rfind("\n", 0, offset) + 1

    # -- one splice for each kind of change

    def replace(self, step: PathStep, value: Json) -> Splice:
        """Another value in place of the old one."""
        node, holder = step.node, step.holder
        in_flow = holder is None or holder.style == "flow"
        simple = not isinstance(value, dict | list) or not value
        if node.kind == "scalar":
            if simple or in_flow or step.shared:
                return self._scalar(node, value, in_flow)
        elif in_flow or node.style == "flow":
            return Splice(node.start, node.end, styles.flow(value, as_json=self.as_json))
        if step.shared:
            raise Unreadable(step.shared.line, "the value is shared through an anchor")
        return self._anew(step, value)

    def insert(self, step: PathStep, index: int, key: str, value: Json) -> Splice:
        """A new key of a mapping, before the key of that index, or at the end."""
        node = step.node
        if len(node.pairs) <= index or any(is_merge(name) for name, _ in node.pairs):
            index = len(node.pairs)
        if node.style == "flow":
            name = styles.scalar(key, in_flow=True, as_json=self.as_json)
            return self._into_flow(node, index, f"{name}: ", value)
        if not node.pairs or (index and self.text[self.line_start(node.start) : node.start].strip(" -")):
            raise Unreadable(node.line, "a mapping is written so that no key can be added")
        return self._new_lines(node, index, styles.lines({key: value}, *self._habits()), value)

    def add(self, step: PathStep, index: int, value: Json) -> Splice:
        """A new item of a list, before the item of that index, or at the end."""
        node = step.node
        if node.style == "flow":
            return self._into_flow(node, index, "", value)
        dashes = any(item.kind == "scalar" and not item.style and item.text[:1] == "-" for item in node.items)
        if isinstance(value, str) and "\n" not in value and dashes:
            return self._new_lines(node, index, [f"- {styles.scalar(value, old='-')}"], value)
        return self._new_lines(node, index, styles.lines([value], *self._habits()), value)

    def remove(self, step: PathStep) -> Splice:
        """A key or item removed, with its lines; never the last one."""
        node, holder, position = step.node, step.holder, step.position
        if holder is None or step.shared:
            raise Unreadable(node.line, "the value is shared through an anchor")
        firsts, lasts = [key for key, _ in holder.pairs] or holder.items, holder.children
        first, last = firsts[position], lasts[position]
        if len(lasts) == 1:
            raise Unreadable(first.line, "a document cannot be left empty")
        if holder.style == "flow":
            if position + 1 < len(lasts):
                return Splice(first.start, firsts[position + 1].start, "")
            return Splice(self.end(lasts[position - 1]), self.end(last), "")
        begin = key_start(self.text, first) if holder.kind == "map" else self.text.rfind("-", 0, first.start)
        if self.text[self.line_start(begin) : begin].strip():
            if position:
                raise Unreadable(first.line, "the value to remove shares its line")
            # The first of a list's item, or of the value of a key with `?`: the next takes its place.
            if holder.kind == "seq":
                return Splice(first.start, firsts[1].start, "")
            return Splice(begin, key_start(self.text, firsts[1]), "")
        start, end = self.line_start(begin), self.text.find("\n", self.end(last))
        if end < 0:  # the last line of a file without a line break at its end: the one before it goes
            return Splice(max(start - len(self.newline), 0), len(self.text), "")
        return Splice(start, end + 1, "")

    def _scalar(self, node: Node, value: Json, in_flow: bool) -> Splice:
        end = self.end(node)
        if node.style in ("|", ">"):
            return self._block_scalar(node, end, value)
        old = self.text[node.start : end]
        if isinstance(value, dict | list):
            text = styles.flow(value, as_json=self.as_json)
        elif isinstance(value, str) and (node.style == '"' or self.as_json):
            text = styles.double(value)
        elif isinstance(value, str) and node.style == "'":
            text = styles.single(value) or styles.double(value)
        else:
            text = styles.scalar(value, in_flow=in_flow, old=old, as_json=self.as_json)
            if text[0] == '"' and not self.as_json and self._prefers_single:
                text = styles.single(str(value)) or text
        glue = " " if node.start == end and self.text[end - 1 : end] not in (" ", "\t") else ""
        return Splice(node.start, end, glue + text)

    @property
    def _prefers_single(self) -> bool:
        """Whether the text's author quotes with single quotes."""
        quoted = Counter(leaf.style for root in self.roots for leaf in _leaves(root))
        return quoted["'"] > quoted['"']

    def _block_scalar(self, node: Node, end: int, value: Json) -> Splice:
        """Another value in place of a `|` or `>` block, which keeps its header and indentation where possible."""
        if isinstance(value, str) and (cut := blocks.replaced(self.text, node, value, self.newline)):
            return Splice(*cut)
        header = _HEADER.match(self.text, node.start)
        body = self.line_end(node.start)
        end = self.line_end(end) if end > body else end  # with the spaces at the end of its last line
        row = self.text[body:end].strip("\r\n")
        indent = row[: len(row) - len(row.lstrip(" "))]
        block = styles.literal(value) if isinstance(value, str) else None
        comment = header[3] if header else ""
        if block is None or not indent or header is None or header[2].strip("+-"):
            return Splice(node.start, end, styles.scalar(value) + comment)
        text = self.newline.join([f"|{block[0]}{comment}", *(indent + line if line else "" for line in block[1])])
        is_last = end == len(self.text) and not block[0]  # then its line break is missing
        return Splice(node.start, end, text + self.newline if is_last else text)

    def _anew(self, step: PathStep, value: Json) -> Splice:
        """A value of another shape: a block collection in place of a scalar, or the other way round."""
        node, holder = step.node, step.holder
        if holder is None or list(self._comments(node)):
            raise Unreadable(node.line, "a comment lies within what would be written anew")
        if holder.kind == "map":
            head = self.text.index(":", self.end(holder.pairs[step.position][0])) + 1
        else:
            head = self.text.rfind("-", 0, node.start) + 1
        between = self.text[head : node.start]
        tail = between[: self.line_end(head) - head].rstrip()
        only_comment = tail.lstrip()[:1] == "#" and not between[len(tail) :].strip()
        is_simple = not isinstance(value, dict | list) or not value
        if between.strip() and node.start != self.end(node) and not (is_simple and only_comment):
            raise Unreadable(node.line, "a comment or an anchor is between a key and its value")
        if is_simple:
            return Splice(head, self.end(node), f" {styles.scalar(value)}{tail}")
        rest = _EMPTY_LINE_END.match(self.text, self.end(node))
        if rest is None or (rest[1] and node.kind != "scalar"):
            raise Unreadable(node.line, "a value shares its last line with a comment or another value")
        indent, dash = self._habits()
        rows = styles.lines(value, indent, dash)
        by = 2 if holder.kind == "seq" else dash if isinstance(value, list) else indent
        rows = [" " * (holder.column + by) + row if row else row for row in rows]
        if holder.kind == "seq" and not rest[1]:
            rows[0] = " " + rows[0].lstrip(" ")
            return Splice(head, rest.end(), self.newline.join(rows))
        return Splice(head, rest.end(), rest[0].rstrip() + self.newline + self.newline.join(rows))

    def _new_lines(self, node: Node, index: int, rows: list[str], value: Json) -> Splice:
        """Lines of a new key or item: after the one before it, so that the comments above the next stay with that."""
        firsts = [key for key, _ in node.pairs] or node.items
        first, column = node.start, node.column
        if index:
            end = self.end(node.children[index - 1]) if index < len(firsts) else self.end(node)
            rest = _EMPTY_LINE_END.match(self.text, end)
            if rest is None:
                raise Unreadable(node.line, "a collection shares its last line with something else")
            lines = [" " * column + row if row else row for row in rows]
            if rest.end() == len(self.text) and _ends_line(value):
                lines.append("")  # a block needs the line break that the file does not end with
            return Splice(rest.end(), rest.end(), self.newline + self.newline.join(lines))
        above = self._comment_above(first)
        if (
            above < first
            and len(firsts) > 1
            and self._comment_above(firsts[1].start) < self.line_start(firsts[1].start)
        ):
            first = above + column  # comments are about single keys or items here, not about the collection
            return Splice(above, above, "".join(" " * column + row + self.newline for row in rows))
        between = self.newline + " " * column
        return Splice(first, first, between.join(rows) + between)

    def _comment_above(self, offset: int) -> int:
        """The start of the comment lines directly above the line of an offset; else the start of that line."""
        start = self.line_start(offset)
        while start and self.text[self.line_start(start - 1) : start].lstrip(" \t").startswith("#"):
            start = self.line_start(start - 1)
        return start

    def _into_flow(self, node: Node, index: int, name: str, value: Json) -> Splice:
        closing, firsts = node.end - 1, [key for key, _ in node.pairs] or node.items
        if not firsts:
            return Splice(node.start + 1, closing, name + styles.flow(value, as_json=self.as_json))
        start = self.line_start(firsts[-1].start)
        indent = self.text[start : firsts[-1].start]
        gap = self.text[self.end(node.children[-1]) : closing]
        space = self.newline + indent if not indent.strip() and "\n" in gap else " "
        text = name + styles.flow(value, as_json=self.as_json)
        if space != " " and self.as_json:
            step = len(indent) - len(self.text[self.line_start(closing) : closing])
            text = name + styles.pretty(value, indent, indent[:1] * max(step, 0), self.newline)
        if index == 0:
            return Splice(firsts[0].start, firsts[0].start, f"{text},{space}")
        end = self.end(node.children[min(index, len(firsts)) - 1])
        if index >= len(firsts) and gap.lstrip().startswith(","):
            end += gap.index(",") + 1
            return Splice(end, end, space + text)
        return Splice(end, end, f",{space}{text}")

    def _habits(self) -> tuple[int, int]:
        """The indents of a mapping and of a list inside a mapping; 2 where the text shows none."""
        step, dash = 0, -1
        for node in (inner for root in self.roots for inner in _inner(root)):
            for _, item in node.pairs if node.kind == "map" and node.style == "block" else ():
                if self.text[self.line_start(item.start) : item.start].strip():
                    continue  # beside its key: the value of a key with `?` may begin so
                if item.style == "block" and item.kind == "map" and item.column > node.column:
                    step = step or item.column - node.column
                elif item.style == "block" and item.kind == "seq" and dash < 0:
                    dash = item.column - node.column
        return step or 2, max(dash, 0) if dash >= 0 else 2


def _ends_line(value: Json) -> bool:
    """Whether the last text in a value ends with a line break."""
    while isinstance(value, dict | list) and value:
        value = list(value.values())[-1] if isinstance(value, dict) else value[-1]
    return isinstance(value, str) and value.endswith("\n")


def _inner(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from _inner(child)


def _leaves(node: Node) -> Iterator[Node]:
    if node.kind in ("scalar", "alias"):
        yield node
    for key, item in node.pairs:
        yield from _leaves(key)
        yield from _leaves(item)
    for item in node.items:
        yield from _leaves(item)


def _comments(gap: str) -> list[str]:
    return [part[part.index("#") :].strip() for part in gap.splitlines() if "#" in part]
