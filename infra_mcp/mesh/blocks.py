"""The fenced `infra` block of an ask: finding it, and reading it as an action. Pure."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, Field, StringConstraints, ValidationError, create_model

from infra_mcp.model.actions import ACTIONS
from infra_mcp.model.names import Frozen, IdempotencyKey
from infra_mcp.model.schema import path, refusal, schema, settled

_MAX_BYTES = 65_536  # of a block
_MAX_FIELDS = 1_000  # fields of a block, at all depths
_FENCE = re.compile(r" {0,3}(?P<fence>`{3,}|~{3,})(?P<info>[^`\n]*)")  # one repeat: two that share blanks are quadratic
_SNAKE = re.compile(r"(?<=[a-z0-9])([A-Z])")
_ONE_LINE = re.compile(r" {0,3}```infra[ \t]+(\{.*\})[ \t]*```[ \t]*")


class Extras(Frozen):
    """The fields of a block beside those of the action."""

    reason: Annotated[str, StringConstraints(max_length=1000)] = Field("", description="Why, for the record.")
    idempotency_key: IdempotencyKey | None = Field(None, description="The same key again gives the first result.")
    dry_run: bool = Field(False, description="Only plan: show what would change, write nothing.")


EXTRAS = tuple(Extras.model_fields)


class Fault(NamedTuple):
    """Why a block is no action; names fields and rules, never a value."""

    code: str
    reason: str
    nearest: str = ""  # the block without its faults, if the action is known


class Found(NamedTuple):
    """A block in a text; `closed` is false when its end is missing."""

    body: str
    closed: bool


def blocks(text: str) -> list[Found]:
    """The blocks with the info string `infra`, by CommonMark's rules: blocks inside another fence do not count."""
    found: list[Found] = []
    fence, info, body = "", "", list[str]()
    for line in text.splitlines():
        mark = _FENCE.fullmatch(line)
        label = mark["info"].strip(" \t").lower() if mark else ""
        if fence:
            if mark and not label and mark["fence"].startswith(fence):
                if info == "infra":
                    found.append(Found("\n".join(body), closed=True))
                fence = ""
            else:
                body.append(line)
        elif (whole := _ONE_LINE.fullmatch(line)) is not None:
            found.append(Found(whole[1], closed=True))
        elif mark:
            fence, info, body = mark["fence"], label, []
    if fence and info == "infra":
        found.append(Found("\n".join(body), closed=False))
    return found


def read(body: str) -> tuple[BaseModel, Extras] | Fault:
    """A block as an action with its other fields."""
    value = _load(body)
    if isinstance(value, Fault):
        return value
    name = value.get("action")
    if not isinstance(name, str) or name not in ACTIONS:
        return Fault("invalid-argument", f'"action" must be one of: {", ".join(ACTIONS)}.')
    form = _form(name)
    value = settled(value, schema(form))
    try:
        given = form.model_validate_json(json.dumps(value))
    except ValidationError as error:
        problem = refusal(form, error, "the block")
        return Fault(problem.code, problem.what, _nearest(form, value))
    except ValueError:
        return Fault("invalid-argument", "The infra block contains an invalid character.", _nearest(form, value))
    own = {key: getattr(given, key) for key in given.model_fields_set if key in ACTIONS[name].model_fields}
    extras = {key: getattr(given, key) for key in given.model_fields_set if key in EXTRAS}
    try:
        return ACTIONS[name](**own), Extras(**extras)
    except ValidationError as error:  # what several fields must be together
        problem = refusal(ACTIONS[name], error, "the block")
        return Fault(problem.code, problem.what)


def show(value: dict[str, Any]) -> str:
    """A block as text, ready to send."""
    return f"```infra\n{json.dumps(value, ensure_ascii=False)}\n```"


def _nearest(form: type[BaseModel], value: dict[str, Any]) -> str:
    """The valid fields as a block. Spellings such as `dryRun` are corrected, and missing values marked `<field>`.

    A block that lost a field becomes a dry run, since its meaning is unknown. `reason` is free text, and not repeated.
    """
    kept: dict[str, Any] = {}
    left_out = False
    for key, item in value.items():
        name = key if key in form.model_fields else _SNAKE.sub(r"_\1", key).replace("-", "_").lower()
        if name not in form.model_fields or name in kept or (name != key and name in value):
            left_out = True
        elif name != "reason":
            kept[name] = item
    try:
        form.model_validate_json(json.dumps(kept))
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_context=False, include_input=False):
            if not fault["loc"]:
                return ""  # invalid characters
            left_out = kept.pop(str(fault["loc"][0]), None) is not None or left_out
    except ValueError:
        return ""
    needed = {key: f"<{key}>" for key, field in form.model_fields.items() if field.is_required()}
    dry = {"dry_run": True} if left_out else {}
    return show({"action": kept.get("action")} | needed | kept | dry)


def _load(body: str) -> dict[str, Any] | Fault:
    if len(body.encode("utf-8", "replace")) > _MAX_BYTES:
        return Fault("invalid-argument", f"The infra block is larger than {_MAX_BYTES} bytes.")
    fields = _Fields()
    try:
        value = json.loads(body, object_pairs_hook=fields, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        return Fault("invalid-argument", f"The infra block is not well-formed JSON, at its {where}.")
    except (ValueError, RecursionError):
        return Fault("invalid-argument", "The infra block is not plain JSON, or its nesting or numbers are too large.")
    problem = fields.problem or ("" if isinstance(value, dict) else "The infra block must hold one JSON object.")
    return Fault("invalid-argument", problem) if problem else value


class _Fields:
    """Builds the objects of a block; notes a field that occurs twice, and too many fields."""

    def __init__(self) -> None:
        self.count = 0
        self.problem = ""

    def __call__(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        self.count += len(pairs)
        value: dict[str, Any] = {}
        for key, item in pairs:
            if key in value:
                self.problem = self.problem or f"The field {path([key], key)} stands twice in the infra block."
            value[key] = item
        if self.count > _MAX_FIELDS:
            self.problem = f"The infra block has more than {_MAX_FIELDS} fields."
        return value


def _no_number(_name: str) -> None:
    raise ValueError  # NaN and the infinities are no JSON


@cache
def _form(name: str) -> type[BaseModel]:
    """The fields of the action and the extras as one strict model."""
    fields = ACTIONS[name].model_fields | Extras.model_fields
    given: dict[str, Any] = {key: (field.annotation, field) for key, field in fields.items()}
    return create_model(f"{name}_block", __base__=Frozen, **given)
