"""A question to the person behind a client, in both eras: the one place that reaches the SDK's machinery for it.

In the era of 2026-07-28 the question is the call's result, and the client calls again with the answer and a state that
the SDK has sealed; in the one before, the question is sent while the call waits. `mcp.server.mcpserver.resolve` does
both for parameters of the SDK's own tools. Our tools are not those, so its parts are used one by one (mcp 2.3), and a
test fails when they are no longer there or work otherwise.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.resolve import (
    AcceptedElicitation,
    DeclinedElicitation,
    Elicit,
    Resolve,
    build_resolver_plans,
    resolve_arguments,
)
from mcp.shared.exceptions import MCPError
from mcp.types import InputRequiredResult
from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from mcp.server.mcpserver import Context


class Decision(BaseModel):
    """The form a person fills in; the model that called the tool does not, and sees it only as a result."""

    model_config = ConfigDict(extra="forbid", strict=True)

    approve: bool = Field(title="Approve", description="Yes: exactly this change, once. No: it is denied.")


class Elicited(Enum):
    """What the person said."""

    YES = "yes"
    NO = "no"
    NOTHING = "nothing"  # closed the question, or gave an answer that is none


class Person:
    """The person behind one call's client.

    Args:
        context: the call's.
    """

    def __init__(self, context: Context[Any, Any]) -> None:
        self._context = context

    @property
    def reachable(self) -> bool:
        """Whether the client says that it can put a form before a person."""
        declared = self._context.client_capabilities
        able = declared.elicitation if declared is not None else None
        return able is not None and (able.form is not None or able.url is None)

    async def ask(self, question: str) -> Elicited | InputRequiredResult:
        """Put a question and get the answer, or what the call must return so that the client puts it.

        An answer counts only for the very words that were shown: when the question reads otherwise by the time the
        answer comes, it is put anew. Does not tell who the person is; the client's word that there is one is all.

        Args:
            question: the whole text, already masked, the same at each call while nothing has changed.
        """

        async def decision() -> Elicit[Decision]:
            return Elicit(question, Decision)

        wanted = {"decision": (Resolve(decision), True)}
        try:
            found = await resolve_arguments(wanted, build_resolver_plans(wanted, set()), {}, self._context)
        except (MCPError, ToolError):  # the client cannot after all, or what it sent is not an answer: no approval
            return Elicited.NOTHING
        if isinstance(found, InputRequiredResult):
            return found
        outcome = found["decision"]
        if isinstance(outcome, AcceptedElicitation):
            return Elicited.YES if outcome.data.approve is True else Elicited.NO
        return Elicited.NO if isinstance(outcome, DeclinedElicitation) else Elicited.NOTHING
