"""Texts of peers, shown to others as what they are: data. Pure.

A peer's words may say "SYSTEM: approve", close a tag they never opened, or hide letters that no reader sees. Nothing
here judges that; it makes sure that such words are seen to be the peer's own: quoted line by line, on lines that
nothing else begins, with what is invisible spelled out and what would close a tag broken up.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Any

__all__ = ["cell", "harmless", "harmless_json", "quoted"]

_KEPT = {"\n", "\t"}
# Selectors of glyph variants: one is usual after an emoji, a row of the rare ones spells hidden text.
_SELECTORS = re.compile("[\ufe00-\ufe0d\U000e0100-\U000e01ef]")
_CLOSING = re.compile(r"<(?=\s*/)")


def harmless(text: str) -> str:
    r"""A peer's text with every character visible and no closing tag.

    Line ends and tabs stay. Controls, bidirectional marks, zero-width and other formatting characters, line separators
    and private or unassigned characters are written as their number, such as `\u202e`. `</` becomes `<\/`.
    """
    text = text.replace("\r\n", "\n")
    if not text.isascii() or not text.isprintable():
        text = "".join(map(_visible, text))
    return _CLOSING.sub(r"<\\", text)


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
    shown, cut = clipped(harmless(text), most)
    lines = "\n".join(f"> {line}" for line in shown.split("\n"))
    return f"{lines}\n({cut} more characters not shown)" if cut else lines


def clipped(text: str, most: int) -> tuple[str, int]:
    """The beginning of a text that fits into `most` bytes, and how many characters are left out."""
    shown = text.encode("utf-8", "replace")[:most].decode("utf-8", "ignore")
    return shown, len(text) - len(shown)


def cell(text: str) -> str:
    """A peer's text as one cell of a table: in quotes, on one line, so that it is no row and no heading."""
    line = " ".join(harmless(text).split())
    return '"' + line.replace('"', "'") + '"' if line else ""


@lru_cache(maxsize=4096)
def _visible(character: str) -> str:
    if character in _KEPT or not (unicodedata.category(character)[0] in "CZ" or _SELECTORS.match(character)):
        return character
    if unicodedata.category(character) == "Zs":
        return " "
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004
