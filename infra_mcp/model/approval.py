"""What policy says of a change, and what people decide about it: bound to its effect digest, for a while, once."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from infra_mcp.model.names import Frozen
from infra_mcp.model.peer import Strength

# How the decision came: typed on the command line, or by a human whom the attending session's host asked.
Way = Literal["cli", "elicitation"]


class Approval(Frozen):
    """One person's yes or no to one effect of one request. Times are ISO 8601, UTC."""

    request: str
    effect_digest: str
    approve: bool
    approver: str
    way: Way
    strength: Strength
    at: str
    expires: str
    used: str | None = None  # when the request it allowed began its first write
    gone: bool = False  # whether the approver was removed since; looked up, not kept
    vouched: bool = True  # whether the approver counts where a rule wants several; looked up, not kept


class Need(Frozen):
    """What one rule of the policy wants before a plan may go on."""

    rule: str
    approvals: int = 1  # from different people
    by: str = "operator"
    strength: Strength = "same-user"  # the least that counts; a token is more
    seconds: float = 3600.0  # how long a request waits for them, and how long one holds


class Verdict(Frozen):
    """What policy says: allow, refuse, or needs approval; by which rule; and what would pass."""

    decision: Literal["allow", "refuse", "needs-approval"]
    rule: str
    reason: Annotated[str, Field(max_length=1000)]
    would_pass: str = ""
    policy: str = ""  # digest of the policy that decided
    needs: tuple[Need, ...] = ()  # with needs-approval: what every rule that requires one wants


class Waiting(Frozen):
    """What a parked request waits for, as its record keeps it. Times are ISO 8601, UTC."""

    digest: str  # of the effect that was shown
    since: str
    until: str  # then it expires
    verdict: Verdict

    @property
    def over(self) -> datetime:
        """When the wait is over."""
        return datetime.fromisoformat(self.until)
