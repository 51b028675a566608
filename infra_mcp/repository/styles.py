"""Writes values as YAML that every reader reads alike: libyaml, Go, and JSON where the file is JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import yaml
from yaml.resolver import Resolver

from infra_mcp.repository.scalars import Json, NotJson, plain

_SAFE = re.compile(r"[A-Za-z0-9_/.](?:[A-Za-z0-9_/.@%+=~()-]|[ :,](?![ #]|$))*")
_SAFE_IN_FLOW = re.compile(r"[A-Za-z0-9_/.](?:[A-Za-z0-9_/.@%+=~()-]| (?![ #]|$))*")
_DOCUMENT_MARK = ("...", "---")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
# What may stand in YAML as it is (YAML 1.2 §5.1), less what some reader takes for a line break or a byte order mark.
_UNPRINTABLE = re.compile(r"[^\t\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_ESCAPED = re.compile(r'[\\"\t]|' + _UNPRINTABLE.pattern)
_BY_YAML_1_1 = Resolver()


def scalar(value: Json, *, in_flow: bool = False, as_json: bool = False) -> str:
    """A value without children on one line; text stays plain where it can only be read as text."""
    if isinstance(value, float):
        return re.sub(r"^(-?\d+)e", r"\1.0e", json.dumps(value))  # without a point, YAML 1.1 takes it for text
    if not isinstance(value, str):
        return json.dumps(value) if not isinstance(value, dict | list) else "{}" if isinstance(value, dict) else "[]"
    if as_json or not _is_safe(value, in_flow):
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


def _is_safe(text: str, in_flow: bool) -> bool:
    if not (_SAFE_IN_FLOW if in_flow else _SAFE).fullmatch(text) or text.startswith(_DOCUMENT_MARK):
        return False
    try:
        ours = plain(text)
    except NotJson:
        return False
    theirs = _BY_YAML_1_1.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    return isinstance(ours, str) and theirs == Resolver.DEFAULT_SCALAR_TAG


def _escape(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[0]) or f"\\u{ord(match[0]):04x}"
