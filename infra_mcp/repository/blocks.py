"""Changes a `|` or `>` block in as few of its lines as possible: header, indentation and chomping stay. Pure."""

from __future__ import annotations

import re
from itertools import takewhile
from typing import NamedTuple

from infra_mcp.repository.nodes import Node
from infra_mcp.repository.styles import is_printable

_HEADER = re.compile(r"([|>])([-+]?)([1-9]?)([-+]?)[^\r\n]*")


class Row(NamedTuple):
    """A line of a block, without its indentation and line break, and its offsets in the text, with the indentation."""

    text: str
    start: int
    end: int


def replaced(source: str, node: Node, value: str, newline: str) -> tuple[int, int, str] | None:
    """The lines to write in place of others: characters from, to, and what becomes of them.

    Args:
        source: the whole text.
        node: the block.
        value: its new value.
        newline: how lines end in the text.

    Returns:
        None where the block's header, or its form, has no room for the value.
    """
    header = _HEADER.match(source, node.start)
    if header is None:
        return None
    body, kept = value.rstrip("\n"), len(value) - len(value.rstrip("\n"))
    had = len(node.text) - len(node.text.rstrip("\n"))
    chomp = header[2] or header[4]
    if not body or kept != {"-": 0, "": min(had, 1), "+": had}[chomp] or not is_printable(body.replace("\n", "")):
        return None
    rows = _rows(source, header.end(), node.end)
    old = node.text.rstrip("\n").split("\n")
    while rows and not rows[-1].text.strip(" \t") and (header[1] == ">" or len(rows) > len(old)):
        rows.pop()
    if header[1] == "|":
        found = _literal(rows, old, body.split("\n"), explicit=bool(header[3]))
    else:
        found = _folded(rows, old, body)
    if found is None:
        return None
    indent, first, last, lines = found
    texts = [indent + line if line else "" for line in lines]
    if first < last:
        start, end = rows[first].start, rows[last - 1].end
        if not texts:  # the lines go with a line break: the one before them, since the last may have none
            start = rows[first - 1].end if first else start
            end = end if first else rows[last].start
        return start, end, newline.join(texts)
    if first < len(rows):
        return rows[first].start, rows[first].start, "".join(text + newline for text in texts)
    return rows[-1].end, rows[-1].end, "".join(newline + text for text in texts)


def _rows(source: str, start: int, end: int) -> list[Row]:
    """The lines after the header, up to an offset."""
    rows = []
    at = source.find("\n", start) + 1
    while 0 < at < end:
        stop = source.find("\n", at)
        stop = len(source) if stop < 0 else stop
        line = source[at:stop].removesuffix("\r")
        rows.append(Row(line, at, at + len(line)))
        at = stop + 1
    return rows


def _literal(
    rows: list[Row], old: list[str], new: list[str], *, explicit: bool
) -> tuple[str, int, int, list[str]] | None:
    """The indentation, the lines to replace, and those in place of them."""
    shown = next((i for i, line in enumerate(old) if line.strip(" ")), None)
    if len(rows) != len(old) or shown is None or not rows[shown].text.endswith(old[shown]):
        return None
    indent = rows[shown].text[: len(rows[shown].text) - len(old[shown])]
    first = next(line for line in new if line)
    if not indent or indent.strip(" ") or (first[0] in " \t" and not explicit):
        return None
    begin = _common(old, new)
    tail = _common(old[begin:][::-1], new[begin:][::-1])
    return indent, begin, len(old) - tail, new[begin : len(new) - tail]


def _folded(rows: list[Row], old: list[str], body: str) -> tuple[str, int, int, list[str]] | None:
    """The same for one paragraph: the lines that are the same at its ends stay, what is between becomes one line."""
    indent = "".join(takewhile(" ".__eq__, rows[0].text)) if rows else ""
    lines = [row.text.removeprefix(indent) for row in rows]
    plain = all(line and line[0] not in " \t" and line[-1] not in " \t" for line in [*lines, body])
    if not indent or not plain or old != [" ".join(lines)] or "\n" in body:
        return None
    begin = end = 0
    while begin < len(lines) - 1 and body.startswith(f"{lines[begin]} "):
        body, begin = body[len(lines[begin]) + 1 :], begin + 1
    while end < len(lines) - 1 - begin and body.endswith(f" {lines[-1 - end]}"):
        body, end = body[: -len(lines[-1 - end]) - 1], end + 1
    if not body or body != body.strip():
        return None
    return indent, begin, len(lines) - end, [body]


def _common(one: list[str], other: list[str]) -> int:
    """How many lines at the start are the same."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
