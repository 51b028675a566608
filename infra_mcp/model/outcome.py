"""The outcome of a request, and its exit code."""

from typing import Any

from pydantic import JsonValue

from infra_mcp.codes import CODES, Exit
from infra_mcp.model.names import Frozen
from infra_mcp.model.request import State
from infra_mcp.model.target import Target


class Written(Frozen):
    """One write to a target, recorded before it happens."""

    target: Target
    operation: str  # create, update, replace, delete or run
    undo: JsonValue = None  # what its driver needs to recognise our write and to undo it; only the driver reads it


class Receipt(Frozen):
    """The one terminal answer to a request."""

    request: str
    state: State
    message: str  # what is now true, or why not, for people
    action: str
    effect_digest: str | None = None
    commit: str | None = None
    revert: str | None = None
    audit_head: str = ""
    objects: tuple[str, ...] = ()
    error: dict[str, str] | None = None
    plan: dict[str, Any] | None = None  # for a dry run: what would be done
    sponsor: str | None = None  # the person who answers for the asker's token; set when the request ends


_EXITS = {
    State.LANDED: Exit.LANDED,
    State.MERGED: Exit.LANDED,
    State.PUSHED: Exit.LANDED,
    State.COMMITTED: Exit.LANDED,
    State.UNCHANGED: Exit.LANDED,
    State.PREVIEWED: Exit.LANDED,
    State.REFUSED: Exit.REFUSED,
    State.FAILED: Exit.FAILED,
    State.ROLLED_BACK: Exit.FAILED,
    State.CANCELLED: Exit.FAILED,
    State.UNCLEAR: Exit.NOT_UNDERSTOOD,
    State.NEEDS_OPERATOR: Exit.NEEDS_OPERATOR,
    State.SUPERSEDED: Exit.FAILED,
    State.EXPIRED: Exit.WAITING,
    State.AWAITING_APPROVAL: Exit.WAITING,
    State.PROPOSED: Exit.WAITING,
    State.REVERTING: Exit.WAITING,
}


def exit_for(state: str, code: str | None = None) -> Exit:
    """The exit code for an end state, or for an open one when the wait was too short.

    A refusal or failure has the exit code of its error: a missing approval, a cluster that cannot be reached.
    """
    end = State(state)
    if end in {State.REFUSED, State.FAILED} and code in CODES:
        return CODES[code].exit
    return _EXITS.get(end, Exit.UNREACHABLE)
