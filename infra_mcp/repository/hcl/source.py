"""Reads HCL text as the JSON values that Terraform's JSON syntax has for it, each with its position.

A body is an object of its attributes and blocks: `module "app" { version = "1" }` is `{"module": {"app": {"version":
"1"}}}`. Blocks of the same type and labels are a list; `locals` and `terraform` at the top count as one block, as
Terraform reads them. A text is a template, as in JSON syntax: `$${` stands for `${`. An expression that is no plain
value is a text with it between `${` and `}`. Source: Terraform, "JSON Configuration Syntax"; HCL native syntax
specification.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

import tree_sitter
import tree_sitter_hcl

from infra_mcp.repository.nodes import DEEPEST, Unreadable, decode
from infra_mcp.repository.scalars import Json, as_json

SUFFIXES: Final = (".tf", ".tofu", ".tfvars", ".hcl")
_MERGED: Final = frozenset({"locals", "terraform"})
_MAX_NODES: Final = 200_000
_ESCAPE = re.compile(r'\\(?:([nrt"\\])|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))')
_PLAIN: Final = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
_TEXTS: Final = frozenset({"string_lit", "quoted_template", "heredoc_template"})
_EXPANDED: Final = frozenset({"template_interpolation", "template_directive"})
_WORDS: Final[dict[str, Json]] = {"true": True, "false": False, "null": None}
_NUMBER = re.compile(r"(?:-\s*)?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_HEREDOC = re.compile(r"<<(-?)([^\s]+)\r?\n", re.DOTALL)

Kind = Literal["literal", "template", "tuple", "object", "expression"]


@dataclass(frozen=True)
class Expression:
    """A value; offsets count bytes."""

    kind: Kind
    start: int
    end: int
    value: Json
    items: tuple[Expression, ...] = ()  # of a tuple
    entries: tuple[Entry, ...] = ()  # of an object, and then its keys are plain


@dataclass(frozen=True)
class Entry:
    """An attribute of a body, or an entry of an object."""

    name: str
    start: int
    end: int
    equals: int  # where the sign between name and value stands
    value: Expression


@dataclass(frozen=True)
class Block:
    """A block; its body's offsets are those between the braces."""

    type: str
    labels: tuple[str, ...]
    start: int
    end: int
    body: Body


@dataclass(frozen=True)
class Body:
    """The attributes and blocks of a file or a block, in order."""

    start: int
    end: int
    entries: tuple[Entry, ...] = ()
    blocks: tuple[Block, ...] = ()
    is_top: bool = False

    @property
    def value(self) -> dict[str, Json]:
        """As a JSON value."""
        made: dict[str, Json] = {one.name: one.value.value for one in self.entries}
        for name, blocks in self.grouped().items():
            made[name] = self._nested(name, blocks, 0)
        return made

    def grouped(self) -> dict[str, list[Block]]:
        """The blocks by type."""
        found: dict[str, list[Block]] = {}
        for block in self.blocks:
            found.setdefault(block.type, []).append(block)
        return found

    def _nested(self, name: str, blocks: list[Block], depth: int) -> Json:
        labelled: dict[str, list[Block]] = {}
        for block in blocks:
            if len(block.labels) > depth:
                labelled.setdefault(block.labels[depth], []).append(block)
        if labelled:
            return {label: self._nested(name, some, depth + 1) for label, some in labelled.items()}
        if self.is_top and name in _MERGED:
            merged: dict[str, Json] = {}
            for block in blocks:
                merged |= block.body.value
            return merged
        values = [block.body.value for block in blocks]
        return values[0] if len(values) == 1 else values


