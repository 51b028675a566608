"""Writes JSON values as HCL, in the form of `terraform fmt`. A text is a template: see `hcl.source`."""

from __future__ import annotations

import json
import re
from typing import Final

from infra_mcp.repository.scalars import Json

# Keys in other letters than these are quoted: which of them the grammar takes differs between its parsers.
TEXT_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_LINE: Final = 80  # characters of a list on one line
_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_INTERPOLATION = re.compile(r"(?<!\$)\$\{|(?<!%)%\{")


def written(value: Json, indent: int = 0) -> str:
    """A value as HCL; its further lines begin with `indent` spaces and more.

    Args:
        value: any JSON value; a text is a template, and `${` in it begins an expression.
        indent: of the line on which it begins.
    """
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, dict):
        return _object(value, indent)
    if isinstance(value, list):
        return _tuple(value, indent)
    return json.dumps(value)


def _object(value: dict[str, Json], indent: int) -> str:
    if not value:
        return "{}"
    keys = {key: key if TEXT_KEY.fullmatch(key) else _quoted(key) for key in value}
    width = max(map(len, keys.values()))
    inner = " " * (indent + 2)
    lines = [f"{inner}{keys[key].ljust(width)} = {written(item, indent + 2)}" for key, item in value.items()]
    return "\n".join(["{", *lines, " " * indent + "}"])


def _tuple(value: list[Json], indent: int) -> str:
    short = ", ".join(written(one) for one in value)
    if "\n" not in short and len(short) + indent <= _LINE:
        return f"[{short}]"
    inner = " " * (indent + 2)
    return "\n".join(["[", *(f"{inner}{written(one, indent + 2)}," for one in value), " " * indent + "]"])


def _quoted(text: str) -> str:
    """A text in quotes; what stands in an expression stays as it is."""
    if _INTERPOLATION.search(text):
        return f'"{text}"'
    return '"' + "".join(_ESCAPES.get(one, one if one.isprintable() else _number(one)) for one in text) + '"'


def _number(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 2**16 else f"\\U{code:08x}"
