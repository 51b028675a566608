"""The MCP server: which tools, resources and prompts a caller sees, and one call from arguments to answer.

It identifies the caller, reads the arguments, and passes the call on. Every failure becomes a result with a stable
code; an unexpected one shows no more than that. Every text that leaves is masked, and invisible characters are escaped.

Clients are not notified of changed lists: a new policy changes them, which is rare, while in the era of 2026-07-28 each
client would hold a stream open for it. The lists say how long they may be cached instead.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from mcp import types
from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from pydantic import AnyUrl, BaseModel

from infra_mcp import __version__
from infra_mcp.errors import InfraError
from infra_mcp.masking import texts
from infra_mcp.mesh.addresses import peer_name
from infra_mcp.model.peer import Caller
from infra_mcp.model.schema import outline
from infra_mcp.server import prompts, resources
from infra_mcp.server.answers import Answer, as_json, bounded, of_error
from infra_mcp.server.arguments import parse
from infra_mcp.server.auth import NOT_KNOWN, caller_of_call, channel_of_call
from infra_mcp.server.protocol import refuse_cursor
from infra_mcp.server.tools import TOOLS, check, offered
from infra_mcp.server.tools.approve import Elicitation
from infra_mcp.server.tools.call import Call, Progress, Service
from infra_mcp.server.tools.change import granted
from infra_mcp.server.tools.tool import Effects, Tool
from infra_mcp.text import harmless, harmless_json

log = logging.getLogger("infra_mcp.server")

UNAUTHENTICATED = -32001  # in the range that JSON-RPC leaves to servers
# In milliseconds. A new policy changes lists without a notification: an old list harms nothing, each call is decided.
_PRIVATE, _PUBLIC = CacheHint(30_000, "private"), CacheHint(3_600_000, "public")
HINTS: dict[CacheableMethod, CacheHint] = {
    "tools/list": _PRIVATE,
    "prompts/list": _PRIVATE,
    "resources/list": _PUBLIC,
    "resources/templates/list": _PUBLIC,
}

# The ledger records a conflict itself and cannot record that it is unavailable; the limits record "too-many".
_RECORDED_ELSEWHERE = frozenset({"idempotency-conflict", "ledger-unavailable", "too-many"})
_NAME = re.compile(r"^[a-z_]{1,40}$")


def listed(tool: Tool) -> types.Tool:
    """A tool as `tools/list` shows it."""
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=outline(tool.arguments),
        annotations=types.ToolAnnotations(
            read_only_hint=tool.read_only,
            destructive_hint=tool.effects is Effects.CHANGES,
            idempotent_hint=tool.idempotent,
            open_world_hint=tool.effects is Effects.CHANGES,
        ),
    )


class InfraServer(MCPServer[Any]):
    """The product's MCP server, for any transport; the transport identifies the caller (`auth`)."""

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

    async def list_tools(self) -> list[types.Tool]:
        """The tools the caller may use, in the same order each time."""
        caller = await self._caller_for_list()
        return [listed(tool) for tool in offered(self.service.toolset, caller, granted(self.service.engine, caller))]

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> types.CallToolResult | types.InputRequiredResult:
        """One call. Its failure is a result, not an exception."""
        answer = await self._answer(name, arguments, context)
        if answer.asks is not None:
            return answer.asks
        answer = self._cleaned(answer, arguments)
        text = types.TextContent(type="text", text=answer.text)
        return types.CallToolResult(content=[text], structured_content=answer.data, is_error=answer.failed)

    async def list_resource_templates(self) -> list[types.ResourceTemplate]:
        """The forms of URI that can be read; single resources are not listed."""
        return list(resources.TEMPLATES)

    async def read_resource(
        self, uri: AnyUrl | str, context: Context[Any, Any] | None = None
    ) -> list[ReadResourceContents]:
        """One resource, as JSON."""
        answer = await self._or_error(context, partial(resources.look_up, uri=str(uri)))
        return [ReadResourceContents(content=as_json(self._cleaned(answer, str(uri)).data), mime_type=resources.MIME)]

    async def list_prompts(self) -> list[types.Prompt]:
        """The prompts that are of use to the caller."""
        caller = await self._caller_for_list()
        return [
            types.Prompt(name=one.name, title=one.title, description=one.description) for one in prompts.offered(caller)
        ]

    async def get_prompt(
        self, name: str, arguments: dict[str, Any] | None = None, context: Context[Any, Any] | None = None
    ) -> types.GetPromptResult:
        """The text of one prompt."""

        async def text(call: Call) -> Answer:
            if arguments:
                raise InfraError("unknown-argument", "A prompt takes no arguments here.", next_step="Leave them out.")
            return Answer(await prompts.text(call, name, peer_name(self.service.engine)))

        answer = self._cleaned(await self._or_error(context, text))
        message = types.PromptMessage(role="user", content=types.TextContent(type="text", text=answer.text))
        return types.GetPromptResult(description=prompts.PROMPTS[name].description, messages=[message])

    def _cleaned(self, answer: Answer, given: object = "") -> Answer:
        """The answer as it may leave: masked, with invisible characters escaped, and then cut to its bounds.

        The call's own arguments come back as they were sent, or no answer would be safe to guess with.
        """
        masker = self.service.engine.masker.sparing(f"{texts(given)}\n{answer.own}")
        data = harmless_json(masker.mask_json(answer.data))
        text = as_json(data) if answer.text == as_json(answer.data) else harmless(masker.mask(answer.text))
        return bounded(Answer(text, data, answer.failed))

    async def _or_error(self, context: Context[Any, Any] | None, read: Callable[[Call], Awaitable[Answer]]) -> Answer:
        """The answer; a failure as a protocol error with the same code, sentence and next step as a tool's."""
        try:
            return await read(Call(self.service, await self._caller(), channel_of_call(), _progress(context)))
        except InfraError as error:
            code = UNAUTHENTICATED if error.code in NOT_KNOWN else types.INVALID_PARAMS
            cleaned = self._cleaned(of_error(error))
            raise MCPError(code, cleaned.text, cleaned.data) from None
        except MCPError:
            raise
        except Exception as error:  # noqa: BLE001 - the last wall, as for tools
            _log("a resource or prompt", error)
            fault = InfraError("internal", "Internal error.")
            raise MCPError(types.INTERNAL_ERROR, str(fault), fault.as_dict()) from None

    async def _answer(self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None) -> Answer:
        caller: Caller | None = None
        tool = TOOLS.get(name, _NO_TOOL)
        try:
            caller = await self._caller()
            if tool is not _NO_TOOL:
                check(tool, self.service.toolset, caller)
            elicitation = Elicitation(context) if context is not None else None
            client = context.session.client_params if context is not None else None
            channel = channel_of_call(client.client_info.name if client is not None else None)
            again = partial(caller_of_call, self.service.credentials)
            call = Call(self.service, caller, channel, _progress(context), elicitation, again)
            answer = await tool.answer(call, parse(tool.arguments, arguments))
            await call.check_caller()
        except InfraError as error:
            failure = error
        except (MCPError, ToolError):
            raise
        except Exception as error:  # noqa: BLE001 - the last wall: the model learns the code, the log where it happened
            _log(name if name in TOOLS else "a tool", error)
            failure = InfraError("internal", "Internal error; the request, if any, is in the ledger.")
        else:
            return answer
        await self._record_refusal(tool, caller, name, failure)
        return of_error(failure)

    async def _caller_for_list(self) -> Caller:
        try:
            return await self._caller()
        except InfraError as error:
            raise MCPError(UNAUTHENTICATED, str(error), error.as_dict()) from None

    async def _caller(self) -> Caller:
        caller = await caller_of_call(self.service.credentials)
        self.service.presence.seen(caller)
        return caller

    async def _record_refusal(self, tool: Tool, caller: Caller | None, name: str, error: InfraError) -> None:
        """Leave a row for a refused call that would have changed something, where the caller is known.

        In a flood not each call leaves its own: a row then counts the refused calls before it that left none.
        """
        if caller is None or tool.read_only or error.code in _RECORDED_ELSEWHERE:
            return
        skipped = self.service.limits.row(caller)
        if skipped is None:
            return
        shown = name if _NAME.match(name) else "(a name not shown)"
        data: dict[str, Any] = {"tool": shown, "code": error.code, "what": error.what}
        data |= {"refused_before": skipped} if skipped else {}
        try:
            await self.service.engine.ledger.note("call-refused", caller.name, data, circle=caller.circle)
        except InfraError:
            log.warning("a refused call of %s could not be recorded", shown)


async def _no_tool(call: Call, given: object) -> Answer:  # noqa: ARG001 - all tools have one form
    raise InfraError("not-found", "There is no such tool, or not for this caller.", next_step="See tools/list.")


class _Anything(BaseModel):
    """The arguments of an unknown tool are ignored."""


_NO_TOOL = Tool("", "", "", _Anything, _no_tool, Effects.CHANGES)


def _progress(context: Context[Any, Any] | None) -> Progress | None:
    """How to report progress to the client; None for one that gave no token to report it under."""
    if context is None or (context.request_context.meta or {}).get("progress_token") is None:
        return None

    async def report(passed: float, message: str) -> None:
        await context.report_progress(passed, None, message)

    return report


def _log(name: str, error: Exception) -> None:
    """Log the place and kind of an unexpected error; its message may contain arguments and is left out."""
    frames = "".join(traceback.format_tb(error.__traceback__)[-6:])
    log.error("%s failed unexpectedly: %s\n%s", name, type(error).__name__, frames)
