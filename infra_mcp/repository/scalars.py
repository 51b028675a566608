"""Reads a plain YAML scalar as Kubernetes' tools do: by the rules of sigs.k8s.io/yaml, not by YAML 1.1 or 1.2.

There `yes`, `on` and `y` are booleans, `0644` is octal and `1e3` a number, while `1:30` and `2026-01-01` are text.
"""

from __future__ import annotations

import re
from typing import Any

Json = Any  # a JSON value
_WORDS: dict[str, bool | None] = {
    **{word: True for name in ("y", "yes", "true", "on") for word in (name, name.capitalize(), name.upper())},
    **{word: False for name in ("n", "no", "false", "off") for word in (name, name.capitalize(), name.upper())},
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
}
_NOT_JSON = {sign + word for word in (".inf", ".Inf", ".INF") for sign in ("", "+", "-")} | {".nan", ".NaN", ".NAN"}
_INTEGER = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_POINT_FIRST = re.compile(r"\.[0-9]+(_[0-9]+)*([eE][-+]?[0-9]+)?")
_SMALLEST, _LARGEST, _UNSIGNED = -(2**63), 2**63 - 1, 2**64 - 1
_EXACT = 2**53  # whole numbers up to here are the same as floats and as integers


class NotJson(ValueError):  # noqa: N818 - what the number is; it becomes an error where the line is known
    """A number that JSON, and so the API server, has no form for."""


def plain(text: str) -> str | int | float | bool | None:
    """The value of a plain scalar.

    Raises:
        NotJson: infinity, or not a number.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text in _NOT_JSON:
        raise NotJson(text)
    is_number = _POINT_FIRST.fullmatch(text) or text[0] in "+-0123456789"
    return _number(text.replace("_", ""), text) if is_number else text


def as_json(value: str | float | bool | None) -> str | int | float | bool | None:
    """The value as Go's JSON writes it: 1.0 as 1, and fields of whole numbers accept nothing else."""
    if isinstance(value, float) and abs(value) <= _EXACT and value.is_integer():
        return int(value)
    return value


def _number(bare: str, text: str) -> str | int | float:
    whole = _INTEGER.fullmatch(bare)
    if whole:
        sign, *forms = whole.groups()
        digits, base = next((form, base) for form, base in zip(forms, (16, 2, 8, 10), strict=True) if form is not None)
        number = int(digits, base) * (-1 if sign == "-" else 1)
        if _SMALLEST <= number <= _LARGEST or (not sign and number <= _UNSIGNED):
            return number
    if _FLOAT.fullmatch(bare):
        value = float(bare)
        return value if abs(value) != float("inf") else text
    return text
