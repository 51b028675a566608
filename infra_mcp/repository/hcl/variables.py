"""The input variables of a Terraform module: their types, and whether a value fits one.

Source: Terraform, "Type Constraints" and "Input Variables".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from infra_mcp.errors import InfraError
from infra_mcp.model.effect import FieldPath, show_path
from infra_mcp.model.inert import escaped
from infra_mcp.model.setting import as_boolean, as_number
from infra_mcp.repository.scalars import Json
from infra_mcp.text import first_hidden

_SIGN = re.compile(
    r"\s+|(?:#|//)[^\n]*|/\*.*?\*/|(?P<word>[A-Za-z_][\w-]*)|(?P<text>\"[^\"]*\")|(?P<sign>.)", re.DOTALL
)
_OPEN: Final = {"(": ")", "[": "]", "{": "}"}
_KINDS: Final = {"string": "a text", "number": "a number", "bool": "true or false"}
_MAX_DEPTH: Final = 20


@dataclass(frozen=True)
class Type:
    """A type constraint. `list`, `set` and `map` have one inner type, a tuple has one for each item."""

    name: str
    inner: tuple[Type, ...] = ()
    attributes: Mapping[str, Type] = field(default_factory=dict)  # of an object
    optional: frozenset[str] = frozenset()  # those of its attributes that may be left out

    def __str__(self) -> str:
        """As Terraform writes it."""
        if self.name == "object":
            shown = (
                f"{key} = {f'optional({one})' if key in self.optional else one}" for key, one in self.attributes.items()
            )
            return f"object({{{', '.join(shown)}}})"
        if self.name == "tuple":
            return f"tuple([{', '.join(map(str, self.inner))}])"
        return f"{self.name}({self.inner[0]})" if self.inner else self.name


ANY: Final = Type("any")


@dataclass(frozen=True)
class Variable:
    """A `variable` block."""

    name: str
    type: Type = ANY
    is_required: bool = True  # it has no default
    is_sensitive: bool = False
    is_ephemeral: bool = False  # no plan keeps its value

    @property
    def is_secret(self) -> bool:
        """Whether its value is in no file of the repository."""
        return self.is_sensitive or self.is_ephemeral


def variables(documents: Mapping[str, Json]) -> dict[str, Variable]:
    """The variables of a module.

    Args:
        documents: the value of each of its files, by path.
    """
    found = {}
    for document in documents.values():
        blocks = document.get("variable") if isinstance(document, dict) else None
        for name, block in blocks.items() if isinstance(blocks, dict) else ():
            if isinstance(block, dict):
                found[name] = Variable(
                    name,
                    _type_of(block.get("type")),
                    is_required="default" not in block,
                    is_sensitive=block.get("sensitive") not in {None, False},
                    is_ephemeral=block.get("ephemeral") not in {None, False},
                )
    return found


def at(variable: Variable, field: FieldPath) -> Variable:
    """What a variable takes at a field of its value, as a variable of its own; `any` where its type does not say."""
    here = variable.type
    for step in field:
        if here.name == "object":
            here = here.attributes.get(str(step), ANY)
        elif here.name == "tuple":
            here = here.inner[step] if isinstance(step, int) and step < len(here.inner) else ANY
        else:
            here = here.inner[0] if here.inner else ANY
    return replace(variable, name=variable.name + show_path(field), type=here)


def fit(variable: Variable, value: Json) -> Json:
    """A value as a variable takes it: texts such as "4" become what the type says, strictly.

    Raises:
        InfraError: `invalid-argument`, naming the variable and what would pass; the value is not repeated.
    """
    if value is None:
        raise InfraError("invalid-argument", f"Variable {variable.name} takes {variable.type}, and no null.")
    where = f"Variable {variable.name}"
    if isinstance(value, str) and value[:1] in {"[", "{"} and variable.type.name not in {*_KINDS, "any"}:
        try:
            value = json.loads(value)  # from the command line
        except (ValueError, RecursionError):
            raise InfraError("invalid-argument", f"{where} takes {variable.type}, as JSON.") from None
    return _fit(variable.type, value, where, 0)


def _fit(wanted: Type, value: Json, where: str, depth: int) -> Json:
    if depth > _MAX_DEPTH:
        raise InfraError("invalid-argument", f"{where} is nested too deeply.")
    if wanted.name == "any":
        return _anything(value, where, depth)
    if wanted.name in _KINDS:
        return _scalar(wanted.name, value, where)
    if wanted.name in {"list", "set", "tuple"} and isinstance(value, list):
        types = wanted.inner if wanted.name == "tuple" else wanted.inner * len(value)
        if len(types) != len(value):
            raise InfraError("invalid-argument", f"{where} takes {wanted}.")
        return [
            _fit(one, item, f"{where}[{at}]", depth + 1)
            for at, (one, item) in enumerate(zip(types, value, strict=True))
        ]
    if wanted.name in {"map", "object"} and isinstance(value, dict):
        return _mapping(wanted, value, where, depth)
    raise InfraError("invalid-argument", f"{where} takes {wanted}.")


def _mapping(wanted: Type, value: dict[str, Json], where: str, depth: int) -> Json:
    types = wanted.attributes if wanted.name == "object" else dict.fromkeys(value, wanted.inner[0])
    unknown, missing = value.keys() - types.keys(), types.keys() - value.keys() - wanted.optional
    if unknown or missing:
        why = f"has no attribute {min(unknown)}" if unknown else f"needs the attribute {min(missing)}"
        raise InfraError("invalid-argument", f"{where} {why}; it takes {wanted}.")
    return {_text(key, where): _fit(types[key], item, f"{where}.{key}", depth + 1) for key, item in value.items()}


def _anything(value: Json, where: str, depth: int) -> Json:
    if isinstance(value, dict):
        return {_text(key, where): _fit(ANY, item, where, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_fit(ANY, item, where, depth + 1) for item in value]
    return _text(value, where) if isinstance(value, str) else value


def _scalar(kind: str, value: Json, where: str) -> Json:
    if kind == "string" and isinstance(value, str):
        return _text(value, where)
    made = as_number(value) if kind == "number" else as_boolean(value) if kind == "bool" else None
    if made is None or (kind == "number" and isinstance(value, bool)):
        raise InfraError("invalid-argument", f"{where} takes {_KINDS[kind]}.")
    return made


def templated(value: Json) -> Json:
    """A value as HCL has it: every text a template that gives the text. JSON files of variables have no templates."""
    if isinstance(value, dict):
        return {str(escaped(key, "terraform")): templated(item) for key, item in value.items()}
    if isinstance(value, list):
        return [templated(item) for item in value]
    return escaped(value, "terraform") if isinstance(value, str) else value


def _text(text: str, where: str) -> str:
    if first_hidden(text.replace("\t", "")) is not None:
        raise InfraError("invalid-argument", f"{where} contains a control character.")
    return text


def _type_of(written: Json) -> Type:
    """A type as a `variable` block has it; `any` where it is left out or not understood: Terraform itself checks."""
    if not isinstance(written, str):
        return ANY
    text = written.removeprefix("${").removesuffix("}") if written.startswith("${") else written
    words = [found[0] for found in _SIGN.finditer(text) if found.lastgroup]
    try:
        made = _parse(iter([*words, ""]), 0)
    except (StopIteration, ValueError):
        return ANY
    return made


def _parse(words: Iterator[str], depth: int, first: str = "") -> Type:
    name = first or next(words)
    if depth > _MAX_DEPTH:
        raise ValueError(name)
    if name in _KINDS or name == "any":
        return Type(name)
    if name not in {"list", "set", "map", "object", "tuple"}:
        raise ValueError(name)
    if next(words) != "(":  # before Terraform 0.12
        return Type(name, (ANY,))
    if name == "object":
        return _object(words, depth)
    if name == "tuple":
        _expect(words, "[")
        inner = []
        while (word := next(words)) != "]":
            if word != ",":
                inner.append(_parse(words, depth + 1, word))
        _expect(words, ")")
        return Type(name, tuple(inner))
    made = Type(name, (_parse(words, depth + 1),))
    _expect(words, ")")
    return made


def _object(words: Iterator[str], depth: int) -> Type:
    _expect(words, "{")
    attributes, optional = {}, set()
    while (word := next(words)) != "}":
        if word == ",":
            continue
        key = word.strip('"')
        if next(words) not in {"=", ":"}:
            raise ValueError(key)
        kind = next(words)
        if kind == "optional":
            _expect(words, "(")
            attributes[key] = _parse(words, depth + 1)
            optional.add(key)
            _skip(words)
        else:
            attributes[key] = _parse(words, depth + 1, kind)
    _expect(words, ")")
    return Type("object", attributes=attributes, optional=frozenset(optional))


def _expect(words: Iterator[str], wanted: str) -> None:
    if (found := next(words)) != wanted:
        raise ValueError(found)


def _skip(words: Iterator[str]) -> None:
    """Pass over a default, up to the bracket that ends `optional(…)`."""
    open_ = [")"]
    while open_:
        word = next(words)
        if word in _OPEN:
            open_.append(_OPEN[word])
        elif word == open_[-1]:
            open_.pop()
        elif not word:
            raise ValueError(word)
