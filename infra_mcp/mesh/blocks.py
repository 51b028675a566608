"""A fenced block of JSON in an ask: finding the one there may be, and reading it as an action. Pure."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, Field, StringConstraints, ValidationError, create_model

from infra_mcp.model.actions import ACTIONS
from infra_mcp.model.names import Frozen, IdempotencyKey
from infra_mcp.model.schema import path, refusal, schema, settled

_LARGEST = 65_536  # bytes of a block
_FIELDS = 1_000  # fields of a block, at all depths
_FENCE = re.compile(r" {0,3}(?P<fence>`{3,}|~{3,})(?P<info>[^`\n]*)")  # one repeat: two that share blanks are quadratic
_SNAKE = re.compile(r"(?<=[a-z0-9])([A-Z])")
_ONE_LINE = re.compile(r" {0,3}```infra[ \t]+(\{.*\})[ \t]*```[ \t]*")


class Extras(Frozen):
    """What a block may say beside the action's own fields."""

    reason: Annotated[str, StringConstraints(max_length=1000)] = Field("", description="Why, for the record.")
    idempotency_key: IdempotencyKey | None = Field(None, description="The same key again gives the first result.")
    dry_run: bool = Field(False, description="Only plan: show what would change, write nothing.")


EXTRAS = tuple(Extras.model_fields)


class Fault(NamedTuple):
    """Why a block is no action. Names fields and rules, never a value."""

    code: str
    reason: str
    nearest: str = ""  # the block without what is wrong with it, when the action can be told


class Found(NamedTuple):
    """A block in a text; `closed` is false when its end is missing."""

    body: str
    closed: bool


def blocks(text: str) -> list[Found]:
    """The blocks whose fence says `infra`.

    CommonMark's rules for fences: what stands inside another fence is quoted there, and does not count.
    """
    found: list[Found] = []
    fence, info, body = "", "", list[str]()
    for line in text.splitlines():
        mark = _FENCE.fullmatch(line)
        said = mark["info"].strip(" \t").lower() if mark else ""
        if fence:
            if mark and not said and mark["fence"].startswith(fence):
                if info == "infra":
                    found.append(Found("\n".join(body), closed=True))
                fence = ""
            else:
                body.append(line)
        elif (whole := _ONE_LINE.fullmatch(line)) is not None:
            found.append(Found(whole[1], closed=True))
        elif mark:
            fence, info, body = mark["fence"], said, []
    if fence and info == "infra":
        found.append(Found("\n".join(body), closed=False))
    return found


def read(body: str) -> tuple[BaseModel, Extras] | Fault:
    """A block as an action with what else it says."""
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
    return ACTIONS[name](**own), Extras(**extras)


def show(value: dict[str, Any]) -> str:
    """A block as it is to be sent."""
    return f"```infra\n{json.dumps(value, ensure_ascii=False)}\n```"


def _nearest(form: type[BaseModel], value: dict[str, Any]) -> str:
    """A block's fields that are well formed, as a block of its own.

    A field that is only spelt otherwise (`dryRun`) is put right. Where something had to be left out the block becomes a
    dry run: what was meant by it is not known. What is needed and not there is marked as no value could be. `reason` is
    free text, and not repeated.
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
                return ""  # it is no text at all
            left_out = kept.pop(str(fault["loc"][0]), None) is not None or left_out
    except ValueError:
        return ""
    needed = {key: f"<{key}>" for key, field in form.model_fields.items() if field.is_required()}
    dry = {"dry_run": True} if left_out else {}
    return show({"action": kept.get("action")} | needed | kept | dry)


def _load(body: str) -> dict[str, Any] | Fault:
    if len(body.encode("utf-8", "replace")) > _LARGEST:
        return Fault("invalid-argument", f"The infra block is larger than {_LARGEST} bytes.")
    fields = _Fields()
    try:
        value = json.loads(body, object_pairs_hook=fields, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        return Fault("invalid-argument", f"The infra block is not well-formed JSON, at its {where}.")
    except (ValueError, RecursionError):
        return Fault("invalid-argument", "The infra block is not plain JSON of a usual depth and size of numbers.")
    problem = fields.problem or ("" if isinstance(value, dict) else "The infra block must hold one JSON object.")
    return Fault("invalid-argument", problem) if problem else value


class _Fields:
    """Makes the objects of a block, and notices fields that stand twice and too many of them."""

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
        if self.count > _FIELDS:
            self.problem = f"The infra block has more than {_FIELDS} fields."
        return value


def _no_number(_name: str) -> None:
    """Refuse NaN and the infinities, which JSON does not have."""
    raise ValueError


@cache
def _form(name: str) -> type[BaseModel]:
    """The action's fields and the extras as one flat strict model."""
    fields: dict[str, Any] = {}
    for key, field in (*ACTIONS[name].model_fields.items(), *Extras.model_fields.items()):
        fields[key] = (field.annotation, field)
    return create_model(f"{name}_block", __base__=Frozen, **fields)
