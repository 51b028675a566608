"""Change tools: one for each action, made from the action's own model."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, Field, create_model

from infra_mcp.errors import InfraError
from infra_mcp.mesh.intake import enter
from infra_mcp.model.action import ACTIONS
from infra_mcp.model.names import Frozen, IdempotencyKey
from infra_mcp.model.request import END, Submission
from infra_mcp.server.answers import Answer, of_request
from infra_mcp.server.tools.tool import Call, Tool, watch

__all__ = ["TOOLS"]


class Options(Frozen):
    """What every change tool takes beside the action's own fields."""

    dry_run: bool = Field(False, description="Only plan: show what would change, write nothing.")
    reason: str = Field("", max_length=1000, description="Why, for the record.")
    on_behalf_of: str | None = Field(
        None, max_length=64, description="The ask this is done for; attending is not there yet, so leave it out."
    )
    idempotency_key: IdempotencyKey | None = Field(
        None, description="The same key and arguments again give the first result and change nothing."
    )
    wait_seconds: float = Field(
        120, ge=0, le=600, allow_inf_nan=False, description="Longest wait for the end; after it the request goes on."
    )


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
    if options.on_behalf_of is not None:
        what = "on_behalf_of: attending to asks is not there yet."
        raise InfraError("invalid-argument", what, next_step="Leave it out; the asker calls the tool or asks.")
    model = ACTIONS[name]
    own = {key: getattr(given, key) for key in given.model_fields_set if key in model.model_fields}
    masker = call.engine.masker
    submission = Submission(
        caller=call.caller,
        action=model(**own),
        door=call.door,
        words=masker.mask(_words(name, given)),
        reason=masker.mask(options.reason),
        idempotency_key=options.idempotency_key,
        dry_run=options.dry_run,
    )
    accepted = await enter(call.engine, submission)
    request = await watch(
        call,
        lambda seconds: call.engine.wait(accepted.request.id, seconds),
        lambda latest: latest.state in END,
        options.wait_seconds,
        lambda latest: f"{latest.id} is {latest.state.value}",
    )
    return of_request(request)


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
