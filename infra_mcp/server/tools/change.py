"""Change tools, made from the models of the actions: one for each that is `listed`, and `change` for all others."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from infra_mcp.errors import InfraError
from infra_mcp.mesh.intake import enter
from infra_mcp.model.actions import ACTIONS, ActionModel
from infra_mcp.model.names import Frozen, IdempotencyKey
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import END, FOR_PEOPLE, Request, Submission
from infra_mcp.model.schema import refusal, schema
from infra_mcp.server.answers import Answer, as_json, of_request
from infra_mcp.server.arguments import parse
from infra_mcp.server.tools.call import Call, watch
from infra_mcp.server.tools.tool import Effects, Handler, Tool, tool

if TYPE_CHECKING:
    from infra_mcp.engine import Engine


class Options(Frozen):
    """What every change tool takes beside the action's own fields."""

    dry_run: bool = Field(False, description="Only plan, write nothing.")
    reason: str = Field("", max_length=1000, description="Why, for the record.")
    on_behalf_of: str | None = Field(None, max_length=64, description="When attending: the claimed ask.")
    idempotency_key: IdempotencyKey | None = Field(
        None, description="A repeat with the same key gives the first result."
    )
    wait_seconds: float = Field(
        120, ge=0, le=600, allow_inf_nan=False, description="Longest wait; the request goes on after it."
    )


class Named(Frozen):
    """Any action by its name, where it has no tool of its own."""

    action: str = Field(max_length=64, description="The action's name; describe() lists those there are.")
    arguments: dict[str, Any] = Field(
        default_factory=dict,
        max_length=100,
        description="The action's own arguments; describe(action) has their schema.",
    )


class DescribeArguments(Frozen):
    """What `describe` takes."""

    action: str | None = Field(None, max_length=64, description="An action's name; left out, all are listed.")


_WAIT_FOR = END | FOR_PEOPLE  # people may take long: the answer says how to ask them


@cache
def fields(model: type[ActionModel]) -> type[BaseModel]:
    """An action's own fields, without its name, as a strict model."""
    return _create(model.__name__, {key: field for key, field in model.model_fields.items() if key != "action"})


def _create(name: str, fields: Mapping[str, FieldInfo]) -> type[BaseModel]:
    defined: dict[str, Any] = {key: (field.annotation, field) for key, field in fields.items()}
    return create_model(f"{name}_arguments", __base__=Frozen, **defined)


def _action(name: str) -> type[ActionModel]:
    if name not in ACTIONS:
        what = f"action: there is no such action. There are: {', '.join(ACTIONS)}."
        raise InfraError("invalid-argument", what, next_step="describe() lists those that the caller is granted.")
    return ACTIONS[name]


async def _named(call: Call, given: Any) -> Answer:  # noqa: ANN401 - made of `Named` and `Options`
    model = _action(given.action)
    try:
        own = parse(fields(model), given.arguments)
    except InfraError as error:
        step = f'describe(action="{given.action}") shows the arguments.'
        raise InfraError(error.code, f"arguments: {error.what}", next_step=step) from None
    return await _change(model, call, given, own)


async def _change(model: type[ActionModel], call: Call, given: BaseModel, own: BaseModel | None = None) -> Answer:
    """Submit a change and wait for its end: `given` has the options, and the action's own fields without `own`."""
    own = own or given
    options = Options(**{key: getattr(given, key) for key in Options.model_fields})
    caller, attendant = await _acting(call, options.on_behalf_of)
    await call.service.limits.message(caller)
    try:
        action = model(**{key: getattr(own, key) for key in own.model_fields_set if key in model.model_fields})
    except ValidationError as error:  # what several fields must be together
        raise refusal(model, error) from None
    mask = call.engine.masker.mask
    submission = Submission(
        caller=caller,
        action=action,
        channel=call.channel,
        words=mask(_words(action.action, own, given)),
        reason=mask(options.reason),
        idempotency_key=options.idempotency_key,
        dry_run=options.dry_run,
        attendant=attendant.name if attendant else None,
        on_behalf_of=options.on_behalf_of,
        session=attendant.session if attendant else None,
    )
    accepted = await enter(call.engine, submission, limits=call.service.limits)
    wait = partial(call.engine.wait, accepted.request.id)
    request = await watch(
        call, wait, lambda latest: latest.state in _WAIT_FOR, options.wait_seconds, partial(_progress, call)
    )
    return of_request(request, attended=call.caller.attendant)


