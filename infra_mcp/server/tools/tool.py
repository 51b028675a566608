"""A tool as data: its name, what models read about it, its arguments, its effects, and the function that answers it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias, get_type_hints

from pydantic import BaseModel

from infra_mcp.server.answers import Answer
from infra_mcp.server.tools.call import Call

Handler: TypeAlias = Callable[[Call, Any], Awaitable[Answer]]


class Effects(Enum):
    """What a call can change. A refused call of a tool that does more than read leaves a row in the ledger."""

    READS = "reads"
    RECORDS = "records"  # rows of the ledger
    CHANGES = "changes"  # the repository and the cluster too


class Audience(Enum):
    """Which callers a tool is for."""

    ANYONE = "anyone"
    PEERS = "peers"  # about the caller's own messages: not for a caller who may only read
    PEOPLE = "people"  # a person stands behind the caller: operators and attending sessions


@dataclass(frozen=True)
class Tool:
    """A tool.

    `actions` names the policy actions of which a caller needs at least one to see the tool; None is for everyone.
    """

    name: str
    title: str
    description: str
    arguments: type[BaseModel]
    answer: Handler
    effects: Effects
    audience: Audience = Audience.ANYONE
    idempotent: bool = True
    actions: frozenset[str] | None = None

    @property
    def read_only(self) -> bool:
        """Whether a call changes nothing."""
        return self.effects is Effects.READS


def tool(
    title: str, effects: Effects, audience: Audience = Audience.ANYONE, *, idempotent: bool = True
) -> Callable[[Handler], Tool]:
    """Make a tool of the function that answers it: its name, its docstring, and the model of its argument `given`."""

    def make(answer: Handler) -> Tool:
        name, description = answer.__name__.removeprefix("_"), " ".join((answer.__doc__ or "").split())
        arguments = get_type_hints(answer)["given"]
        return Tool(name, title, description, arguments, answer, effects, audience, idempotent)

    return make
