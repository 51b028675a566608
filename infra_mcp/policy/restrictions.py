"""The sections of infra.toml that only restrict: rules, required guardrails, protected objects and freezes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints, field_validator, model_validator

from infra_mcp.model.names import Frozen
from infra_mcp.policy.grammar import (
    Explanation,
    GuardName,
    ImagePattern,
    KindPattern,
    LongDuration,
    Moment,
    NamePattern,
    RuleId,
    Text,
)
from infra_mcp.policy.guard.rules import REQUIRABLE

_LabelKey = Annotated[str, StringConstraints(pattern=r"^[-A-Za-z0-9._/]+$", max_length=317)]


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


class ObjectMatch(Frozen):
    """Which objects guardrails are required of: every given key must match, by one of its patterns."""

    namespaces: tuple[NamePattern, ...] | None = None
    circles: tuple[NamePattern, ...] | None = None


class GuardrailRules(Frozen):
    """What is required of workloads beside the guardrails that hold everywhere. All that match hold together."""

    match: ObjectMatch = ObjectMatch()
    require: tuple[GuardName, ...] = ()
    digest: tuple[ImagePattern, ...] = ()
    labels: tuple[_LabelKey, ...] = ()
    annotations: tuple[_LabelKey, ...] = ()
    max_ratio: int | None = Field(default=None, ge=1, le=1000)

    @field_validator("require")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not set(value) <= set(REQUIRABLE):
            msg = f"names no guardrail that can be required; there are {', '.join(REQUIRABLE)}"
            raise ValueError(msg)
        return value


class ProtectedRules(Frozen):
    """Objects that no request changes: those that every given key matches, by one of its patterns."""

    id: RuleId
    namespaces: tuple[NamePattern, ...] | None = None
    kinds: tuple[KindPattern, ...] | None = None
    names: tuple[NamePattern, ...] | None = None
    reason: Explanation = ""

    @model_validator(mode="after")
    def _names_something(self) -> ProtectedRules:
        if self.namespaces is None and self.kinds is None and self.names is None:
            msg = "must have namespaces, kinds or names"
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

    def holds(self, now: datetime) -> bool:
        """Whether it holds at a moment, with its offset."""
        return self.begins <= now < self.until


class OrderedFreeze(Freeze):
    """A freeze that an operator ordered by a command; it adds to those of the policy until it ends or is lifted."""

    by: Text

    def holds(self, now: datetime) -> bool:
        """Whether it holds: from its order on, also where the clock was set back since."""
        return now < self.until
