"""The JSON Schema of a model that callers fill in, what they may write differently, and how a refusal says it. Pure.

Two habits of clients are accepted in every argument, at any depth: null for an omitted one, and 3.0 for 3, which is the
same number in JSON. Data of the caller's own (a schema without a type) stays unchanged.
"""

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from infra_mcp.errors import InfraError

_LISTED = 5  # problems listed in one refusal
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,39}")  # a longer name, or one that begins with a digit, may be a secret
# Pydantic's messages that are made of the rule alone. Every other kind gets our text, so that no version of pydantic
# can put the rejected value into an answer.
_SAFE = re.compile(
    r"(?:bool|dict|float|int|list|model|string|tuple)_type|int_from_float|finite_number|literal_error"
    r"|(?:greater|less)_than(?:_equal)?|(?:string_)?too_(?:long|short)|string_pattern_mismatch"
)
_LENGTHS = {"pattern", "minLength", "maxLength", "maxItems", "maxProperties", "minProperties", "propertyNames"}
_NAMES = {"properties", "patternProperties"}  # their keys are names of a caller's fields
_schemas: dict[type[BaseModel], dict[str, Any]] = {}


def schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of the arguments: no titles, no references, no null branches, and nothing else allowed."""
    if model not in _schemas:
        raw = model.model_json_schema()
        _schemas[model] = _trimmed(raw, raw.get("$defs", {}))
        _schemas[model].pop("description", None)  # the tool has one
        _schemas[model].setdefault("properties", {})
    return _schemas[model]


def outline(model: type[BaseModel]) -> dict[str, Any]:
    """The schema without patterns and lengths, for lists of tools, which have to be short: a refusal names those."""
    outlined: dict[str, Any] = _outlined(schema(model))
    return outlined


def _outlined(node: Any) -> Any:  # noqa: ANN401 - any part of a JSON Schema
    if isinstance(node, list):
        return [_outlined(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: value for key, value in node.items() if key not in _LENGTHS}
    named = {key: {name: _outlined(part) for name, part in kept[key].items()} for key in _NAMES & kept.keys()}
    return {key: named[key] if key in named else _outlined(value) for key, value in kept.items()}


def settled(value: Any, shape: dict[str, Any]) -> Any:  # noqa: ANN401 - any JSON value
    """A caller's value without nulls for known names, and with integers where the schema has them.

    Args:
        value: the value; a null for an unknown name stays, and is refused by that name.
        shape: its schema, from `schema`.
    """
    if isinstance(value, dict):
        known = shape.get("properties", {})
        free = (*shape.get("patternProperties", {}).values(), shape.get("additionalProperties"))
        others = next((one for one in free if isinstance(one, dict)), {})
        return {
            key: settled(item, known.get(key, others))
            for key, item in value.items()
            if item is not None or not (key in known or others)
        }
    if isinstance(value, list):
        return [settled(item, shape.get("items", {})) for item in value]
    if shape.get("type") == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _trimmed(node: Any, definitions: dict[str, Any]) -> Any:  # noqa: ANN401 - any part of a JSON Schema
    if isinstance(node, list):
        return [_trimmed(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        node = {**definitions[node["$ref"].rpartition("/")[2]], **{k: v for k, v in node.items() if k != "$ref"}}
    branches = node.get("anyOf", ())
    solid = [branch for branch in branches if branch.get("type") != "null"]
    if len(solid) == 1:
        rest = {k: v for k, v in node.items() if k != "anyOf" and not (k == "default" and v is None)}
        return _trimmed({**solid[0], **rest}, definitions)
    plain: dict[str, Any] = {}
    for key, value in node.items():
        if key in {"$defs", "title"} and not isinstance(value, bool):
            continue
        if key == "properties":
            plain[key] = {name: _trimmed(part, definitions) for name, part in value.items()}
        else:
            plain[key] = _trimmed(value, definitions)
    return plain


def refusal(model: type[BaseModel], error: ValidationError, whole: str = "the arguments") -> InfraError:
    """What is wrong with the arguments of a model, as an error that repeats nothing sent but plain argument names."""
    unknown, wrong = problems(error, whole, meant=model)
    if unknown:
        known = f"There are: {', '.join(model.model_fields)}." if model.model_fields else "It takes none."
        return InfraError("unknown-argument", f"Unknown argument: {listed(unknown, ', ')}. {known}")
    return InfraError("invalid-argument", f"{listed(wrong)}.")


def problems(
    error: ValidationError, whole: str, plain: re.Pattern[str] = _PLAIN, meant: type[BaseModel] | None = None
) -> tuple[list[str], list[str]]:
    """The paths of unknown fields, and what is wrong with the other fields.

    Args:
        error: what pydantic found.
        whole: the name of the whole value, for a problem that has no path.
        plain: the names that are repeated.
        meant: the model whose descriptions say what a text should be that does not fit its pattern.
    """
    unknown, wrong = [], []
    for one in error.errors(include_url=False, include_context=False, include_input=False):
        where = path(one["loc"], whole, plain)
        match one["type"]:
            case "extra_forbidden":
                unknown.append(where)
            case "missing":
                wrong.append(f"{where} is missing")
            case "value_error":  # a check of ours, which never repeats the value
                wrong.append(f"{where} {one['msg'].removeprefix('Value error, ')}")
            case kind if _SAFE.fullmatch(kind):
                said = _meaning(meant, one["loc"]) if kind == "string_pattern_mismatch" else ""
                wrong.append(f"{where}: {one['msg'][:1].lower()}{one['msg'][1:]}{said}")
            case "json_invalid":
                wrong.append(f"{where}: not well-formed JSON text")
            case _:
                wrong.append(f"{where}: not of the required form")
    return unknown, wrong


def _meaning(model: type[BaseModel] | None, location: Sequence[int | str]) -> str:
    """What an argument is, as its description says it; a pattern alone tells few."""
    field = model.model_fields.get(str(location[0])) if model and location else None
    return f" ({field.description.removesuffix('.')})" if field and field.description else ""


def path(location: Sequence[int | str], whole: str, plain: re.Pattern[str] = _PLAIN) -> str:
    """A path of fields as people write it; a part that is no plain name is not repeated."""
    steps = [step for step in location if step != "[key]"]
    shown = (str(step) if isinstance(step, int) or plain.fullmatch(step) else "(a name not shown)" for step in steps)
    return ".".join(shown) or whole


def listed(items: Sequence[str], separator: str = "; ") -> str:
    """The first five items, and how many more there are."""
    more = f" and {len(items) - _LISTED} more" if len(items) > _LISTED else ""
    return separator.join(items[:_LISTED]) + more
