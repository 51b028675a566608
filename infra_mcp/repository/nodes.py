"""Reads YAML text as nodes with their positions, and as the JSON values that Kubernetes makes of them.

Nodes are built from libyaml's events, without recursion: its composer overflows the C stack on deep nesting. Text that
two readers could take differently (duplicate keys, tags, a byte order mark) is refused.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from infra_mcp.repository.scalars import Json, NotJson, as_json, plain

LARGEST = 8 * 1024 * 1024  # bytes
TOO_LARGE = f"the file is larger than {LARGEST // 1024 // 1024} MiB"
DEEPEST = 100  # collections inside each other
DOCUMENTS = 1000
MAX_KEY = 2**63  # of keys that are numbers; others are read differently by different readers
THROUGH_ALIASES = 20_000  # values reached through aliases, in all documents of a file

_CORE = "tag:yaml.org,2002:"
_PROPERTIES = re.compile(r"(?:[&!][^\s,\[\]{}]*(?:\s+|(?=[\[{\"'])))*")
_TYPES: dict[str, tuple[type, ...]] = {
    f"{_CORE}int": (int,),
    f"{_CORE}float": (int, float),
    f"{_CORE}bool": (bool,),
    f"{_CORE}null": (type(None),),
}
_Event = Any  # libyaml's events always have their marks; the stubs cannot say so


class Unreadable(Exception):  # noqa: N818 - translated with the file's name where that is known
    """A text that is not read, or not edited.

    Args:
        line: counted from one.
        why: half a sentence, without any of the text.
    """

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}")
        self.line, self.why = line, why


@dataclass(slots=True, eq=False)
class Node:
    """A node of one document. Offsets count characters; `start` is past anchors and tags."""

    kind: Literal["scalar", "map", "seq", "alias"]
    start: int
    end: int
    line: int  # counted from one
    column: int
    style: str  # of a scalar: "", ', ", | or >; of a collection: "flow" or "block"
    text: str = ""
    tag: str | None = None
    pairs: list[tuple[Node, Node]] = field(default_factory=list)
    items: list[Node] = field(default_factory=list)
    target: Node | None = None  # of an alias

    @property
    def children(self) -> list[Node]:
        """The values of a mapping or the items of a list."""
        return [item for _, item in self.pairs] or self.items

    @property
    def real(self) -> Node:
        """The node, or the target of an alias."""
        return self.target or self


def decode(data: bytes) -> str:
    """The text of a file.

    Raises:
        Unreadable: it is too large, not UTF-8, or begins with a byte order mark.
    """
    if len(data) > LARGEST:
        raise Unreadable(1, TOO_LARGE)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable(data.count(b"\n", 0, error.start) + 1, "the text is not UTF-8") from None
    if text.startswith("\ufeff"):
        raise Unreadable(1, "the file begins with a byte order mark")
    return text


def compose(text: str) -> list[Node]:
    """The root node of every document.

    Raises:
        Unreadable: naming the line.
    """
    try:
        return _roots(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        why = getattr(error, "problem", None) or "it holds characters that YAML does not allow"
        if mark:
            # libyaml may have read ahead to its own bound: ours come first, in the text before.
            with suppress(yaml.YAMLError):
                _roots(text[: mark.index])
        raise Unreadable(mark.line + 1 if mark else 1, str(why)) from None


def _roots(text: str) -> list[Node]:
    loader = yaml.CSafeLoader(text)
    try:
        return _Composer(text).run(loader)
    finally:
        loader.dispose()


class _Composer:
    def __init__(self, text: str) -> None:
        self.text = text
        self.roots: list[Node] = []
        self.open: list[Node] = []
        self.keys: list[Node | None] = []  # of each open mapping, the key that waits for its value
        self.anchors: dict[str, Node] = {}

    def run(self, loader: yaml.CSafeLoader) -> list[Node]:
        while True:
            event: _Event = loader.get_event()
            if isinstance(event, yaml.ScalarEvent):
                self.add(self.node("scalar", event, event.style or "", event.value))
            elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
                kind: Literal["map", "seq"] = "map" if isinstance(event, yaml.MappingStartEvent) else "seq"
                node = self.node(kind, event, "flow" if event.flow_style else "block")
                self.add(node)
                self.open.append(node)
                self.keys.append(None)
                if len(self.open) > DEEPEST:
                    raise Unreadable(node.line, f"collections are nested deeper than {DEEPEST}")
            elif isinstance(event, yaml.CollectionEndEvent):
                self.keys.pop()
                self.close(self.open.pop(), event)
            elif isinstance(event, yaml.AliasEvent):
                self.alias(event)
            elif isinstance(event, yaml.DocumentStartEvent):
                self.anchors = {}
                if len(self.roots) >= DOCUMENTS:
                    raise Unreadable(_line(event), f"the file has more than {DOCUMENTS} documents")
            elif isinstance(event, yaml.StreamEndEvent):
                return self.roots

    def node(self, kind: Literal["scalar", "map", "seq"], event: _Event, style: str, text: str = "") -> Node:
        mark, start = event.start_mark, event.start_mark.index
        tag = getattr(event, "tag", None)
        if event.anchor or tag:
            match = _PROPERTIES.match(self.text, start)
            start = min(match.end(), event.end_mark.index) if match else start
        made = Node(kind, start, event.end_mark.index, mark.line + 1, mark.column, style, text, tag)
        if event.anchor:
            self.anchors[event.anchor] = made
        return made

    def alias(self, event: _Event) -> None:
        mark = event.start_mark
        target = self.anchors.get(event.anchor)
        if target is None:
            raise Unreadable(mark.line + 1, "an alias has no anchor")
        if target in self.open:
            raise Unreadable(mark.line + 1, "an alias refers to the collection that it lies in")
        self.add(Node("alias", mark.index, event.end_mark.index, mark.line + 1, mark.column, "", target=target))

    def close(self, node: Node, event: _Event) -> None:
        node.end = event.end_mark.index
        if node.style == "block":
            # With an anchor, or an indicator before it, the collection's mark is not where its lines begin.
            if node.pairs:
                node.start = key_start(self.text, node.pairs[0][0])
                node.column = node.pairs[0][0].column - (node.pairs[0][0].start - node.start)
            elif node.items:
                if self.text[node.start : node.start + 1] != "-":
                    node.start = self.text.rfind("-", 0, node.items[0].start)
                node.column = node.start - self.text.rfind("\n", 0, node.start) - 1

    def add(self, node: Node) -> None:
        if not self.open:
            self.roots.append(node)
            return
        parent = self.open[-1]
        if parent.kind == "seq":
            parent.items.append(node)
        elif (key := self.keys[-1]) is None:
            self.keys[-1] = node
        else:
            self.keys[-1] = None
            parent.pairs.append((key, node))


def key_start(text: str, key: Node) -> int:
    """The offset where a key of a block mapping begins: at its `?` where it has one, as octoDNS writes the key `''`."""
    before = text[text.rfind("\n", 0, key.start) + 1 : key.start].rstrip(" ")
    return text.rindex("?", 0, key.start) if before.endswith("?") else key.start


def _line(event: _Event) -> int:
    return int(event.start_mark.line) + 1


def values(roots: list[Node]) -> list[Any]:
    """The JSON value of each document.

    Raises:
        Unreadable: a duplicate or odd key, a tag, a number without a JSON form, or too much through aliases.
    """
    reader, found = _Values(), []
    for root in roots:
        reader.in_object = is_object(root)
        found.append(reader.of(root, 0))
    return found


def is_object(root: Node) -> bool:
    """Whether a document is written for Kubernetes' tools: it names an API version and a kind."""
    keys = {key.text for key, _ in root.pairs}
    return {"apiVersion", "kind"} <= keys


