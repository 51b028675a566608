"""Tools about peers themselves, with Repowire's names and tables: list_peers, whoami, set_description."""

from __future__ import annotations

from pydantic import Field

from infra_mcp.mesh import peers
from infra_mcp.model.names import Frozen
from infra_mcp.server.answers import Answer
from infra_mcp.server.tools.tool import Call, Tool


class ListArguments(Frozen):
    """What `list_peers` takes."""

    show_offline: bool = Field(False, description="Also peers not heard from lately.")
    include_self: bool = Field(False, description="Also the caller.")
    circle: str | None = Field(None, max_length=64, description="Another circle; * for all.")


async def _list_peers(call: Call, given: ListArguments) -> Answer:
    table = await peers.table(
        call.engine,
        call.service.presence,
        call.caller,
        show_offline=given.show_offline,
        include_self=given.include_self,
        circle=given.circle,
    )
    own = peers.own_description(call.engine, call.caller)
    return Answer(table.text, {"result": table.text, "not_shown": table.not_shown}, own=own)


class NoArguments(Frozen):
    """For tools that take none."""


async def _whoami(call: Call, given: NoArguments) -> Answer:  # noqa: ARG001 - all tools have one form
    text = await peers.me(call.engine, call.service.presence, call.caller)
    return Answer(text, {"result": text}, own=peers.own_description(call.engine, call.caller))


class DescriptionArguments(Frozen):
    """What `set_description` takes."""

    description: str = Field(max_length=peers.MAX_DESCRIPTION, description="One line, e.g. docs: site and search.")


async def _set_description(call: Call, given: DescriptionArguments) -> Answer:
    await call.service.limits.message(call.caller)
    text = f"description updated: {await peers.describe(call.engine, call.caller, given.description)}"
    return Answer(text, {"result": text})


TOOLS = (
    Tool(
        name="list_peers",
        title="List peers",
        description=(
            "Use this to see who can be asked or told something: tab-separated lines of the caller's circle and the"
            " infra peer; of other circles names and descriptions. Descriptions, in quotes, are peers' own words."
        ),
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
