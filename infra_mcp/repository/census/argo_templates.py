"""The templates of Argo CD's ApplicationSets: `{{name}}`, and Go's `{{ .name }}`. Pure.

Only names are understood, and `index` with constants. A text with anything else in braces is not known: it is never
guessed. Source: Argo CD, "ApplicationSet: Template" and "Go template".
"""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from infra_mcp.model.effect import FieldPath
from infra_mcp.repository.layers import Inside, Source, Spot, Tail, parsed
from infra_mcp.repository.lenient import as_text, with_texts
from infra_mcp.repository.partial import get_path
from infra_mcp.repository.scalars import Json

OPEN: Final = "{{"
_LONGEST: Final = 64 * 1024  # characters of a text with templates
_LONGEST_VALUE: Final = 4096
_LONGEST_ACTION: Final = 250
_MOST: Final = 200  # templates in one text
_ACTION = re.compile(r"\{\{(-?)\s*([^{}]*?)\s*(-?)\}\}")
_TAIL = re.compile(r"[^{}\s]+:(\{\{[^{}]*\}\})")  # `registry.example/a:{{tag}}`
_GO_FIELD = re.compile(r"(?:\.[A-Za-z_]\w*)+")
_GO_INDEX = re.compile(r'index\s+((?:\.[A-Za-z_]\w*)+)((?:\s+(?:\d+|"[^"\\]*"))+)')
_MARK = re.compile("\ue000(\\d+)\ue001")  # what stands for a template while the text is read
_INDEXED = re.compile(r"([\w.-]+)\[(\d+)\]")


class PathParameter(dict[str, Any]):
    """What a git generator gives for a path: in the plain syntax its name alone stands for the whole path."""


@dataclass(frozen=True)
class TemplateParameters:
    """What a template may name."""

    source: Source  # its value is a map
    is_go: bool

    def field(self, action: str) -> FieldPath | None:
        """The parameter that a template action names; None without such a parameter, or where the action is more."""
        if len(action) > _LONGEST_ACTION:
            return None
        field = _go(action) if self.is_go else _plain(self.source.value, action)
        return field if field and get_path(self.source.value, field)[0] else None

    def text(self, action: str) -> str | None:
        """What an action gives; None where it is not known."""
        field = self.field(action)
        value = get_path(self.source.value, field)[1] if field else None
        if value is None or isinstance(value, dict | list):
            return None
        text = as_text(value)
        return text if len(text) <= _LONGEST_VALUE else None

    def render(self, text: str) -> str | None:
        """A text with its templates replaced; None where it is not known."""
        if OPEN not in text:
            return text
        found = list(_ACTION.finditer(text)) if len(text) <= _LONGEST else []
        trims = any(one[1] or one[3] for one in found) and found[0][0] != text
        if not 0 < len(found) <= _MOST or OPEN in _ACTION.sub("", text) or trims:
            return None
        values = {one[2]: self.text(one[2]) for one in found}
        if None in values.values():
            return None
        return _ACTION.sub(lambda one: values[one[2]] or "", text)

    def pattern(self, text: str) -> str:
        """A text as a pattern (`fnmatch`), with a star for each template that is not known."""
        parts: list[str] = []
        end = 0
        for one in _ACTION.finditer(text[:_LONGEST_VALUE]):
            known = self.text(one[2])
            parts += [glob.escape(text[end : one.start()]), "*" if known is None else glob.escape(known)]
            end = one.end()
        return "".join(parts) + glob.escape(text[end:_LONGEST_VALUE])

    def named(self, text: Json) -> Iterator[str]:
        """The value of each parameter that a text, or a text in a list or map, names."""
        if isinstance(text, dict | list):
            for one in text.values() if isinstance(text, dict) else text:
                yield from self.named(one)
        elif isinstance(text, str) and OPEN in text:
            yield from (value for one in _ACTION.finditer(text[:_LONGEST]) if (value := self.text(one[2])))


