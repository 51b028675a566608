"""What a tool gives back: a short text and the same as data, bounded, with counts of what was cut."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from infra_mcp.errors import CODES, InfraError
from infra_mcp.model.outcome import exit_for
from infra_mcp.model.request import END, Request, State

__all__ = ["MAXIMUM", "Answer", "bounded", "of_error", "of_request", "receipt_fields"]

MAXIMUM = 24_000  # characters of an answer's text, and of its data as JSON; together below 10k tokens of usual text
_GOOD = frozenset({State.LANDED, State.UNCHANGED, State.PREVIEWED})


@dataclass(frozen=True)
class Answer:
    """The answer to one call. `text` and `data` are each complete by themselves."""

    text: str
    data: dict[str, Any] = field(default_factory=dict)
    failed: bool = False


def of_error(error: InfraError) -> Answer:
    """A failure as a model meets it: stable code, what is wrong, what to do next."""
    return Answer(str(error), error.as_dict() | {"exit": int(error.exit)}, failed=True)


def of_request(request: Request) -> Answer:
    """Where a request stands: its receipt when it ended, else how to ask again."""
    data = receipt_fields(request)
    if request.state not in END:
        text = (
            f"{request.id} is {request.state.value}; it goes on. "
            f'Next: get_request("{request.id}") shows how far it is; '
            f'cancel("{request.id}") stops it before its first write.'
        )
        return Answer(text, data)
    lines = [data["message"]]
    if request.state not in _GOOD:
        error = data.get("error") or {}
        code = error.get("code", "")
        data |= {
            "code": code or request.state.value,
            "what": error.get("what", data["message"]),
            "next": error.get("next", CODES[code].next_step if code in CODES else "See get_request."),
        }
        lines = [f"{data['code']}: {data['message']} Next: {data['next']}"]
    lines += _plan_lines(data.get("plan") or {})
    lines.append(_trace(data))
    return Answer("\n".join(lines), data, failed=request.state not in _GOOD)


def _plan_lines(plan: dict[str, Any]) -> list[str]:
    """A dry run's plan for people: each object with its changes and what it takes from whom, then files and drift."""
    lines: list[str] = []
    for one in plan.get("objects", ()):
        lines.append(f"{one['operation']} {one['object']} ({one['checked']})")
        lines += [f"  {change}" for change in one["changes"]]
        lines += [f"  takes over {taken}" for taken in one["adopts"]]
    lines += [f"{file['operation']} {file['path']}" for file in plan.get("files", ())]
    lines += [f"left alone: {drift}" for drift in plan.get("drift", ())]
    return lines + [f"note: {note}" for note in plan.get("notes", ())]


def receipt_fields(request: Request) -> dict[str, Any]:
    """A request as data: the receipt's fields when there is one, and always id, state and exit code."""
    receipt = request.receipt or {}
    error = receipt.get("error") or {}
    data: dict[str, Any] = {
        "request": request.id,
        "state": request.state.value,
        "action": request.action.action,
        "message": receipt.get("message", ""),
        "effect_digest": receipt.get("effect_digest", request.effect_digest),
        "commit": receipt.get("commit", request.commit),
        "revert": receipt.get("revert", request.revert),
        "audit_head": receipt.get("audit_head", ""),
        "objects": list(receipt.get("objects", ())),
        "exit": int(exit_for(request.state.value, error.get("code"))),
    }
    if error:
        data["error"] = error
    if receipt.get("plan"):
        data["plan"] = receipt["plan"]
    return data


def _trace(data: dict[str, Any]) -> str:
    parts = [f"request {data['request']}"]
    for key, word in (
        ("effect_digest", "effect"),
        ("commit", "commit"),
        ("revert", "revert"),
        ("audit_head", "audit head"),
    ):
        if data.get(key):
            parts.append(f"{word} {data[key]}")
    return ", ".join(parts)


def bounded(answer: Answer) -> Answer:
    """The answer within its bounds; where something was cut it says how much."""
    text = _clip(answer.text, MAXIMUM)
    data = answer.data
    for string, items in ((4000, 100), (1000, 20), (200, 10), (80, 3)):
        if len(json.dumps(data, default=str)) <= MAXIMUM:
            break
        data = _shrunk(data, string, items)
    return Answer(text, data, answer.failed)


def _clip(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most} characters cut)"


def _shrunk(value: Any, string: int, items: int) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        return _clip(value, string)
    if isinstance(value, list | tuple):
        kept = [_shrunk(item, string, items) for item in value[:items]]
        return [*kept, f"… {len(value) - items} more cut"] if len(value) > items else kept
    if isinstance(value, dict):
        return {key: _shrunk(item, string, items) for key, item in value.items()}
    return value
