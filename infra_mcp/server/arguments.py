"""Arguments of a call: read strictly, refused by name, never echoed.

The SDK ignores arguments it does not know and shows the rejected value to the caller; here every argument is one the
tool has, of exactly its JSON type, and a refusal names the argument and the rule, not the value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

from infra_mcp.errors import InfraError
from infra_mcp.model.schema import refusal, schema, settled

M = TypeVar("M", bound=BaseModel)


def parse(model: type[M], given: Mapping[str, Any]) -> M:
    """Read the arguments of one call.

    A list or object that comes as a JSON string (some hosts send it so) is read where the argument can be nothing but
    a list or object. A null is the argument left out, and 3.0 an integer. No other conversion is made.

    Args:
        model: the tool's arguments, a strict model that forbids others.
        given: the arguments as they came.

    Raises:
        InfraError: `unknown-argument` or `invalid-argument`, naming arguments and rules, never values.
    """
    shape = schema(model)
    shapes = {name: part.get("type") for name, part in shape["properties"].items()}
    try:
        read = {name: _unquoted(value, shapes.get(name)) for name, value in given.items()}
        text = json.dumps(settled(read, shape))
    except (RecursionError, ValueError, TypeError):
        raise InfraError("invalid-argument", "The arguments are not plain JSON of a usual depth.") from None
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise refusal(model, error) from None


def _unquoted(value: object, shape: str | None) -> object:
    if shape in {"array", "object"} and isinstance(value, str) and value[:1] in {"[", "{"}:
        try:
            inner = json.loads(value)
        except (ValueError, RecursionError):
            return value
        if isinstance(inner, list if shape == "array" else dict):
            return cast("object", inner)
    return value
