"""The JSON Schema of a model that callers fill in, and what they may write otherwise than it says. Pure.

Two habits of clients are met in every argument, at any depth: null for what is left out, and 3.0 for 3, which JSON and
JSON Schema hold for one number. What is somebody's own data (a schema without a type) stays as it came.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

_schemas: dict[type[BaseModel], dict[str, Any]] = {}


def schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of the arguments: no titles, no references, no null branches, and nothing else allowed."""
    if model not in _schemas:
        raw = model.model_json_schema()
        _schemas[model] = _trimmed(raw, raw.get("$defs", {}))
        _schemas[model].pop("description", None)  # the tool has its own
        _schemas[model].setdefault("properties", {})
    return _schemas[model]


def settled(value: Any, shape: dict[str, Any]) -> Any:  # noqa: ANN401 - any JSON value
    """A value without the nulls that mean nothing, and with integers where the schema has them.

    Args:
        value: what a caller sent; a null of an unknown name stays, and is refused by that name.
        shape: its schema, as `schema` gives it.
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
