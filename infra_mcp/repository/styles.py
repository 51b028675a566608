"""Writes values as YAML that every reader reads alike: libyaml, Go, and JSON where the file is JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import yaml
from yaml.resolver import Resolver

from infra_mcp.repository.scalars import Json, NotJson, plain

# A plain scalar that every reader takes as it is (YAML 1.2 §7.3.3, less what YAML 1.1 and libyaml read otherwise).
_FIRST = re.compile(r"[A-Za-z0-9_/.$(^+;<=~\\\u00c0-\u024f]|-{1,2}(?=[^\s-])")
_ENDS = re.compile(r"[: ]$|: | #")
_FLOW_SIGNS = re.compile(r"[,\[\]{}?]")
# Text that some reader takes for a number though ours does not: an exponent that is too large, among others.
_NUMBER_LIKE = re.compile(r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?")
_DOCUMENT_MARK = ("...", "---")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
# What may stand in YAML as it is (YAML 1.2 §5.1), less what some reader takes for a line break or a byte order mark.
_UNPRINTABLE = re.compile(r"[^\t\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_ESCAPED = re.compile(r'[\\"\t]|' + _UNPRINTABLE.pattern)
_BY_YAML_1_1 = Resolver()


def scalar(value: Json, *, in_flow: bool = False, old: str = "", as_json: bool = False) -> str:
    """A value without children on one line; text stays plain where it can only be read as text.

    Args:
        value: what to write.
        in_flow: whether it stands in a flow collection.
        old: what stands there, if plain: it may begin with a dash, or have a colon in a flow collection, if that does.
        as_json: whether the text is JSON.
    """
    if isinstance(value, float):
        return re.sub(r"^(-?\d+)e", r"\1.0e", json.dumps(value))  # without a point, YAML 1.1 takes it for text
    if not isinstance(value, str):
        return json.dumps(value) if not isinstance(value, dict | list) else "{}" if isinstance(value, dict) else "[]"
    unusual = (in_flow and ":" in value and ":" not in old) or (value[:1] == "-" and old[:1] != "-")
    if as_json or unusual or not _is_safe(value, in_flow):
        return double(value)
    return value


def double(text: str) -> str:
    """Text in double quotes, which is JSON's form too."""
    return '"' + _ESCAPED.sub(_escape, text) + '"'


def single(text: str) -> str | None:
    """Text in single quotes, or None where that cannot hold it."""
    return None if _UNPRINTABLE.search(text) or "\t" in text else "'" + text.replace("'", "''") + "'"


def flow(value: Json, *, as_json: bool = False) -> str:
    """Any value on one line, in flow style."""
    if isinstance(value, dict) and value:
        pairs = (
            f"{scalar(key, in_flow=True, as_json=as_json)}: {flow(item, as_json=as_json)}"
            for key, item in value.items()
        )
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list) and value:
        return "[" + ", ".join(flow(item, as_json=as_json) for item in value) + "]"
    return scalar(value, in_flow=True, as_json=as_json)


def pretty(value: Json, indent: str, step: str, newline: str) -> str:
    """A value as JSON, an entry a line.

    Args:
        value: what to write.
        indent: of the line that it begins on.
        step: how much further its entries are indented.
        newline: how lines end.
    """
    if not isinstance(value, dict | list) or not value:
        return flow(value, as_json=True)
    pairs: list[tuple[str, Json]] = [("", item) for item in value] if isinstance(value, list) else []
    pairs += [(f"{double(key)}: ", item) for key, item in value.items()] if isinstance(value, dict) else []
    between = newline + indent + step
    rows = f",{between}".join(name + pretty(item, indent + step, step, newline) for name, item in pairs)
    opening, closing = "[]" if isinstance(value, list) else "{}"
    return f"{opening}{between}{rows}{newline}{indent}{closing}"


def literal(text: str) -> tuple[str, list[str]] | None:
    """Text as a literal block: its chomping indicator and its lines; None where it cannot be one."""
    body = text.removesuffix("\n")
    rows = body.split("\n")
    odd = any(_UNPRINTABLE.search(row) or row != row.rstrip() for row in rows)
    if odd or not rows[0] or rows[0][0] in " \t" or not rows[-1]:
        return None
    return ("" if text.endswith("\n") else "-"), rows


def lines(value: Json, step: int = 2, dash: int = 2) -> list[str]:
    """Any value in block style.

    Args:
        value: what to write.
        step: how far a mapping inside a mapping is indented.
        dash: how far a list's dashes are indented inside a mapping.
    """
    if isinstance(value, dict) and value:
        return [row for key, item in value.items() for row in _pair(key, item, step, dash)]
    if isinstance(value, list) and value:
        return [row for item in value for row in _item(item, step, dash)]
    return [scalar(value)]


def _pair(key: str, value: Json, step: int, dash: int) -> Iterator[str]:
    name = scalar(key)
    block = literal(value) if isinstance(value, str) and "\n" in value else None
    if block:
        yield f"{name}: |{block[0]}"
        yield from _indented(block[1], step)
    elif isinstance(value, dict | list) and value:
        yield f"{name}:"
        yield from _indented(lines(value, step, dash), dash if isinstance(value, list) else step)
    else:
        yield f"{name}: {scalar(value)}"


def _item(value: Json, step: int, dash: int) -> Iterator[str]:
    block = literal(value) if isinstance(value, str) and "\n" in value else None
    rows = [f"|{block[0]}", *block[1]] if block else lines(value, step, dash)
    yield f"- {rows[0]}"
    yield from _indented(rows[1:], 2)


def _indented(rows: list[str], by: int) -> Iterator[str]:
    for row in rows:
        yield " " * by + row if row else row


def is_printable(text: str) -> bool:
    """Whether a line of a block can hold the text as it is."""
    return _UNPRINTABLE.search(text) is None


def _is_safe(text: str, in_flow: bool) -> bool:
    odd = not _FIRST.match(text) or _ENDS.search(text) or _UNPRINTABLE.search(text) or text.startswith(_DOCUMENT_MARK)
    if odd or any(char.isspace() and char != " " for char in text) or _NUMBER_LIKE.fullmatch(text):
        return False
    if in_flow and _FLOW_SIGNS.search(text):
        return False
    try:
        ours = plain(text)
    except NotJson:
        return False
    theirs = _BY_YAML_1_1.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    return isinstance(ours, str) and theirs == Resolver.DEFAULT_SCALAR_TAG


def _escape(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[0]) or f"\\u{ord(match[0]):04x}"