@dataclass(frozen=True)
class Rendered:
    """A value whose texts are templates. A text that is not known is None."""

    base: Source
    parameters: TemplateParameters

    @cached_property
    def value(self) -> Json:
        """The value, with the templates replaced."""
        return with_texts(self.base.value, self.parameters.render, without=OPEN)

    def spots(self, field: FieldPath) -> tuple[Spot, ...]:
        """The places of the parameter that a text consists of; its own where it is no template; else none."""
        found, text = get_path(self.base.value, field)
        if not found:
            return ()
        if not isinstance(text, str) or OPEN not in text:
            return self.base.spots(field)
        tail = _TAIL.fullmatch(text)
        action = _ACTION.fullmatch(tail[1] if tail else text)
        named = self.parameters.field(action[2]) if action else None
        spots = self.parameters.source.spots(named) if named else ()
        if tail:
            return tuple(Tail(one.path, one.document, one.field, one.value, one.inside) for one in spots)
        return spots


@dataclass(frozen=True)
class Text:
    """YAML in a text with templates, which need not be quoted in it. Its texts are templates still."""

    source: Source
    at: FieldPath

    @cached_property
    def value(self) -> Json:
        """The text as YAML; None where it is none, with any word for each template."""
        text = get_path(self.source.value, self.at)[1]
        if not isinstance(text, str) or len(text) > _LONGEST:
            return None
        actions = [one[0] for one in _ACTION.finditer(text)]
        numbers = iter(range(len(actions)))
        value = parsed(_ACTION.sub(lambda _: f"\ue000{next(numbers)}\ue001", text))
        return with_texts(value, lambda one: _MARK.sub(lambda mark: actions[int(mark[1])], one), without="\ue000")

    def spots(self, field: FieldPath) -> tuple[Spot, ...]:
        """The place in the text, where it can be read as it stands."""
        return Inside(self.source, self.at).spots(field)


@dataclass(frozen=True)
class Under:
    """A source that stands below a key."""

    at: tuple[str, ...]
    source: Source

    @cached_property
    def value(self) -> Json:
        """The map that has it."""
        made = self.source.value
        for key in reversed(self.at):
            made = {key: made}
        return made

    def spots(self, field: FieldPath) -> tuple[Spot, ...]:
        """Those of the source."""
        return self.source.spots(field[len(self.at) :]) if field[: len(self.at)] == self.at else ()


@dataclass(frozen=True)
class Fixed:
    """A value that stands in no file."""

    value: Json

    def spots(self, field: FieldPath) -> tuple[Spot, ...]:
        """None."""
        del field
        return ()


def _go(action: str) -> FieldPath | None:
    if _GO_FIELD.fullmatch(action):
        return tuple(action[1:].split("."))
    if found := _GO_INDEX.fullmatch(action):
        steps = [json.loads(one) for one in re.findall(r'\d+|"[^"\\]*"', found[2])]
        return (*found[1][1:].split("."), *steps)
    return None


def _plain(value: Json, action: str) -> FieldPath | None:
    """Keys with dots between them; a key may have dots itself."""
    indexed = _INDEXED.fullmatch(action)
    field = _walked(value, (indexed[1] if indexed else action).split("."))
    found = get_path(value, field)[1] if field else None
    if isinstance(found, PathParameter) and field:
        return (*field, "segments", int(indexed[2])) if indexed else (*field, "path")
    return None if indexed else field


def _walked(value: Json, words: list[str]) -> FieldPath | None:
    if not words:
        return ()
    if isinstance(value, list):
        index = int(words[0]) if words[0].isdecimal() and len(words[0]) < 6 else -1  # noqa: PLR2004 - no such list
        rest = _walked(value[index], words[1:]) if 0 <= index < len(value) else None
        return None if rest is None else (index, *rest)
    for end in range(len(words), 0, -1) if isinstance(value, dict) else ():
        key = ".".join(words[:end])
        if key in value and (rest := _walked(value[key], words[end:])) is not None:
            return (key, *rest)
    return None
