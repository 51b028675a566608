"""Regular expressions from outside, in Rust's syntax: without look-around and backreferences they are linear. Pure."""

from __future__ import annotations

from functools import lru_cache

from pydantic_core import SchemaError, SchemaValidator, ValidationError, core_schema


def compiles(pattern: str) -> bool:
    """Whether it is one, and small enough."""
    try:
        _validator(_whole(pattern))
        _validator(pattern)  # it may not end the group around it
    except SchemaError:
        return False
    return True


def matches(pattern: str, text: str) -> bool:
    """Whether the whole text matches; no text does where the pattern is none."""
    try:
        _validator(_whole(pattern)).validate_python(text)
    except (SchemaError, ValidationError):
        return False
    return True


def _whole(pattern: str) -> str:
    return f"^(?:{pattern})$"


@lru_cache(maxsize=256)
def _validator(pattern: str) -> SchemaValidator:
    return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