@dataclass
class _Reader:
    data: bytes
    left: int = _MAX_NODES

    def body(self, node: tree_sitter.Node | None, start: int, end: int, depth: int, *, is_top: bool = False) -> Body:
        self._count(node, depth)
        entries, blocks, names = [], [], set()
        for child in node.named_children if node else ():
            if child.type == "attribute":
                entry = self._attribute(child, depth)
                if entry.name in names:
                    raise Unreadable(_line(child), "an attribute stands there twice")
                names.add(entry.name)
                entries.append(entry)
            elif child.type == "block":
                blocks.append(self._block(child, depth))
            elif child.type != "comment":
                raise Unreadable(_line(child), "this is neither an attribute nor a block")
        if clash := next((one for one in blocks if one.type in names), None):
            raise Unreadable(self.data.count(b"\n", 0, clash.start) + 1, "an attribute and a block have the same name")
        return Body(start, end, tuple(entries), tuple(blocks), is_top)

    def _attribute(self, node: tree_sitter.Node, depth: int) -> Entry:
        name, equals, value = _children(node)
        return Entry(self._text(name), node.start_byte, node.end_byte, equals.start_byte, self.expression(value, depth))

    def _block(self, node: tree_sitter.Node, depth: int) -> Block:
        first, *rest = _children(node)
        labels, inner = [], None
        start = end = 0
        for child in rest:
            if child.type in {"identifier", "string_lit"}:
                text = self._text(child)
                labels.append(_unescaped(text[1:-1]) if child.type == "string_lit" else text)
            elif child.type == "block_start":
                start = child.end_byte
            elif child.type == "body":
                inner = child
            elif child.type == "block_end":
                end = child.start_byte
        body = self.body(inner, start, end, depth + 1)
        return Block(self._text(first), tuple(labels), node.start_byte, node.end_byte, body)

    def expression(self, node: tree_sitter.Node, depth: int) -> Expression:
        self._count(node, depth)
        at = node.start_byte, node.end_byte
        inner = _bare(node)
        if inner.type == "object":
            return self._object(node, inner, depth)
        if inner.type == "tuple":
            inside = [one for one in inner.named_children if one.type == "expression"]
            items = tuple(self.expression(one, depth + 1) for one in inside)
            return Expression("tuple", *at, [one.value for one in items], items=items)
        if inner.type in _TEXTS:
            text = self._heredoc(node) if inner.type == "heredoc_template" else self._quoted(inner)
            is_plain = not any(one.type in _EXPANDED for one in _all(inner))
            return Expression("literal" if is_plain else "template", *at, text)
        text = self._text(inner)
        if text in _WORDS:
            return Expression("literal", *at, _WORDS[text])
        if inner.type in {"numeric_lit", "operation"} and _NUMBER.fullmatch(text):
            return Expression("literal", *at, _number(re.sub(r"\s", "", text), _line(node)))
        return Expression("expression", *at, "${" + self._text(node) + "}")

    def _object(self, node: tree_sitter.Node, inner: tree_sitter.Node, depth: int) -> Expression:
        entries = []
        for child in inner.named_children:
            if child.type != "object_elem":
                continue
            key, equals, inside = _children(child)
            name = self._key(key)
            if name is None:
                return Expression("expression", node.start_byte, node.end_byte, "${" + self._text(node) + "}")
            made = self.expression(inside, depth + 1)
            entries.append(Entry(name, child.start_byte, child.end_byte, equals.start_byte, made))
        if len({one.name for one in entries}) < len(entries):
            raise Unreadable(_line(node), "a key stands there twice")
        value = {one.name: one.value.value for one in entries}
        return Expression("object", node.start_byte, node.end_byte, value, entries=tuple(entries))

    def _key(self, node: tree_sitter.Node) -> str | None:
        """The key of an object's entry; None where it is an expression."""
        text = self._text(node)
        if re.fullmatch(r"[^\W\d][\w-]*", text):
            return text
        made = self.expression(node, 0)
        return str(made.value) if made.kind == "literal" and isinstance(made.value, str | int) else None

    def _quoted(self, node: tree_sitter.Node) -> str:
        """A quoted text as a template: escapes are read in its literal parts only."""
        at, made = node.start_byte + 1, ""
        for child in (one for one in node.children if one.type in _EXPANDED):
            made += _unescaped(self.data[at : child.start_byte].decode()) + self._text(child)
            at = child.end_byte
        return made + _unescaped(self.data[at : node.end_byte - 1].decode())

    def _heredoc(self, node: tree_sitter.Node) -> str:
        text = self._text(node)
        head = _HEREDOC.match(text)
        if head is None:
            raise Unreadable(_line(node), "this heredoc is not understood")
        lines = text[head.end() :].replace("\r\n", "\n").split("\n")[:-1]
        if head[1]:
            depths = [len(line) - len(line.lstrip(" \t")) for line in lines if line.strip()]
            lines = [line[min(depths, default=0) :] for line in lines]
        return "".join(f"{line}\n" for line in lines)

    def _text(self, node: tree_sitter.Node) -> str:
        return self.data[node.start_byte : node.end_byte].decode()

    def _count(self, node: tree_sitter.Node | None, depth: int) -> None:
        self.left -= 1
        if node is not None and (depth > DEEPEST or self.left < 0):
            raise Unreadable(_line(node), "it is nested too deeply, or too large")


def read(data: bytes) -> Body:
    """The content of an HCL file.

    Raises:
        Unreadable: it is no HCL, is too large, or says something twice.
    """
    decode(data)
    tree = _parser().parse(data)
    if tree.root_node.has_error:
        raise Unreadable(_line(_first_error(tree.root_node)), "it is no valid HCL")
    body = next((one for one in tree.root_node.children if one.type == "body"), None)
    return _Reader(data).body(body, 0, len(data), 0, is_top=True)


@cache
def _parser() -> tree_sitter.Parser:
    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_hcl.language()))


def _children(node: tree_sitter.Node) -> list[tree_sitter.Node]:
    return [one for one in node.children if one.type != "comment"]


def _bare(node: tree_sitter.Node) -> tree_sitter.Node:
    """What an expression consists of, where that is one thing."""
    while node.type in {"expression", "literal_value", "collection_value", "template_expr"}:
        found = _children(node)
        if len(found) != 1:
            break
        node = found[0]
    return node


def _all(node: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    todo = [node]
    while todo:
        here = todo.pop()
        yield here
        todo += here.children


def _first_error(node: tree_sitter.Node) -> tree_sitter.Node:
    return next((one for one in _all(node) if one.is_error or one.is_missing), node)


def _line(node: tree_sitter.Node) -> int:
    return int(node.start_point[0]) + 1


def _unescaped(text: str) -> str:
    def one(found: re.Match[str]) -> str:
        return _PLAIN[found[1]] if found[1] else chr(int(found[2] or found[3], 16))

    return _ESCAPE.sub(one, text)


def _number(text: str, line: int) -> Json:
    if _INTEGER.fullmatch(text):
        return int(text)
    number = float(text)
    if number in {float("inf"), float("-inf")}:
        raise Unreadable(line, "a number is too large")
    return as_json(number)
