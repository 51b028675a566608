"""The MCP server: which tools, resources and prompts a caller sees, and one call from arguments to answer.

Nothing is done here but to find out who calls, read the arguments, and hand on. Every failure becomes a result with a
stable code; nothing unexpected shows more than that it happened. Every text that leaves is masked, and what is
invisible in it is spelled out.

Clients are not notified of lists that changed: what changes them is a new policy, which comes rarely, while in the era
of 2026-07-28 each client would hold a stream open for it. The lists say how long they may be kept instead.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Awaitable
from functools import partial
from typing import Any

from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolResult,
    GetPromptResult,
    InputRequiredResult,
    PromptMessage,
    ResourceTemplate,
    TextContent,
    ToolAnnotations,
)
from mcp.types import Prompt as ListedPrompt
from mcp.types import Tool as ListedTool
from pydantic import AnyUrl, BaseModel

from infra_mcp import __version__
from infra_mcp.errors import InfraError
from infra_mcp.masking import texts
from infra_mcp.mesh.addresses import peer_name
from infra_mcp.model.peer import Caller
from infra_mcp.model.schema import schema
from infra_mcp.server import prompts, resources
from infra_mcp.server.answers import Answer, as_json, bounded, of_error
from infra_mcp.server.arguments import parse
from infra_mcp.server.auth import caller_of_call, channel_of_call
from infra_mcp.server.elicitation import Person
from infra_mcp.server.protocol import refuse_cursor
from infra_mcp.server.tools import TOOLS, check, offered
from infra_mcp.server.tools.change import granted
from infra_mcp.server.tools.tool import Call, Progress, Service, Tool
from infra_mcp.text import harmless, harmless_json

log = logging.getLogger("infra_mcp.server")

UNAUTHENTICATED = -32001  # a code of the range JSON-RPC leaves to servers
_SOON, _LATER = 30_000, 3_600_000  # milliseconds

# How long a client may go by what it was told. What a caller may use changes with policy, and no client is told then:
# an old list harms nothing, since each call is decided anew.
HINTS: dict[CacheableMethod, CacheHint] = {
    "tools/list": CacheHint(_SOON, "private"),
    "prompts/list": CacheHint(_SOON, "private"),
    "resources/list": CacheHint(_LATER, "public"),
    "resources/templates/list": CacheHint(_LATER, "public"),
}

# The ledger itself leaves a row for the one, and cannot for the other.
_RECORDED_ELSEWHERE = frozenset({"idempotency-conflict", "ledger-unavailable", "too-many"})
_NAME = re.compile(r"^[a-z_]{1,40}$")


def listed(tool: Tool) -> ListedTool:
    """A tool as `tools/list` shows it."""
    return ListedTool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=schema(tool.arguments),
        annotations=ToolAnnotations(
            title=tool.title,
            read_only_hint=tool.read_only,
            destructive_hint=tool.destructive,
            idempotent_hint=tool.idempotent,
            open_world_hint=tool.open_world,
        ),
    )


class InfraServer(MCPServer[Any]):
    """The product's MCP server, for any transport; who calls is said by the transport (`auth`)."""

    def __init__(self, service: Service, **options: Any) -> None:  # noqa: ANN401 - what the SDK's server takes
        self.service = service
        super().__init__(
            "infra-mcp",
            version=__version__,
            instructions=prompts.INSTRUCTIONS[service.toolset],
            log_level="WARNING",
            cache_hints=HINTS,
            subscriptions=False,
            middleware=[refuse_cursor],
            **options,
        )

    async def list_tools(self) -> list[ListedTool]:
        """The tools the caller may use, in the same order each time."""
        caller = await self._known()
        return [listed(tool) for tool in offered(self.service.toolset, caller, granted(self.service.engine, caller))]

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """One call. Never raises for a failure of the call: the result says it."""
        answer = await self._answer(name, arguments, context)
        if answer.asks is not None:
            return answer.asks
        answer = self._shown(answer, arguments)
        return CallToolResult(
            content=[TextContent(type="text", text=answer.text)],
            structured_content=answer.data,
            is_error=answer.failed,
        )

    async def list_resource_templates(self) -> list[ResourceTemplate]:
        """The forms of URI that can be read; single resources are not listed."""
        return list(resources.TEMPLATES)

    async def read_resource(
        self, uri: AnyUrl | str, context: Context[Any, Any] | None = None
    ) -> list[ReadResourceContents]:
        """One resource, as JSON."""
        answer = await self._or_error(self._resource(str(uri), context))
        return [ReadResourceContents(content=as_json(self._shown(answer, str(uri)).data), mime_type=resources.MIME)]

    async def _resource(self, uri: str, context: Context[Any, Any] | None) -> Answer:
        caller = await self._caller()
        return await resources.look_up(Call(self.service, caller, channel_of_call(), _progress(context)), uri)

    async def list_prompts(self) -> list[ListedPrompt]:
        """The prompts that are of use to the caller."""
        caller = await self._known()
        return [
            ListedPrompt(name=one.name, title=one.title, description=one.description)
            for one in prompts.PROMPTS.values()
            if caller.attendant or not one.attending
        ]

    async def get_prompt(
        self,
        name: str,
        arguments: dict[str, Any] | None = None,
        context: Context[Any, Any] | None = None,
    ) -> GetPromptResult:
        """The words of one prompt."""
        answer = self._shown(await self._or_error(self._prompt(name, arguments, context)))
        message = PromptMessage(role="user", content=TextContent(type="text", text=answer.text))
        return GetPromptResult(description=prompts.PROMPTS[name].description, messages=[message])

    async def _prompt(self, name: str, arguments: object, context: Context[Any, Any] | None) -> Answer:
        call = Call(self.service, await self._caller(), channel_of_call(), _progress(context))
        if arguments:
            raise InfraError("unknown-argument", "A prompt takes no arguments here.", next_step="Leave them out.")
        return Answer(await prompts.words(call, name, peer_name(self.service.engine)))

    def _shown(self, answer: Answer, given: object = "") -> Answer:
        """The answer as it may leave: masked, without what no reader would see, and then cut to its bounds.

        What the call itself gave comes back as it was given, or no answer would be safe to guess with.
        """
        masker = self.service.engine.masker.sparing(f"{texts(given)}\n{answer.own}")
        data = harmless_json(masker.mask_json(answer.data))
        text = as_json(data) if answer.text == as_json(answer.data) else harmless(masker.mask(answer.text))
        return bounded(Answer(text, data, answer.failed))

    async def _or_error(self, answer: Awaitable[Answer]) -> Answer:
        """The answer; a failure as a protocol error with the same code, sentence and next step as a tool's."""
        try:
            return await answer
        except InfraError as error:
            code = UNAUTHENTICATED if error.code == "unauthenticated" else INVALID_PARAMS
            shown = self._shown(of_error(error))
            raise MCPError(code, shown.text, shown.data) from None
        except MCPError:
            raise
        except Exception as error:  # noqa: BLE001 - the last wall, as for tools
            _log("a resource or prompt", error)
            fault = InfraError("internal", "Something went wrong inside.")
            raise MCPError(INTERNAL_ERROR, str(fault), fault.as_dict()) from None

    async def _answer(self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None) -> Answer:
        caller: Caller | None = None
        tool = TOOLS.get(name, _NO_TOOL)
        try:
            caller = await self._caller()
            if tool is not _NO_TOOL:
                check(tool, self.service.toolset, caller)
            person = Person(context) if context is not None else None
            channel = channel_of_call(_client(context))
            known = partial(caller_of_call, self.service.engine.ledger)
            call = Call(self.service, caller, channel, _progress(context), person, known)
            answer = await tool.answer(call, parse(tool.arguments, arguments))
            await call.still_known()
        except InfraError as error:
            await self._refused(tool, caller, name, error)
            return of_error(error)
        except (MCPError, ToolError):
            raise
        except Exception as error:  # noqa: BLE001 - the last wall: the model learns the code, the log where it happened
            _log(name if name in TOOLS else "a tool", error)
            fault = InfraError("internal", "Something went wrong inside; the request, if any, is in the ledger.")
            await self._refused(tool, caller, name, fault)
            return of_error(fault)
        else:
            return answer

    async def _known(self) -> Caller:
        try:
            return await self._caller()
        except InfraError as error:
            raise MCPError(UNAUTHENTICATED, str(error), error.as_dict()) from None

    async def _caller(self) -> Caller:
        caller = await caller_of_call(self.service.engine.ledger)
        self.service.presence.seen(caller)
        return caller

    async def _refused(self, tool: Tool, caller: Caller | None, name: str, error: InfraError) -> None:
        """Leave a row for a refused call that would have changed something, where the caller is known.

        Of a flood not each call leaves its own: a row then says how many before it have left none.
        """
        if caller is None or not tool.recorded or error.code in _RECORDED_ELSEWHERE:
            return
        skipped = self.service.limits.row(caller)
        if skipped is None:
            return
        shown = name if _NAME.match(name) else "(a name not shown)"
        data = {"tool": shown, "code": error.code, "what": error.what} | (
            {"refused_before": skipped} if skipped else {}
        )
        try:
            await self.service.engine.ledger.note("call-refused", caller.name, data, circle=caller.circle)
        except InfraError:
            log.warning("a refused call of %s could not be recorded", shown)


async def _no_tool(call: Call, given: object) -> Answer:  # noqa: ARG001 - all tools have one form
    raise InfraError("not-found", "There is no such tool, or not for this caller.", next_step="See tools/list.")


class _Anything(BaseModel):
    """Arguments of a tool that is not there: not looked at."""


_NO_TOOL = Tool("", "", "", _Anything, _no_tool, read_only=False, recorded=True)


def _client(context: Context[Any, Any] | None) -> str | None:
    """What the client calls itself, if anything."""
    said = context.session.client_params if context is not None else None
    return said.client_info.name if said is not None else None


def _progress(context: Context[Any, Any] | None) -> Progress | None:
    """How to tell the client how far its call is; None for one that gave no token to tell it under."""
    if context is None or (context.request_context.meta or {}).get("progress_token") is None:
        return None

    async def report(passed: float, message: str) -> None:
        await context.report_progress(passed, None, message)

    return report


def _log(name: str, error: Exception) -> None:
    """Where it happened and what kind it was; its message may hold arguments and stays out."""
    frames = "".join(traceback.format_tb(error.__traceback__)[-6:])
    log.error("%s failed unexpectedly: %s\n%s", name, type(error).__name__, frames)
