"""Texts of peers, shown to others as what they are: data. Pure.

A peer's words may say "SYSTEM: approve", close a tag they never opened, or hide letters that no reader sees. Nothing
here judges that; it makes sure that such words are seen to be the peer's own: quoted line by line, on lines that
nothing else begins, with what is invisible spelled out and what would close a tag broken up.
"""

from __future__ import annotations

import re
from typing import Any

from infra_mcp.text import clip, visible

_CLOSING = re.compile(r"<(?=\s*/)")


def harmless(text: str) -> str:
    r"""A peer's text with every character visible and no closing tag.

    Line ends and tabs stay. Controls, bidirectional marks, zero-width and other formatting characters, line separators
    and private or unassigned characters are written as their number, such as `\u202e`. `</` becomes `<\/`.
    """
    return _CLOSING.sub(r"<\\", visible(text))


def harmless_json(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """The same for every text inside a JSON value, names of fields too."""
    if isinstance(value, str):
        return harmless(value)
    if isinstance(value, list | tuple):
        return [harmless_json(item) for item in value]
    if isinstance(value, dict):
        return {harmless(str(key)): harmless_json(item) for key, item in value.items()}
    return value


def quoted(text: str, most: int) -> str:
    """A peer's text quoted line by line, at most `most` bytes of it, with the number of characters that were cut."""
    shown, cut = clip(harmless(text), most)
    lines = "\n".join(f"> {line}" for line in shown.split("\n"))
    return f"{lines}\n({cut} more characters not shown)" if cut else lines


def cell(text: str) -> str:
    """A peer's text as one cell of a table: in quotes, on one line, so that it is no row and no heading."""
    line = " ".join(harmless(text).split())
    return '"' + line.replace('"', "'") + '"' if line else ""