async def _acting(call: Call, ask_id: str | None) -> tuple[Caller, Caller | None]:
    """The caller in whose name the call acts, and the attendant where that is another one.

    The ledger checks the attending session's claim again in the transaction that accepts the request.
    """
    if ask_id is not None:
        return await call.service.attendants.requester(call.caller, ask_id), call.caller
    if call.caller.attendant:
        what = "A session that attends changes nothing in its own name."
        step = 'Claim the ask it is for, then name it: inbox(claim="ask-…"), on_behalf_of="ask-…".'
        raise InfraError("policy-denied", what, next_step=step, rule="attend")
    return call.caller, None


def _progress(call: Call, request: Request) -> str:
    progress = call.engine.progress(request.id)
    return f"{request.id}: {progress}" if progress else f"{request.id} is {request.state.value}"


def _words(name: str, own: BaseModel, given: BaseModel) -> str:
    """The call as it came, without its longest wait: stored as the words of the request, whichever tool it was."""
    options = given.model_fields_set & (Options.model_fields.keys() - {"wait_seconds"})
    own_fields = own.model_fields_set - {"wait_seconds"}
    sent = own.model_dump(mode="json", include=own_fields) | given.model_dump(mode="json", include=options)
    return f"{name} {json.dumps(sent, sort_keys=True, ensure_ascii=False)}"


def granted(engine: Engine, caller: Caller) -> list[str]:
    """The actions that policy grants a caller, or one that attends for others; hiding is for clarity, no decision."""
    try:
        policy = engine.policy.current()
    except InfraError:
        return []
    rules = policy.attend if caller.attendant else policy.circle(caller.circle)
    return [name for name in ACTIONS if rules is not None and name in rules.actions and policy.in_force(name)]


@tool("Describe an action", Effects.READS)
async def _describe(call: Call, given: DescribeArguments) -> Answer:
    """Use this before change: lists the actions that this caller is granted, or gives one action's arguments as a JSON
    Schema, with an example. Reads only.
    """
    if given.action is None:
        lines = {name: ACTIONS[name].summary for name in granted(call.engine, call.caller)}
        text = "\n".join(f"{name}: {summary}" for name, summary in lines.items())
        return Answer(text or "The policy in force grants this caller no action.", {"actions": lines})
    model = _action(given.action)
    about = {"title": model.title, "description": model.description, "example": model.example}
    data = {"action": given.action, **about, "arguments": schema(fields(model))}
    return Answer(as_json(data), data)


def tools(models: Mapping[str, type[ActionModel]]) -> tuple[Tool, ...]:
    """The change tools for these actions: one for each that is `listed`, and two for all others together."""
    own = [
        _tool(name, model.title, model.description, fields(model), partial(_change, model), {name})
        for name, model in models.items()
        if model.listed
    ]
    others = {name for name, model in models.items() if not model.listed}
    description = (
        "Use this for an action that has no tool of its own, as describe() lists them. Goes the same way as the other "
        "change tools: plans, commits, makes it live, and answers when it has landed."
    )
    change = _tool("change", "Make another change", description, Named, _named, others)
    return (*own, change, replace(_describe, actions=frozenset(others)))


def _tool(
    name: str, title: str, description: str, own: type[BaseModel], answer: Handler, actions: Collection[str]
) -> Tool:
    arguments = _create(name, own.model_fields | Options.model_fields)
    return Tool(name, title, description, arguments, answer, Effects.CHANGES, actions=frozenset(actions))


TOOLS = tools(ACTIONS)