def key_text(node: Node, *, in_object: bool) -> str:
    """A mapping's key as text.

    In an object it is what Kubernetes' tools make of it: `on` is "true" and 012 is "10". Elsewhere it is as written,
    since zone and values files have names such as `null` and `44.74`.

    Raises:
        Unreadable: a key that is a collection; in an object also one that is no text, whole number or boolean.
    """
    if node.real.kind == "scalar" and not in_object:
        return node.real.text
    key = _scalar(node.real) if node.real.kind == "scalar" else None
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, str) or (isinstance(key, int) and abs(key) < MAX_KEY):
        return str(key)
    raise Unreadable(node.line, "a key is neither text nor a whole number")


class _Values:
    def __init__(self) -> None:
        self.in_object = False
        self.aliases = 0  # how many aliases we are inside of
        self.through = 0

    def of(self, node: Node, depth: int) -> Json:
        if depth > DEEPEST:
            raise Unreadable(node.line, f"collections are nested deeper than {DEEPEST}")
        if self.aliases:
            self.through += 1
            if self.through > THROUGH_ALIASES:
                raise Unreadable(node.line, f"aliases repeat more than {THROUGH_ALIASES} values")
        if node.target is not None:
            self.aliases += 1
            found = self.of(node.target, depth)
            self.aliases -= 1
            return found
        if node.kind == "scalar":
            return as_json(_scalar(node))
        if node.tag not in (None, "!", f"{_CORE}{node.kind}"):
            raise Unreadable(node.line, "a tag is not one of JSON's types")
        if node.kind == "seq":
            return [self.of(item, depth + 1) for item in node.items]
        return self.mapping(node, depth)

    def mapping(self, node: Node, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        base: dict[str, Any] | None = None
        for key, item in node.pairs:
            if is_merge(key):
                if base is not None:
                    raise Unreadable(key.line, "a mapping is merged (<<) twice")
                base = {}
                for source in item.real.items if item.real.kind == "seq" else [item]:
                    if source.real.kind != "map":
                        raise Unreadable(source.line, "the value that is merged (<<) is no mapping")
                    base = self.of(source, depth + 1) | base
                if base.keys() & found.keys():
                    why = "a merge (<<) follows a key that it contains too, which readers take differently"
                    raise Unreadable(key.line, why)
                continue
            name = key_text(key, in_object=self.in_object)
            if name in found:
                raise Unreadable(key.line, "a mapping has one key twice")
            found[name] = self.of(item, depth + 1)
        return {**base, **found} if base else found


def is_merge(key: Node) -> bool:
    """Whether a key is the merge key `<<` (YAML 1.1)."""
    return key.kind == "scalar" and key.text == "<<" and not key.style


def _scalar(node: Node) -> Json:
    if node.tag is None and node.style:
        return node.text
    try:
        if node.tag is None:
            return plain(node.text)
        if node.tag in ("!", f"{_CORE}str"):
            return node.text
        found = plain(node.text)
    except NotJson:
        raise Unreadable(node.line, "a number has no form in JSON") from None
    if type(found) not in _TYPES.get(node.tag, ()):
        raise Unreadable(node.line, "a tag is not one of JSON's types, or does not fit its value")
    return found
