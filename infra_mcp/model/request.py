"""A request: one action asked by one peer, and its state."""

from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from infra_mcp.model.actions import Action
from infra_mcp.model.names import Frozen
from infra_mcp.model.peer import Caller

Channel = Literal["tool", "ask", "cli", "notify"]


class State(StrEnum):
    """The state of a request. Those after `reverting` are ends; the asker learns of every end."""

    RECEIVED = "received"
    SCHEDULED = "scheduled"  # parked until its schedule opens
    QUEUED = "queued"
    PLANNED = "planned"
    AWAITING_APPROVAL = "awaiting_approval"  # planned, and parked until people approve
    PROPOSED = "proposed"  # a pull request is open at the forge, and people decide there; parked
    APPLYING = "applying"
    VERIFYING = "verifying"
    ROLLING_BACK = "rolling_back"
    REVERTING = "reverting"  # a pull request that reverts the change is open at the forge; parked
    LANDED = "landed"
    MERGED = "merged"  # on the branch by a pull request; nothing in policy confirms that it is live
    PUSHED = "pushed"  # the same by a push
    COMMITTED = "committed"  # the same by a commit in the repository beside the server
    UNCHANGED = "unchanged"
    PREVIEWED = "previewed"  # a dry run: planned and decided, nothing written
    REFUSED = "refused"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"
    CANCELLED = "cancelled"
    UNCLEAR = "unclear"
    NEEDS_OPERATOR = "needs_operator"
    EXPIRED = "expired"  # the approval it waited for did not come in time
    SUPERSEDED = "superseded"  # a newer release took its place before it began


PARKED = frozenset({State.SCHEDULED, State.AWAITING_APPROVAL, State.PROPOSED, State.REVERTING})
OPEN = PARKED | {State.RECEIVED, State.QUEUED, State.PLANNED, State.APPLYING, State.VERIFYING, State.ROLLING_BACK}
END = frozenset(State) - OPEN
# The ends at which the branch has the change, confirmed to be live or not.
BROUGHT = frozenset({State.LANDED, State.MERGED, State.PUSHED, State.COMMITTED})
AT_THE_FORGE = frozenset({State.PROPOSED, State.REVERTING})  # people decide there
FOR_PEOPLE = frozenset({State.AWAITING_APPROVAL}) | AT_THE_FORGE  # people decide, and may take long


class _Asked(Frozen):
    caller: Caller
    action: Action
    channel: Channel
    words: str = ""
    reason: str = ""
    idempotency_key: str | None = None
    dry_run: bool = False
    attendant: str | None = None
    notify: str | None = None  # the notify it came in; its sender is notified of the outcome


class Submission(_Asked):
    """What a channel hands to the engine: the action, who asks, and the text it came in (already masked).

    When an attendant acts, `caller` is the asker, `attendant` acts, and `on_behalf_of` is the ask that was claimed.
    """

    on_behalf_of: str | None = None
    session: str | None = None  # the attending session that must have claimed `on_behalf_of`
    scheduled: bool = False  # begins as `scheduled`, and waits for the app's schedule in policy
    trace: str = ""  # `Record.trace`


class Request(_Asked):
    """A request as the ledger stores it."""

    id: str
    state: State
    created: str
    ask: str | None = None
    commit: str | None = None
    revert: str | None = None
    effect_digest: str | None = None
    record: dict[str, Any] = Field(default_factory=dict)  # what the engine must know after a restart
    receipt: dict[str, Any] | None = None  # set in the transaction that ends it
