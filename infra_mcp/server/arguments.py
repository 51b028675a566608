"""Arguments of a call: read strictly, refused by name, never echoed.

The SDK ignores arguments it does not know and shows the rejected value to the caller; here every argument is one the
tool has, of exactly its JSON type, and a refusal names the argument and the rule, not the value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

from infra_mcp.errors import InfraError
from infra_mcp.model.schema import schema, settled

M = TypeVar("M", bound=BaseModel)

_PLAIN = re.compile(r"^[A-Za-z_][A-Za-z0-9_.-]{0,39}$")
_SHOWN = 5  # faults named in one refusal
# Messages of pydantic that are made of the rule alone. Any other kind is told in our own words, so that no version of
# it can put the rejected value into an answer.
_OF_THE_RULE = frozenset(
    {
        "missing",
        "int_type",
        "int_from_float",
        "float_type",
        "bool_type",
        "string_type",
        "list_type",
        "tuple_type",
        "dict_type",
        "model_type",
        "literal_error",
        "greater_than",
        "greater_than_equal",
        "less_than",
        "less_than_equal",
        "finite_number",
        "string_too_short",
        "string_too_long",
        "string_pattern_mismatch",
        "too_long",
        "too_short",
    }
)


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


def refusal(model: type[BaseModel], error: ValidationError) -> InfraError:
    """Say what is wrong with arguments of `model`, without a word of what was sent but plain argument names."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    unknown = [fault for fault in faults if fault["type"] == "extra_forbidden"]
    if unknown:
        names = ", ".join(_where(fault["loc"]) for fault in unknown[:_SHOWN]) + _rest(len(unknown))
        known = f"There are: {', '.join(model.model_fields)}." if model.model_fields else "It takes none."
        return InfraError("unknown-argument", f"Not an argument of this: {names}. {known}")
    told = "; ".join(f"{_where(fault['loc'])}: {_rule(fault['type'], fault['msg'])}" for fault in faults[:_SHOWN])
    return InfraError("invalid-argument", f"{told}{_rest(len(faults))}.")


def _rest(count: int) -> str:
    return f" and {count - _SHOWN} more" if count > _SHOWN else ""


def _where(location: tuple[int | str, ...]) -> str:
    if not location:
        return "the arguments"
    steps = [str(step) if isinstance(step, int) or _PLAIN.match(step) else "(a name not shown)" for step in location]
    return ".".join(step for step in steps if step != "[key]")


def _rule(kind: str, message: str) -> str:
    if kind == "json_invalid":
        return "not well-formed JSON text"
    if kind not in _OF_THE_RULE:
        return "not of the form this argument has"
    return message[:1].lower() + message[1:]
