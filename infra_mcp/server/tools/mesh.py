"""Mesh tools, with Repowire's names and shapes: ask, wait_on_ack, list_peers, whoami, set_description."""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field

from infra_mcp.errors import InfraError
from infra_mcp.mesh import asks, peers
from infra_mcp.model.names import Frozen
from infra_mcp.server.answers import Answer, receipt_fields
from infra_mcp.server.tools.tool import Call, Tool, watch

__all__ = ["TOOLS"]


class AskArguments(Frozen):
    """What `ask` takes."""

    peer_name: str = Field(max_length=64, description="Who is asked; in this version only the infra peer answers.")
    query: str = Field(
        min_length=1,
        max_length=asks.LONGEST,
        description="The words, e.g. I need a namespace 'docs-staging' with image-pull secret X",
    )
    reply_to: str | None = Field(None, max_length=64, description="An ask this one answers; none can be open yet.")
    circle: str | None = Field(None, max_length=64, description="Circle to look the peer up in; may be left out.")
    attachments: tuple[dict[str, Any], ...] = Field((), max_length=0, description="Not taken in this version.")


async def _ask(call: Call, given: AskArguments) -> Answer:
    ask_id = await asks.ask(
        call.engine, call.caller, given.peer_name, given.query, reply_to=given.reply_to, circle=given.circle
    )
    return Answer(ask_id, {"result": ask_id})


class WaitArguments(Frozen):
    """What `wait_on_ack` takes."""

    correlation_id: str = Field(max_length=64, description="The id ask returned.")
    timeout_seconds: float = Field(600, ge=0, le=3600, allow_inf_nan=False, description="Longest wait; 0 only looks.")


async def _wait_on_ack(call: Call, given: WaitArguments) -> Answer:
    first = await asks.own_ask(call.engine, call.caller, given.correlation_id)
    found = await watch(
        call,
        lambda seconds: call.engine.wait_ask(first.id, seconds),
        lambda ask: ask.state == "acked",
        given.timeout_seconds,
        lambda ask: f"{ask.id} is not acked yet",
    )
    data = asks.resolution(found)
    request = await call.engine.ledger.request(found.request) if found.request else None
    if request is not None:
        data |= {key: value for key, value in receipt_fields(request).items() if key != "message"}
        if data["status"] == "resolved":
            data["outcome"] = request.state.value
    if found.state == "acked":
        data.setdefault("exit", _exit_of_reply(found.reply or ""))
        await call.engine.ledger.delivered(found.id)
    return Answer(json.dumps(data, ensure_ascii=False), data)


def _exit_of_reply(reply: str) -> int:
    """The exit code of an ask that never became a request, from the code its reply begins with."""
    code = reply.partition(":")[0]
    try:
        return int(InfraError(code, "").exit)
    except KeyError:
        return int(InfraError("not-understood", "").exit)


class ListArguments(Frozen):
    """What `list_peers` takes."""

    show_offline: bool = Field(False, description="Also peers not heard from lately.")
    include_self: bool = Field(False, description="Also the caller.")
    circle: str | None = Field(None, max_length=64, description="Only this circle; * for all the caller may see.")


async def _list_peers(call: Call, given: ListArguments) -> Answer:
    text = await peers.table(
        call.engine,
        call.service.presence,
        call.caller,
        show_offline=given.show_offline,
        include_self=given.include_self,
        circle=given.circle,
    )
    return Answer(text, {"result": text})


class NoArguments(Frozen):
    """For tools that take none."""


async def _whoami(call: Call, given: NoArguments) -> Answer:  # noqa: ARG001 - all tools have one form
    text = await peers.me(call.engine, call.service.presence, call.caller)
    return Answer(text, {"result": text})


class DescriptionArguments(Frozen):
    """What `set_description` takes."""

    description: str = Field(max_length=peers.LONGEST, description="One line, e.g. docs: site and search.")


async def _set_description(call: Call, given: DescriptionArguments) -> Answer:
    text = f"description updated: {await peers.describe(call.engine, call.caller, given.description)}"
    return Answer(text, {"result": text})


TOOLS = (
    Tool(
        name="ask",
        title="Ask a peer",
        description=(
            "Use this to ask the infra peer for a change in words or as a fenced ```infra JSON block. Returns the ask's"
            " id at once; wait_on_ack gives the one answer. Every word of a sentence must be understood, or nothing is"
            " done and the ack lists what can be asked. The same ask again, while it is open, is the same request."
        ),
        arguments=AskArguments,
        answer=_ask,
        read_only=False,
        destructive=True,
        idempotent=False,
        open_world=True,
        recorded=True,
    ),
    Tool(
        name="wait_on_ack",
        title="Wait for an ask's answer",
        description=(
            "Use this after ask to get its one ack: what is now true, or why not. Returns JSON with status resolved or"
            " pending, reply, and the receipt (request, effect digest, commit, audit head). Waiting changes nothing."
        ),
        arguments=WaitArguments,
        answer=_wait_on_ack,
        read_only=True,
    ),
    Tool(
        name="list_peers",
        title="List peers",
        description="Use this to see who can be asked: tab-separated lines of the caller's circle and the infra peer.",
        arguments=ListArguments,
        answer=_list_peers,
        read_only=True,
    ),
    Tool(
        name="whoami",
        title="Who am I",
        description="Use this to see under which name and circle the server knows the caller: header and one line.",
        arguments=NoArguments,
        answer=_whoami,
        read_only=True,
    ),
    Tool(
        name="set_description",
        title="Describe yourself",
        description="Use this to tell other peers in one line what the caller does.",
        arguments=DescriptionArguments,
        answer=_set_description,
        read_only=False,
    ),
)
