"""How a request was decided, with all that the decision was made on."""

from __future__ import annotations

from typing import Any, Literal

from infra_mcp.model.approval import Need, Verdict
from infra_mcp.model.effect import Effect
from infra_mcp.model.names import Frozen


class Judged(Frozen):
    """The verdict on a plan, and what `policy.decide.judge` was given beside the request."""

    decision: Literal["allow", "refuse", "needs-approval"]
    rule: str
    needs: tuple[Need, ...] = ()
    policy: str  # the digest of the policy that decided
    digest: str  # of the effect
    effect: Effect | None  # None where it was not kept
    lacks: str = ""  # why it was not
    now: str | None  # the time by which freezes were judged; None where they did not count
    of: dict[str, Any] | None = None  # of a rollback: the action that is rolled back

    @classmethod
    def by(cls, verdict: Verdict, effect: Effect, now: str | None, of: dict[str, Any] | None) -> Judged:
        """A decision as it is made."""
        same = {"decision": verdict.decision, "rule": verdict.rule, "needs": verdict.needs, "policy": verdict.policy}
        return cls.model_validate(same | {"digest": effect.digest, "effect": effect, "now": now, "of": of})
