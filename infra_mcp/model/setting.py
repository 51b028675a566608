"""The types of settings, and the check of a value against a type and its bounds. Pure.

A value that passes is data: it is what its type says, within the bounds that policy names, and nothing in it is
interpreted by its delivery (`inert`). Messages never repeat a refused value, which may be a secret.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import Field, JsonValue, StringConstraints, model_validator

from infra_mcp.errors import InfraError
from infra_mcp.model.inert import ESCAPES, SIGNS, escaped, inert
from infra_mcp.model.names import Frozen
from infra_mcp.model.pattern import compiles, matches

SettingType = Literal[
    "integer",
    "number",
    "boolean",
    "string",
    "enum",
    "quantity",
    "duration",
    "version",
    "chart-version",
    "ref",
    "digest",
]
Bound = int | float | str
_Read = Callable[[JsonValue], Decimal | None]

MAX_TEXT: Final = 4096  # characters of a value
_MAX_NUMBER = 40  # characters of a number
_MAX_NAME = 250  # characters of a version or a ref
_INT64 = 2**63
_SHA256 = r"sha256:[0-9a-f]{64}"
_VERSION = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9._-]{{0,127}}(?:@{_SHA256})?")  # OCI distribution spec: a tag
_DIGEST = re.compile(_SHA256)
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,3})?")  # RFC 8259, section 6
# Semantic Versioning 2.0.0; Helm takes a leading v too.
_IDENTIFIER = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_SEMVER = re.compile(
    r"v?(?:(?:0|[1-9][0-9]*)\.){2}(?:0|[1-9][0-9]*)"
    rf"(?:-{_IDENTIFIER}(?:\.{_IDENTIFIER})*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_DECIMAL = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
# Kubernetes' resource.Quantity, with exponents of at most two digits.
_QUANTITY = re.compile(rf"([-+]?{_DECIMAL})(?:([KMGTPE]i)|([numkMGTPE])|[eE]([-+]?[0-9]{{1,2}}))?")
_BINARY = {f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", 1)}
_POWERS = (-9, -6, -3, 3, 6, 9, 12, 15, 18)
_METRIC = {letter: Decimal(10) ** power for letter, power in zip("numkMGTPE", _POWERS, strict=True)}
# Go's time.ParseDuration.
_DURATION = re.compile(rf"[-+]?(?:0|(?:{_DECIMAL}(?:ns|us|µs|μs|ms|s|m|h))+)")
_DURATION_PART = re.compile(rf"({_DECIMAL})(ns|us|µs|μs|ms|s|m|h)")
_NANOSECONDS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9}
_UNITS = {unit: Decimal(size) for unit, size in (_NANOSECONDS | {"h": 3600 * 10**9}).items()}
# git check-ref-format.
_REF_REFUSED = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[/.-]|/[.]|[/.]$|\.lock(?:/|$)|^@$")
_WHAT: Final[dict[str, str]] = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "string": "a text of one line",
    "quantity": "a Kubernetes quantity (500m, 2Gi)",
    "duration": "a duration (30s, 1h30m)",
    "version": "an image tag, as 1.4.2, or a tag with its digest (1.4.2@sha256:…)",
    "chart-version": "a semantic version, as 1.4.2",
    "ref": "a git branch, tag or commit id",
    "digest": "sha256: and 64 hexadecimal digits",
}


class SettingRule(Frozen):
    """The type and bounds of a setting, as policy declares them."""

    type: SettingType
    # string, version, chart-version and ref: a regular expression that the whole value matches (Rust's syntax, which
    # has no look-around or backreferences, so that matching is linear).
    pattern: Annotated[str, StringConstraints(min_length=1, max_length=300)] | None = None
    values: tuple[bool | int | Annotated[str, StringConstraints(max_length=MAX_TEXT)], ...] = Field(
        default=(), max_length=200
    )  # enum
    min: Bound | None = None  # integer, number, quantity, duration
    max: Bound | None = None
    allow: tuple[str, ...] = ()  # signs that may stand in a string although a deliverer would interpret them

    @model_validator(mode="after")
    def _fits(self) -> SettingRule:
        if problem := _rule_problem(self):
            raise ValueError(problem)
        return self

    def describe(self) -> str:
        """The values that pass, as half a sentence."""
        if self.type == "enum":
            return f"one of {', '.join(map(_shown, self.values))}"
        if self.min is not None and self.max is not None:
            bounds = f" from {self.min} to {self.max}"
        elif self.min is not None:
            bounds = f", at least {self.min}"
        else:
            bounds = "" if self.max is None else f", at most {self.max}"
        return _WHAT[self.type] + bounds + (f" that matches {self.pattern}" if self.pattern else "")


def check(rule: SettingRule, value: JsonValue, *, name: str, delivery: str = "", before: JsonValue = None) -> JsonValue:
    """The value as it is to be written. Texts (`"4"`, `"true"`) become what the type says, strictly.

    Args:
        rule: the setting's type and bounds.
        value: what was asked for.
        name: of the setting, for messages.
        delivery: who delivers it; its escape (`inert.ESCAPES`) is used for what it would interpret.
        before: the value that stands there: a text such as "2" (an environment variable) stays one,
            and a quantity that stood as a number, too.

    Raises:
        InfraError: `invalid-argument`, naming the setting, what is wrong and what would pass.
    """
    passes = f"It takes {rule.describe()}."
    if value is None or isinstance(value, dict | list):
        raise InfraError("invalid-argument", f"Setting {name} takes a single value. {passes}")
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise InfraError("invalid-argument", f"Setting {name}: the value is longer than {MAX_TEXT} characters.")
    if rule.type == "enum":
        chosen = next((one for one in rule.values if _is_choice(one, value)), None)
        if chosen is None:
            raise InfraError("invalid-argument", f"Setting {name}: the value is not allowed. {passes}")
        return chosen
    read: JsonValue = _TYPES[rule.type](value)
    if read is None:
        raise InfraError("invalid-argument", f"Setting {name}: the value is not {_WHAT[rule.type]}. {passes}")
    if rule.type in _ORDERED:
        amount = _ORDERED[rule.type](read)
        least, most = (None if one is None else _ORDERED[rule.type](one) for one in (rule.min, rule.max))
        if amount is None or (least is not None and amount < least) or (most is not None and amount > most):
            raise InfraError("invalid-argument", f"Setting {name}: the value is out of bounds. {passes}")
    if not isinstance(read, str):
        return _shown(read) if isinstance(before, str) and _TYPES[rule.type](before) is not None else read
    if rule.pattern and not matches(rule.pattern, read):
        raise InfraError("invalid-argument", f"Setting {name}: the value does not match. {passes}")
    return _as_data(rule, read, name, delivery, before)


def _as_data(rule: SettingRule, text: str, name: str, delivery: str, before: JsonValue) -> JsonValue:
    escape = ESCAPES.get(delivery) if not set(rule.allow) & {"${", "$$", "%{"} else None
    if why := inert(text, (*rule.allow, *(escape.signs if escape else ()))):
        step = "Send a plain value; an operator can allow this sign for the setting in infra.toml (allow)."
        raise InfraError("invalid-argument", f"Setting {name}: the value would be interpreted: {why}.", next_step=step)
    if rule.type == "quantity" and _INTEGER.fullmatch(text) and type(before) is int:
        return int(text)
    written = escaped(text, delivery) if escape else text
    if written is None:
        what = f"Setting {name}: the value contains a backslash that {delivery} would remove."
        raise InfraError("invalid-argument", what, next_step="Send a value without it.")
    return written


def _rule_problem(rule: SettingRule) -> str:
    """Why a rule of policy makes no sense, or nothing."""
    if (rule.type == "enum") != bool(rule.values):
        return "an enum, and nothing else, lists its values"
    if len({_shown(one) for one in rule.values}) < len(rule.values):
        return "values must differ from each other"
    if rule.pattern and rule.type not in ("string", "version", "chart-version", "ref"):
        return "only string, version, chart-version and ref have a pattern"
    if rule.pattern and not compiles(rule.pattern):
        return "pattern is no regular expression, is too large, or uses look-around or a backreference"
    if rule.allow and (rule.type not in ("string", "ref") or not set(rule.allow) <= set(SIGNS)):
        return f"allow is for strings and refs, and names some of {' '.join(map(repr, SIGNS))}"
    return _bounds_problem(rule)


def _bounds_problem(rule: SettingRule) -> str:
    bounds = [one for one in (rule.min, rule.max) if one is not None]
    if not bounds:
        return ""
    if rule.type not in _ORDERED:
        return "min and max are for integer, number, quantity and duration"
    amounts = [_ORDERED[rule.type](one) for one in bounds if _TYPES[rule.type](one) is not None]
    known = [one for one in amounts if one is not None]
    if len(known) < len(bounds):
        return f"min and max must be {_WHAT[rule.type]}"
    return "min is larger than max" if known[0] > known[-1] else ""


def _shown(value: JsonValue) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _is_choice(one: JsonValue, value: JsonValue) -> bool:
    """Whether a value names this choice: the same, or its text."""
    return _shown(one) == value if isinstance(value, str) else type(one) is type(value) and one == value


# -- the types: the value as it is written, or None where it is not of the type


def _integer(value: JsonValue) -> int | None:
    if isinstance(value, str) and len(value) <= _MAX_NUMBER and _INTEGER.fullmatch(value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and -_INT64 <= value < _INT64 else None


def as_number(value: JsonValue) -> float | None:
    """A number, or a text that is one in JSON; None for anything else. A whole one is an integer."""
    if (whole := _integer(value)) is not None:
        return whole
    if isinstance(value, str) and len(value) <= _MAX_NUMBER and _NUMBER.fullmatch(value):
        exact, value = Decimal(value), float(value)
        if math.isinf(value) or Decimal(repr(value)) != exact:
            return None  # it would be written with other digits
        return _integer(value) if value.is_integer() and abs(value) < 2**53 else value
    return value if isinstance(value, float) and math.isfinite(value) else None


def as_boolean(value: JsonValue) -> bool | None:
    """True or false, or a text that says so; None for anything else."""
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value)
    return value if isinstance(value, bool) else None


def _string(value: JsonValue) -> str | None:
    return value if isinstance(value, str) else None


def _quantity(value: JsonValue) -> JsonValue:
    return value if amount_of(value) is not None else None


def _duration(value: JsonValue) -> str | None:
    return value if isinstance(value, str) and _nanoseconds(value) is not None else None


def _ref(value: JsonValue) -> str | None:
    ok = isinstance(value, str) and 0 < len(value) <= _MAX_NAME and not _REF_REFUSED.search(value)
    return str(value) if ok else None


def _text(form: re.Pattern[str]) -> Callable[[JsonValue], str | None]:
    return lambda value: value if isinstance(value, str) and len(value) <= _MAX_NAME and form.fullmatch(value) else None


def amount_of(value: JsonValue) -> Decimal | None:
    """The amount of a Kubernetes quantity such as `500m` or `2Gi`; None for any other text."""
    if type(value) is int or (isinstance(value, float) and math.isfinite(value)):
        return Decimal(str(value)) if abs(value) < _INT64 else None
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) and len(value) <= _MAX_NUMBER else None
    if match is None:
        return None
    number, binary, metric, exponent = match.groups()
    size = _BINARY[binary] if binary else _METRIC[metric] if metric else Decimal(10) ** int(exponent or 0)
    amount = Decimal(number) * size
    return amount if abs(amount) < _INT64 else None


def _nanoseconds(value: JsonValue) -> Decimal | None:
    """A duration's length."""
    if not isinstance(value, str) or len(value) > _MAX_NUMBER or not _DURATION.fullmatch(value):
        return None
    length = sum((Decimal(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(value)), Decimal(0))
    return (-length if value.startswith("-") else length) if length < _INT64 else None


def _decimal(value: JsonValue) -> Decimal | None:
    number = as_number(value)
    return None if number is None else Decimal(repr(number))


_TYPES: Final[dict[str, Callable[[JsonValue], Any]]] = {
    "integer": _integer,
    "number": as_number,
    "boolean": as_boolean,
    "string": _string,
    "quantity": _quantity,
    "duration": _duration,
    "version": _text(_VERSION),
    "chart-version": _text(_SEMVER),
    "ref": _ref,
    "digest": _text(_DIGEST),
}
_ORDERED: Final[dict[str, _Read]] = {
    "integer": _decimal,
    "number": _decimal,
    "quantity": amount_of,
    "duration": _nanoseconds,
}
