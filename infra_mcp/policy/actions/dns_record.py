"""The checks of a DNS record: its zone and name as granted, and the guardrails of the zone. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from infra_mcp.model.actions.dns_record import DnsRecord
from infra_mcp.model.peer import Caller
from infra_mcp.model.target import Target
from infra_mcp.policy.actions.base import About, ActionRules
from infra_mcp.policy.grants import Grant, Refusal
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.systems import record
from infra_mcp.policy.zones import SYSTEM, refusals

_NO_CLUSTER: Final = ""


def _target(action: DnsRecord) -> Target:
    return Target(system=SYSTEM, place=action.zone, scope=action.zone, kind=action.type, name=action.name)


def _about(_: Policy, action: DnsRecord) -> About:
    return About(_NO_CLUSTER, scopes=frozenset({action.zone}), targets=(_target(action),))


def _subject(policy: Policy, _: Caller, to: Grant, action: DnsRecord) -> Iterator[Refusal]:
    yield from record(policy, to, action.zone, action.name)


def _refusals(policy: Policy, caller: Caller, to: Grant, action: DnsRecord) -> Iterator[Refusal]:
    yield from (refused := list(_subject(policy, caller, to, action)))
    if not refused:
        rules = policy.zones[action.zone]
        yield from refusals(rules, to, action.zone, action.name, action.type, action.values, action.ttl)


RULES = ActionRules(
    refusals=_refusals,
    effect_refusals=lambda *_: iter(()),  # the guardrails of zones are judged for every action, in `decide`
    writes=frozenset(),
    about=_about,
    is_about=lambda _, action, target: target == _target(action),
    subject_refusals=_subject,
    systems=frozenset({SYSTEM}),
)
