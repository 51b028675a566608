"""What a tool gives back: a short text and the same as data, bounded, with counts of what was cut.

Tools declare no output schema. A schema of the receipt costs some 600 bytes in each tool that returns one, in every
session, and tells a model no more than the fields' names in the answer itself; it would have to allow for what was cut
and for the fields of failures; and a client that checks results against it would refuse what a newer server adds.
Programs have `state`, `code` and `exit`, which are stable.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from infra_mcp.errors import CODES, Exit, InfraError
from infra_mcp.model.outcome import exit_for
from infra_mcp.model.request import END, Request, State
from infra_mcp.text import clip

if TYPE_CHECKING:
    from mcp.types import InputRequiredResult

MAXIMUM = 19_000  # bytes of an answer's text, and of its data as JSON; at 4 bytes a token both are below 10k tokens
_NOTE = 40  # bytes that a note of what was cut takes
_STEPS = ((4000, 100), (1000, 20), (200, 10), (80, 3))  # bytes of a text and items of a list, until all of it fits
_FIELDS = 30  # fields of an object that are kept in any case
_GOOD = frozenset({State.LANDED, State.UNCHANGED, State.PREVIEWED})


@dataclass(frozen=True)
class Answer:
    """The answer to one call. `text` and `data` are each complete by themselves."""

    text: str
    data: dict[str, Any] = field(default_factory=dict)
    failed: bool = False
    asks: InputRequiredResult | None = None  # instead of all that: what the client must answer first
    own: str = ""  # names and values that the asker sent and may have back as they are, whatever they equal


def of_error(error: InfraError) -> Answer:
    """A failure as a model meets it: stable code, what is wrong, what to do next."""
    return Answer(str(error), error.as_dict() | {"exit": int(error.exit)}, failed=True)


def of_request(request: Request, *, attended: bool = False) -> Answer:
    """Where a request stands: its receipt when it ended, else how to ask again.

    Args:
        request: as it is now.
        attended: whether a person who may approve sits behind the caller.
    """
    return replace(_of_request(request, attended), own=own(request))


def own(request: Request) -> str:
    """What an answer about a request may give back as it was sent: its names and values."""
    return f"{request.action.model_dump_json()}\n{request.idempotency_key}"


def _of_request(request: Request, attended: bool) -> Answer:
    data = receipt_fields(request)
    if request.state is State.AWAITING_APPROVAL:
        answer = parked(request)
        if not attended:
            return answer
        step = f'approve("{request.id}") puts it before the person of this session.'
        return replace(answer, text=f"{answer.text} Here: {step}", data=answer.data | {"next": step})
    if request.state not in END:
        goes_on = "it begins when its schedule opens" if request.state is State.SCHEDULED else "it goes on"
        text = (
            f"{request.id} is {request.state.value}; {goes_on}. "
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
    lines += plan_lines(data.get("plan") or {})
    lines.append(_trace(data))
    return Answer("\n".join(lines), data, failed=request.state not in _GOOD)


def parked(request: Request, first: str = "") -> Answer:
    """A request that waits for an approval: no failure, and never one by itself; with what a person can type.

    Args:
        request: the one that waits.
        first: what to say before.
    """
    command = f"infra-mcp approve {request.id} {request.effect_digest}"
    error = InfraError(
        "needs-approval", f"{first}{request.id} waits for an approval.", next_step=f"A person types: {command}"
    )
    return Answer(str(error), receipt_fields(request) | error.as_dict() | {"exit": int(Exit.WAITING)})


def plan_lines(plan: dict[str, Any]) -> list[str]:
    """A plan for people: how much in all, each object with its changes and what it takes from whom, files, drift."""
    lines = _in_all(plan.get("blast_radius") or {})
    for one in plan.get("objects", ()):
        lines.append(f"{one['operation']} {one['object']} ({one['checked']})")
        lines += [f"  {change}" for change in one["changes"]]
        lines += [f"  takes over {taken}" for taken in one["adopts"]]
    lines += [f"{file['operation']} {file['path']}" for file in plan.get("files", ())]
    lines += [f"left alone: {drift}" for drift in plan.get("drift", ())]
    return lines + [f"note: {note}" for note in plan.get("notes", ())]


def _in_all(radius: dict[str, Any]) -> list[str]:
    counts = [f"{radius[word]} to {word}" for word in ("create", "update", "delete") if radius.get(word)]
    places = ", ".join(radius.get("namespaces") or ())
    owners = ", ".join(radius.get("adopted_from") or ())
    parts = [*counts, f"in {places}" if places else "", f"taking over fields from {owners}" if owners else ""]
    told = ", ".join(part for part in parts if part)
    return [f"in all: {told}"] if told else []


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
    """The answer within its bounds; where something was cut it says how much.

    A text that is the data as JSON is so afterwards too.
    """
    data = answer.data
    for string, items in _STEPS:
        if len(as_json(data).encode()) <= MAXIMUM:
            break
        data = _shrunk(answer.data, string, items)
    else:
        if (
            len(as_json(data).encode()) > MAXIMUM
        ):  # nested without end: what is plain at the top, and that it is not all
            plain = {key: value for key, value in data.items() if isinstance(value, str | int | float | bool)}
            data = plain | {"…": f"{len(data) - len(plain)} more cut"}
    if data is not answer.data and answer.text == as_json(answer.data):
        return replace(answer, text=as_json(data), data=data)
    return replace(answer, text=_clip(answer.text, MAXIMUM - _NOTE), data=data)


def as_json(data: dict[str, Any]) -> str:
    """Data as the text of an answer that is nothing else."""
    return json.dumps(data, ensure_ascii=False)


def _clip(text: str, most: int) -> str:
    """At most so many bytes of a text, and how many characters were left out."""
    kept, cut = clip(text, most)
    return f"{kept}… ({cut} characters cut)" if cut else text


def _shrunk(value: Any, string: int, items: int) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        return _clip(value, string)
    if isinstance(value, list | tuple):
        kept = [_shrunk(item, string, items) for item in value[:items]]
        return [*kept, f"… {len(value) - items} more cut"] if len(value) > items else kept
    if isinstance(value, dict):
        most = max(items, _FIELDS)
        shown = {_clip(str(key), string): _shrunk(item, string, items) for key, item in list(value.items())[:most]}
        return shown | {"…": f"{len(value) - most} more cut"} if len(value) > most else shown
    return value
