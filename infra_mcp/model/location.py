"""The grammar of locations in infra.toml and in messages: `path#field`, such as `apps/web.yaml#spec.replicas`. Pure.

A field is written as keys with dots between them. A key with other characters than letters, digits, `_`, `-`, `/`, `$`
and `@` stands in brackets and quotes, as in JSON: `metadata.labels["example.org/part"]`. An item of a list is named by
its keys, `containers[name=web]`, or by its index from 0, `args[0]`; an item that is a plain value by that value,
`hosts[=a.example]`. A value in brackets is a number, true, false or null where it reads as one in JSON, and otherwise
text. `path!2#field` is the second document of the file. In a path, `#`, `!` and `%` are written `%23`, `%21` and `%25`.
"""

from __future__ import annotations

import json
import re
from typing import Final, NamedTuple

from pydantic import JsonValue

from infra_mcp.model.effect import FieldPath

_MAX_LENGTH: Final = 1_000
_MAX_STEPS: Final = 64
_ESCAPES: Final = {"%": "%25", "#": "%23", "!": "%21"}
_BARE: Final = re.compile(r"[\w$@/-]+")
_DOCUMENT: Final = re.compile(r"(.*)!([1-9][0-9]{0,3})")
_INDEX: Final = re.compile(r"\[(0|[1-9][0-9]{0,5})\]")
_TEXT: Final = re.compile(r"[^\s\[\]{}\"',=]+")  # a value without quotes
_JSON: Final = json.JSONDecoder()


class At(NamedTuple):
    """A file, and one value in it; without a field the whole file or folder."""

    path: str
    document: int | None = None  # from zero; None: the only document that has the field
    field: FieldPath = ()

    def __str__(self) -> str:
        """As infra.toml has it; `parse` reads it back."""
        path = re.sub("[%#!]", lambda found: _ESCAPES[found[0]], self.path)
        number = "" if self.document is None else f"!{self.document + 1}"
        return f"{path}{number}" + (f"#{show_field(self.field)}" if self.field else "")


def parse(text: str) -> At:
    """Read a location.

    Raises:
        ValueError: it is none; the message does not repeat it.
    """
    if len(text) > _MAX_LENGTH or re.search(r"[\x00-\x1f\x7f]", text):
        msg = f"must be at most {_MAX_LENGTH} characters in one line"
        raise ValueError(msg)
    path, has_field, field = text.partition("#")
    document = None
    if found := _DOCUMENT.fullmatch(path):
        path, document = found[1], int(found[2]) - 1
    if not path or "!" in path:
        msg = "must begin with a path, as in path#field; %21 stands for an exclamation mark in it"
        raise ValueError(msg)
    for character, escape in reversed(_ESCAPES.items()):
        path = path.replace(escape, character)
    return At(path, document, parse_field(field) if has_field else ())


def parse_field(text: str) -> FieldPath:
    """Read a field, as `spec.values["image"].tag`.

    Raises:
        ValueError: it is none; the message does not repeat it.
    """
    steps: list[str | int | dict[str, JsonValue]] = []
    at = 0
    while at < len(text):
        if text[at] == "[":
            step, at = _bracket(text, at)
        else:
            at += text[at] == "." and at > 0
            found = _BARE.match(text, at)
            if found is None or (steps and text[at - 1] != "."):
                raise _wrong(at)
            step, at = found[0], found.end()
        steps.append(step)
    if not steps or len(steps) > _MAX_STEPS:
        raise _wrong(len(text))
    return tuple(steps)


def show_field(field: FieldPath) -> str:
    """A field as `parse_field` reads it."""
    shown = ""
    for step in field:
        if isinstance(step, int):
            shown += f"[{step}]"
        elif isinstance(step, dict):
            shown += "[" + ",".join(f"{_key(key)}={_value(value)}" for key, value in step.items()) + "]"
        elif _BARE.fullmatch(step):
            shown += f".{step}" if shown else step
        else:
            shown += f"[{_quoted(step)}]"
    return shown


def _bracket(text: str, at: int) -> tuple[str | int | dict[str, JsonValue], int]:
    """One step in brackets, and where it ends: an index, a quoted key, or the keys of an item."""
    if found := _INDEX.match(text, at):
        return int(found[1]), found.end()
    keys: dict[str, JsonValue] = {}
    while text[at : at + 1] in {"[", ","}:
        name, at = _name(text, at + 1)
        if not keys and name and text[at : at + 1] == "]":
            return name, at + 1
        if text[at : at + 1] != "=" or name in keys:
            raise _wrong(at)
        # A plain item is named by its value alone: its key is `=`, as in `model.effect.FieldPath`.
        keys[name or "="], at = _read(text, at + 1)
    if text[at : at + 1] != "]" or ("=" in keys and len(keys) > 1):
        raise _wrong(at)
    return keys, at + 1


def _name(text: str, at: int) -> tuple[str, int]:
    """A key in brackets; empty before `=`. One without quotes is the key of an item, never a step alone."""
    if text[at : at + 1] == '"':
        value, end = _decoded(text, at)
        return str(value), end
    found = _BARE.match(text, at)
    if found is None:
        return "", at
    if text[found.end() : found.end() + 1] != "=":
        raise _wrong(found.end())
    return found[0], found.end()


def _read(text: str, at: int) -> tuple[JsonValue, int]:
    if text[at : at + 1] in {'"', "{", "["}:
        return _decoded(text, at)
    found = _TEXT.match(text, at)
    if found is None:
        raise _wrong(at)
    return _plain(found[0]), found.end()


def _plain(word: str) -> JsonValue:
    try:
        value: JsonValue = json.loads(word, parse_constant=str)
    except ValueError:
        return word
    return value


def _decoded(text: str, at: int) -> tuple[JsonValue, int]:
    try:
        value, end = _JSON.raw_decode(text, at)
    except (ValueError, RecursionError):
        raise _wrong(at) from None
    return value, end


def _key(key: str) -> str:
    if key == "=":
        return ""
    return key if _BARE.fullmatch(key) else _quoted(key)


def _value(value: JsonValue) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    plain = value.isprintable() and _TEXT.fullmatch(value) and _plain(value) == value
    return value if plain else _quoted(value)


def _quoted(text: str) -> str:
    """A JSON string that a terminal prints as it is."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in quoted)


def _wrong(at: int) -> ValueError:
    return ValueError(f"is no field at character {at + 1}; as in spec.containers[name=web].image")
