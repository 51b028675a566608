"""Change tools: one for each action, made from the action's own model."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from pydantic import BaseModel, Field, create_model

from infra_mcp.errors import InfraError
from infra_mcp.mesh.intake import enter
from infra_mcp.model.actions import ACTIONS
from infra_mcp.model.names import Frozen, IdempotencyKey
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import END, Request, State, Submission
from infra_mcp.server.answers import Answer, of_request
from infra_mcp.server.tools.tool import Call, Tool, watch

__all__ = ["TOOLS"]


class Options(Frozen):
    """What every change tool takes beside the action's own fields."""

    dry_run: bool = Field(False, description="Only plan: show what would change, write nothing.")
    reason: str = Field("", max_length=1000, description="Why, for the record.")
    on_behalf_of: str | None = Field(
        None, max_length=64, description="For a session that attends: the claimed ask this is done for."
    )
    idempotency_key: IdempotencyKey | None = Field(
        None, description="The same key and arguments again give the first result and change nothing."
    )
    wait_seconds: float = Field(
        120, ge=0, le=600, allow_inf_nan=False, description="Longest wait for the end; after it the request goes on."
    )


_ENOUGH = END | {State.AWAITING_APPROVAL}  # people may take long: whoever called is told how they can be asked
_TITLES = {"provision_namespace": "Provision a namespace", "deploy": "Deploy a version"}
_DESCRIPTIONS = {
    "provision_namespace": """\
Use this when a namespace is needed, with pull secrets, labels, quota, limits or a default-deny network policy.
Commits to the infra repository, applies, and answers when it has landed. Does not touch a namespace of another circle
and deletes nothing.""",
    "deploy": """\
Use this to bring an app of the catalogue to a version. Edits the image where it is written, commits, applies, watches
the rollout, and rolls back in cluster and git when it does not land. Leaves replicas as they are.""",
}


def _arguments(name: str) -> type[BaseModel]:
    """The action's fields but its name, and the common options, as one flat strict model."""
    fields: dict[str, Any] = {}
    for key, field in (*ACTIONS[name].model_fields.items(), *Options.model_fields.items()):
        if key != "action":
            fields[key] = (field.annotation, field)
    return create_model(f"{name}_arguments", __base__=Frozen, **fields)


async def _change(name: str, call: Call, given: BaseModel) -> Answer:
    options = Options(**{key: getattr(given, key) for key in Options.model_fields})
    caller, attendant = await _acting(call, options.on_behalf_of)
    await call.service.limits.message(caller)
    model = ACTIONS[name]
    own = {key: getattr(given, key) for key in given.model_fields_set if key in model.model_fields}
    masker = call.engine.masker
    submission = Submission(
        caller=caller,
        action=model(**own),
        door=call.door,
        words=masker.mask(_words(name, given)),
        reason=masker.mask(options.reason),
        idempotency_key=options.idempotency_key,
        dry_run=options.dry_run,
        attendant=attendant.name if attendant else None,
        on_behalf_of=options.on_behalf_of,
        session=attendant.session if attendant else None,
    )
    accepted = await enter(call.engine, submission, limits=call.service.limits)
    request = await watch(
        call,
        partial(call.engine.wait, accepted.request.id),
        lambda latest: latest.state in _ENOUGH,
        options.wait_seconds,
        lambda latest: _so_far(call, latest),
    )
    return of_request(request, attended=call.caller.attendant)


async def _acting(call: Call, ask_id: str | None) -> tuple[Caller, Caller | None]:
    """In whose name the call acts, and the attendant where that is somebody else.

    The attending session's claim is looked at again by the ledger in the transaction that takes the request in.

    Raises:
        InfraError: `policy-denied` for an attendant on its own behalf; `invalid-argument` for a caller who does not
            attend, `claim-taken` without a claim.
    """
    if ask_id is not None:
        return await call.service.desk.requester(call.caller, ask_id), call.caller
    if call.caller.attendant:
        what = "A session that attends changes nothing in its own name."
        step = 'Claim the ask it is for, then name it: inbox(claim="ask-…"), on_behalf_of="ask-…".'
        raise InfraError("policy-denied", what, next_step=step, rule="attend")
    return call.caller, None


def _so_far(call: Call, request: Request) -> str:
    words = call.engine.progress(request.id)
    return f"{request.id}: {words}" if words else f"{request.id} is {request.state.value}"


def _words(name: str, given: BaseModel) -> str:
    """The call as it came, less how long it waits: what is kept as the words of the request."""
    sent = given.model_dump(mode="json", include=given.model_fields_set - {"wait_seconds"})
    return f"{name} {json.dumps(sent, sort_keys=True, ensure_ascii=False)}"


def _tool(name: str) -> Tool:
    async def answer(call: Call, given: BaseModel) -> Answer:
        return await _change(name, call, given)

    return Tool(
        name=name,
        title=_TITLES[name],
        description=_DESCRIPTIONS[name].replace("\n", " "),
        arguments=_arguments(name),
        answer=answer,
        read_only=False,
        destructive=True,
        idempotent=True,
        open_world=True,
        action=name,
        recorded=True,
    )


TOOLS = tuple(_tool(name) for name in ACTIONS)
