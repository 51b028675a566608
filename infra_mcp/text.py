r"""Cleans foreign texts for our sentences, answers, logs and terminals.

Peers, clusters, git and pushers write texts that we repeat. Such a text may try to begin a line of its own, to move a
cursor, to hide letters, or to be endless. Invisible characters are written as numbers, such as `\u202e`; a fragment in
a sentence of ours is one line, bounded, and between quotation marks.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from functools import lru_cache
from typing import Any, Final

_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # Unicode's categories, bidirectional marks among them
FRAGMENT: Final = 256  # characters of a fragment in a sentence
# Selectors of glyph variants: one is usual after an emoji, a row of the rare ones spells hidden text.
_SELECTORS = re.compile("[\ufe00-\ufe0d\U000e0100-\U000e01ef]")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,199}")
# A text of only these needs no change.
_USUAL = re.compile(r"[\n\t -~\u2026\u2192\u201c\u201d]*")
_CLOSING = re.compile(r"<(?=\s*/)")
# A terminal would obey these, or they change how a line reads.
_ACTIVE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)


def first_hidden(text: str) -> str | None:
    """The first control, formatting or separating character, or surrogate, that is no line feed; None without one."""
    return next((one for one in text if unicodedata.category(one) in _HIDDEN and one != "\n"), None)


def visible(text: str) -> str:
    r"""The text with every character visible; line ends and tabs stay, and `\r\n` is a line end.

    Controls, bidirectional marks, zero-width and other formatting characters, line separators and private or unassigned
    characters are written as their number; spaces of other widths are spaces.
    """
    text = text.replace("\r\n", "\n")
    return text if _USUAL.fullmatch(text) else "".join(map(_visible, text))


def one_line(text: str, most: int = FRAGMENT) -> str:
    """The text as one visible line of at most so many characters; white space is joined, and a cut shows as `…`."""
    line = visible(" ".join(text[: 4 * most].split()))
    return line if len(line) <= most and len(text) <= 4 * most else line[: most - 1] + "…"


def quoted(text: str, most: int = FRAGMENT) -> str:
    """A foreign fragment in a sentence of ours: one line between quotation marks, none of which is inside."""
    return '"' + one_line(text, most).replace('"', "'") + '"'


def named(text: str) -> str:
    """A foreign name in a sentence of ours: unchanged where it is plain, else as a quotation."""
    return text if _PLAIN.fullmatch(text) else quoted(text)


def clip(text: str, most: int) -> tuple[str, int]:
    """The beginning of a text that fits into `most` bytes, and how many characters are cut."""
    kept = text.encode("utf-8", "replace")[:most].decode("utf-8", "ignore")
    return kept, len(text) - len(kept)


def harmless(text: str) -> str:
    r"""A peer's text with every character visible, as by `visible`, and no closing tag: `</` becomes `<\/`."""
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


def quoted_lines(text: str, most: int) -> str:
    """A peer's text quoted line by line, at most `most` bytes of it, with the number of characters that were cut."""
    shown, cut = clip(harmless(text), most)
    lines = "\n".join(f"> {line}" for line in shown.split("\n"))
    return f"{lines}\n({cut} more characters not shown)" if cut else lines


def cell(text: str) -> str:
    """A peer's text as one cell of a table: in quotes, on one line, so that it is no row and no heading."""
    line = " ".join(harmless(text).split())
    return '"' + line.replace('"', "'") + '"' if line else ""


def shell_word(text: str) -> str:
    """One word of a command in bash, on one line, whatever the text."""
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + text.encode("unicode_escape").decode().replace("'", r"\'") + "'"


def escaped(text: str) -> str:
    """The text with active characters as JSON escapes, so that JSON stays the same JSON."""
    return _ACTIVE.sub(_number, text)


def _number(found: re.Match[str]) -> str:
    """A character as a JSON escape; beyond the first 65 536 as two."""
    units = found[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


@lru_cache(maxsize=4096)
def _visible(character: str) -> str:
    kind = unicodedata.category(character)
    if character in "\n\t" or not (kind[0] in "CZ" or _SELECTORS.match(character)):
        return character
    if kind == "Zs":
        return " "
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004
