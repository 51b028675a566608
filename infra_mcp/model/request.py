"""A request: one action asked by one peer, and how far it has come."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from infra_mcp.model.action import Action
from infra_mcp.model.names import Frozen
from infra_mcp.model.peer import Caller

__all__ = ["END", "OPEN", "Door", "Request", "State", "Submission"]

Door = Literal["tool", "ask", "cli"]


class State(StrEnum):
    """How far a request has come. The last ten are ends; every end is told to the asker."""

    RECEIVED = "received"
    QUEUED = "queued"
    PLANNED = "planned"
    APPLYING = "applying"
    VERIFYING = "verifying"
    ROLLING_BACK = "rolling_back"
    LANDED = "landed"
    UNCHANGED = "unchanged"
    PREVIEWED = "previewed"  # a dry run: planned and decided, nothing written
    REFUSED = "refused"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"
    CANCELLED = "cancelled"
    UNCLEAR = "unclear"
    NEEDS_OPERATOR = "needs_operator"


OPEN = frozenset({State.RECEIVED, State.QUEUED, State.PLANNED, State.APPLYING, State.VERIFYING, State.ROLLING_BACK})
END = frozenset(State) - OPEN


class Submission(Frozen):
    """What a door hands to the engine: the action, who asks, and the words it came in (already masked)."""

    caller: Caller
    action: Action
    door: Door
    words: str = ""
    reason: str = ""
    idempotency_key: str | None = None
    dry_run: bool = False


class Request(Frozen):
    """A request as the ledger holds it."""

    id: str
    caller: Caller
    action: Action
    door: Door
    state: State
    created: str
    words: str = ""
    reason: str = ""
    idempotency_key: str | None = None
    dry_run: bool = False
    ask: str | None = None
    commit: str | None = None
    revert: str | None = None
    effect_digest: str | None = None
    record: dict[str, Any] = Field(default_factory=dict)  # what the engine must know after a restart
    receipt: dict[str, Any] | None = None  # set in the transaction that ends it
