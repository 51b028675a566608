"""Verdicts of the policy on a change, and approvals by people: for one effect digest, for a time, once."""

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import Field

from infra_mcp.model.names import Frozen, PeerName
from infra_mcp.model.peer import Strength

# How the decision came: by the command line, by the person whom an attending session's host asked, or by the dashboard.
Way = Literal["cli", "elicitation", "page"]


# How well the approver is known: as a caller, or by a signature with a key that the server does not hold.
Proof = Strength | Literal["signed"]
SIGNED: Final = "signed"
BYPASSED: Final = "bypassed"  # the kind of the event of an approval without the others whom a rule wants


class Signature(Frozen):
    """A signature of an approval, by one of the keys that policy has for its signer."""

    signer: PeerName
    text: Annotated[str, Field(max_length=16_384)]  # as `ssh-keygen -Y sign` writes it


class Decided(Frozen):
    """What a person decided about an effect, and how that came."""

    approve: bool
    way: Way
    signature: Signature | None = None  # then it is the signer's
    bypass: str = ""  # why they go on without the others whom rules want, where these allow that
    looked: float | None = None  # seconds for which the effect was before them, where that is known


class Approval(Frozen):
    """One person's decision on one effect of one request. Times are ISO 8601, UTC."""

    request: str
    effect_digest: str
    approve: bool
    approver: str
    way: Way
    strength: Proof
    at: str
    expires: str
    used: str | None = None  # when the request it allowed began its first write
    gone: bool = False  # whether the approver was removed since; looked up, not stored
    key: str = ""  # the fingerprint of the key that signed it; it and the signature are in its event, not in its row
    signature: str = ""
    bypass: str = ""  # why its approver goes on without the others; kept in its event
    vouched: bool = True  # whether the approver counts where a rule requires several; looked up, not stored


class Need(Frozen):
    """The approvals that one rule of the policy requires."""

    rule: str
    approvals: int = 1  # from different people
    by: str = "operator"
    strength: Proof = "same-user"  # the minimum; a token is stronger, and a signature stronger than that
    bypass: float = 0.0  # how long one approval is enough alone, where its approver says why; 0: never
    seconds: float = 3600.0  # how long a request waits for them, and how long one is valid


class Reviewed(Frozen):
    """A reviewer's last word on a pull request, as the forge had it."""

    by: str  # the account
    approves: bool
    against: str = ""  # why it approves nothing, for any account


class Verdict(Frozen):
    """The policy's answer: allow, refuse, or needs approval; by which rule; and what would pass."""

    decision: Literal["allow", "refuse", "needs-approval"]
    rule: str
    reason: Annotated[str, Field(max_length=1000)]
    would_pass: str = ""
    policy: str = ""  # digest of the policy that decided
    signers: dict[str, tuple[str, ...]] = Field(default_factory=dict)  # fingerprints of the keys of those who can sign
    needs: tuple[Need, ...] = ()  # with needs-approval: of every rule that requires approvals


class Waiting(Frozen):
    """The approval that a parked request waits for, in its record. Times are ISO 8601, UTC."""

    digest: str  # of the effect that was shown
    since: str
    until: str  # then it expires
    verdict: Verdict

    @property
    def over(self) -> datetime:
        """When the wait is over."""
        return datetime.fromisoformat(self.until)
