"""YAML files with Go templates, as far as they are YAML: each template is a text, which other values may replace."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from infra_mcp.model.effect import FieldPath
from infra_mcp.repository.census.index import LARGEST, Index
from infra_mcp.repository.layers import Source, Spot
from infra_mcp.repository.lenient import with_texts
from infra_mcp.repository.nodes import Unreadable, compose, decode, values
from infra_mcp.repository.partial import get_path
from infra_mcp.repository.scalars import Json

# A value that is a template, or begins with one, and is in no quotes.
_VALUE = re.compile(
    r"^(?P<key>[ \t]*(?:-[ \t]+)*(?:[\w.\"'/-]+:[ \t]+)?)(?P<value>\{\{.*?)(?P<rest>[ \t]+#.*|[ \t\r]*)$"
)
# Templates that decide which lines there are: the text is not what helmfile reads.
_CONTROL = re.compile(r"\{\{-?\s*(?:if|else|end|range|with|define|template|block|break|continue)\b")
_COMMENT = re.compile(r"\{\{-?\s*/\*")  # where one begins
_LATER = re.compile(r"\{\{`(.*?)`\}\}", re.DOTALL)  # a template for the next pass
_ONE = re.compile(r"\{\{-?\s*(?P<path>\.[\w.]+)\s*(?P<pipes>(?:\|[^{}|]*)*)-?\}\}")
_PIPE = re.compile(r"quote|toString|(?P<default>default\s+(?:\"[^\"]*\"|'[^']*'|[\w.+-]+))|trim|squote")
_VALUES: Final = ("Values", "StateValues")
_MOST: Final = 60_000  # characters of a file with templates
_LONGEST: Final = 1_000  # characters of a line or value with a template: patterns take the square of it


def documents(index: Index, path: str) -> list[Json]:
    """The values of a file's documents; none where it cannot be read without running its templates."""
    if not path.endswith(".gotmpl") and (found := index.documents(path)):
        return found
    data = index.tree.read(path)
    if data is None or len(data) > min(LARGEST, _MOST):
        return []
    key = ("templated", index.tree.oid(path))
    if key not in index.tree.memo:
        index.tree.memo[key] = _read(data)
    kept: list[Json] = index.tree.memo[key]
    return kept


def _read(data: bytes) -> list[Json]:
    try:
        text = _without_comments(decode(data))
        if _CONTROL.search(text):
            return []
        return values(compose("\n".join(map(_quoted, text.split("\n")))))
    except Unreadable:
        return []


def _without_comments(text: str) -> str:
    kept, at = [], 0
    while found := _COMMENT.search(text, at):
        inner = text.find("*/", found.end())
        end = text.find("}}", inner) if inner >= 0 else -1
        if end < 0:
            break
        kept.append(text[at : found.start()])
        at = end + 2
    return "".join(kept) + text[at:]


def _quoted(line: str) -> str:
    found = _VALUE.match(line) if len(line) <= _LONGEST else None
    if not found or "}}" not in found["value"]:
        return line
    text = found["value"].replace("'", "''")
    return f"{found['key']}'{text}'{found['rest']}"


@dataclass(frozen=True)
class Rendered:
    """A source in which templates that name a value are followed to where it stands.

    Args:
        source: with templates.
        given: what `.Values` is.
        names: what the other fields are, `.Environment.Name` for one.
    """

    source: Source
    given: Source
    names: Mapping[str, str]

    @cached_property
    def value(self) -> Json:
        """The value, with the templates that are understood replaced."""
        return with_texts(self.source.value, lambda text: render(text, self.names, self.given.value))

    def spots(self, field: FieldPath) -> tuple[Spot, ...]:
        """The places that set a field: where a template names a value, that value's."""
        found: list[Spot] = []
        for spot in self.source.spots(field):
            named = _named(spot.value)
            found += (self.given.spots(named) if named else ()) or (spot,)
        return tuple(found)


def render(text: str, names: Mapping[str, str], given: Json = None) -> Json:
    """A text with its templates replaced that name one of these values; others stay as they are.

    Args:
        text: with templates.
        names: `.Environment.Name` and the like, without the first dot.
        given: what `.Values` is.
    """
    if "{{" not in text or len(text) > _LONGEST:
        return text
    text = _LATER.sub(r"\1", text)
    whole = _ONE.fullmatch(text.strip())
    if whole and (found := _looked_up(whole, names, given)) is not None:
        return str(found) if "quote" in whole["pipes"] or not isinstance(found, str | int | float | bool) else found
    return _ONE.sub(lambda one: str(found) if (found := _looked_up(one, names, given)) is not None else one[0], text)


def is_template(value: Json) -> bool:
    """Whether a value has a template in it."""
    return isinstance(value, str) and "{{" in value


def _named(value: Json) -> FieldPath:
    """The value of `.Values` that a text is, by its path; empty where it is something else."""
    whole = _ONE.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= _LONGEST else None
    if not whole or not _is_plain(whole["pipes"]):
        return ()
    first, *rest = whole["path"].strip(".").split(".")
    return tuple(rest) if first in _VALUES else ()


def _is_plain(pipes: str) -> bool:
    return all(_PIPE.fullmatch(one.strip()) for one in pipes.split("|")[1:])


def _looked_up(one: re.Match[str], names: Mapping[str, str], given: Json) -> Json:
    path = one["path"].strip(".")
    if not _is_plain(one["pipes"]):
        return None
    if path in names:
        return names[path]
    first, *rest = path.split(".")
    return get_path(given, tuple(rest))[1] if first in _VALUES and rest else None
