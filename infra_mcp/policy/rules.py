"""The sections of infra.toml that cut across circles: rules, and freezes. They only take away."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from infra_mcp.model.names import Frozen
from infra_mcp.policy.grammar import Explanation, NamePattern, RuleId, Text
from infra_mcp.policy.times import LongDuration, Moment, seconds


class Match(BaseModel):
    """What a rule is about: all keys given must match, each by one of its patterns.

    Keys this version does not know are kept, not refused: a rule that cannot be evaluated denies, and says which key.
    """

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    namespaces: tuple[NamePattern, ...] | None = None
    actions: tuple[NamePattern, ...] | None = None
    peers: tuple[NamePattern, ...] | None = None
    circles: tuple[NamePattern, ...] | None = None
    apps: tuple[NamePattern, ...] | None = None


class Require(BaseModel):
    """What a rule wants before it lets something through. What this version cannot check denies."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    approvals: int = Field(default=1, ge=1, le=10)
    by: Text = "operator"
    strength: Text = "same-user"
    expires: LongDuration = "1h"

    @property
    def expires_seconds(self) -> float:
        """How long a request waits for its approvals, and how long one of them holds, in seconds."""
        return seconds(self.expires)


class Rule(Frozen):
    """A rule across circles: it only takes away."""

    id: RuleId
    match: Match = Match()
    deny: bool = False
    require: Require | None = None
    reason: Explanation = ""

    @model_validator(mode="after")
    def _does_one_thing(self) -> Rule:
        if self.deny == (self.require is not None):
            msg = "must have either deny = true or require"
            raise ValueError(msg)
        return self


class FreezeMatch(Frozen):
    """What a freeze is about: all keys given must match, each by one of its patterns."""

    apps: tuple[NamePattern, ...] | None = None
    namespaces: tuple[NamePattern, ...] | None = None
    circles: tuple[NamePattern, ...] | None = None


class Freeze(Frozen):
    """A time in which nothing is changed."""

    model_config = ConfigDict(populate_by_name=False)

    id: RuleId
    begins: Moment = Field(alias="from")
    until: Moment
    match: FreezeMatch = FreezeMatch()
    reason: Explanation = ""

    @model_validator(mode="after")
    def _lasts(self) -> Freeze:
        if self.until <= self.begins:
            msg = "must end after it begins"
            raise ValueError(msg)
        return self
