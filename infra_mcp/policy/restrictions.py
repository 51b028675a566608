"""The sections of infra.toml that only restrict: rules across circles, and freezes."""

from __future__ import annotations

from pydantic import ConfigDict, Field, model_validator

from infra_mcp.model.names import Frozen
from infra_mcp.policy.grammar import Explanation, LongDuration, Moment, NamePattern, RuleId, Text


class FreezeMatch(Frozen):
    """Which changes a freeze is about: every given key must match, by one of its patterns."""

    apps: tuple[NamePattern, ...] | None = None
    namespaces: tuple[NamePattern, ...] | None = None
    circles: tuple[NamePattern, ...] | None = None
    environments: tuple[NamePattern, ...] | None = None


class Match(FreezeMatch):
    """Which changes a rule is about. Keys that this version does not know are kept: the rule then denies."""

    model_config = ConfigDict(extra="allow")

    actions: tuple[NamePattern, ...] | None = None
    peers: tuple[NamePattern, ...] | None = None


class Require(Frozen):
    """The approvals that a rule requires. A requirement that this version cannot check denies."""

    model_config = ConfigDict(extra="allow")

    approvals: int = Field(default=1, ge=1, le=10)
    by: Text = "operator"
    strength: Text = "same-user"
    expires: LongDuration = "1h"
    bypass: LongDuration | None = None


class Rule(Frozen):
    """A rule across circles, which only restricts."""

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


class Freeze(Frozen):
    """A period in which nothing may change."""

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
