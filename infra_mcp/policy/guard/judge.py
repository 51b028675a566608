"""Judges the changes of a plan by the guardrails. Pure.

A rule that cannot be evaluated denies. `allow` switches one guardrail off, `kinds` bounds what charts and builds may
hold, and neither grants an action, a namespace or an image.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Final

from infra_mcp.model.effect import Change, Trait
from infra_mcp.model.image import Image
from infra_mcp.policy import grants
from infra_mcp.policy.actions.base import FAULT
from infra_mcp.policy.grammar import matches
from infra_mcp.policy.grants import NONE, Grant, Refusal, some
from infra_mcp.policy.guard.kinds import DEFAULT, delivers, rule_of
from infra_mcp.policy.guard.provider_objects import OBJECT
from infra_mcp.policy.guard.required import Required, lacks
from infra_mcp.policy.guard.rules import ACCOUNT, DIGEST, GUARDRAILS, HOSTS, IDENTITY, LATEST, TAKEN, UNREADABLE
from infra_mcp.policy.images import new_images
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.protected import is_own_identity

_SKIPPED: Final[Mapping[str, frozenset[str]]] = {
    "privileged": frozenset({"baseline", "restricted"}),
    "baseline": frozenset({"restricted"}),
    "restricted": frozenset(),
}
_SHOWN: Final = frozenset({"changes", "baseline"})
_FACTS: Final = frozenset({IDENTITY, OBJECT})  # which say what an object is, and are no finding by themselves
_USUAL: Final = f"Workloads and what belongs to them: {some(sorted(DEFAULT))}."


def accounts(changes: Iterable[Change]) -> frozenset[tuple[str | None, str]]:
    """Namespace and name of the service accounts among changes: the pods beside them may use these."""
    found = (one.target for one in changes if one.target.kind == "ServiceAccount" and one.operation != "delete")
    return frozenset((one.scope, one.name) for one in found)


def refusals(
    policy: Policy,
    granted: Sequence[Grant],
    change: Change,
    *,
    is_rendered: bool,
    is_typed: bool = False,
    brought: Collection[tuple[str | None, str]] = (),
) -> Iterator[Refusal]:
    """The first guardrail against one change, for each grant; its reason names the others.

    Args:
        policy: in force.
        granted: all that must grant the request, the circle first.
        change: of an object of a cluster.
        is_rendered: whether a chart or a build brings it: then its kind is judged, too, and our own marks in it.
        is_typed: whether the action writes such an object itself: then its kind is the action's matter.
        brought: the service accounts of the same effect, as `accounts` gives them.
    """
    if change.operation == "unchanged" or not granted:
        return
    needed = Required.of(policy, granted[0].rule.removeprefix("circles."), change.target.home)
    for to in granted:
        against = list(_kind(policy, to, change)) if is_rendered and not is_typed and not _is_value(change) else []
        if change.operation != "delete":  # then none of it becomes live
            against += _content(policy, to, change, needed, brought, is_rendered=is_rendered)
        if against:
            first, others = against[0], sorted({one.rule for one in against} - {against[0].rule})
            more = f" Refused, too, by {', '.join(others)}." if others else ""
            yield first._replace(reason=first.reason + more)


def _is_value(change: Change) -> bool:
    """Whether it sets a value in what delivers others, which is judged by `effect.unrendered`."""
    return delivers(change.target.kind) and change.operation == "update" and not change.by


def shown(change: Change) -> list[str]:
    """What guardrails find in an object of a plan, as text; without what only restricted namespaces refuse."""
    return [
        f"{one.rule}: {one.where.removeprefix('.')} {one.value}".rstrip()
        for one in change.traits or ()
        if one.rule not in _FACTS and (one.rule not in GUARDRAILS or GUARDRAILS[one.rule].judges in _SHOWN)
    ]


def level(policy: Policy, namespace: str | None) -> str:
    """The level of Pod Security Standards that a namespace is held to; baseline where policy names none.

    The pattern with the most characters besides `*` decides, and of equal ones the one with the strictest level.
    """
    known = [
        (len(pattern.replace("*", "")), -len(_SKIPPED[held]), held)
        for pattern, held in policy.pod_security.items()
        if matches(pattern, namespace or "")
    ]
    return max(known, default=(0, 0, "baseline"))[2]


def _kind(policy: Policy, to: Grant, change: Change) -> Iterator[Refusal]:
    """Whether a chart or a build may bring a kind."""
    target, own = change.target, to.own
    rule = rule_of(target.kind, target.scope)
    if rule is not None and rule not in own.allow:
        yield _refused(to, rule, f"the rendering holds {target} ({target.kind})")
        return
    if not policy.once(("kind", to.rule, target.kind), lambda: _is_known(to, target.kind)) and not (
        rule and own.kinds is None
    ):
        yield Refusal(
            f"{to.rule}.kinds",
            f"{to.name} may bring no {target.kind} by a chart or a build, and the plan holds {target}.",
            to.hint(
                "kinds", f"A kind of {some(own.kinds or ())}.", _USUAL if own.kinds is None else NONE.format("kind")
            ),
        )


def _is_known(to: Grant, kind: str) -> bool:
    return kind in DEFAULT if to.own.kinds is None else any(matches(pattern, kind) for pattern in to.own.kinds)


def _content(
    policy: Policy,
    to: Grant,
    change: Change,
    needed: Required,
    brought: Collection[tuple[str | None, str]],
    *,
    is_rendered: bool,
) -> Iterator[Refusal]:
    """What is against the content of an object, by the level of its namespace."""
    if change.traits is None:
        if is_rendered:
            yield Refusal(UNREADABLE, f"{change.target} was rendered, and its content was not judged.", FAULT)
        return
    scope = change.target.scope
    skipped = _SKIPPED[policy.once(("level", scope), lambda: level(policy, scope))]
    skipped = skipped if is_rendered else skipped | {"renderings"}
    for trait in change.traits:
        guard = GUARDRAILS.get(trait.rule)
        if guard is None:
            yield Refusal(UNREADABLE, f"{change.target} has {trait.rule[:60]}, which no rule judges.", FAULT)
        elif guard.judges == "required":
            if (lacking := lacks(needed, to.own.limits, trait)) is not None:
                yield from _trait(policy, to, change, trait.model_copy(update={"value": lacking}))
        elif guard.judges not in skipped and not _is_brought(change, trait, brought):
            yield from _trait(policy, to, change, trait)


def _is_brought(change: Change, trait: Trait, brought: Collection[tuple[str | None, str]]) -> bool:
    return trait.rule == ACCOUNT and (change.target.scope, trait.value) in brought


def image_refusals(policy: Policy, granted: Sequence[Grant], change: Change) -> Iterator[Refusal]:
    """Every reason against the images that a change would newly run, for each grant."""
    references = new_images(change)
    if not references or not granted:
        return
    needed = Required.of(policy, granted[0].rule.removeprefix("circles."), change.target.home)
    for reference, to in product(references, granted):
        image = Image.parse(reference)
        if image.tag.casefold() == "latest" and not image.digest and LATEST not in to.own.allow:
            yield _refused(to, LATEST, f"{reference[:200]} of {change.target}")
        if needed.wants_digest(image) and DIGEST not in to.own.allow:
            yield _refused(to, DIGEST, f"{reference[:200]} of {change.target}")
        yield from grants.image(to, reference)


def _trait(policy: Policy, to: Grant, change: Change, trait: Trait) -> Iterator[Refusal]:
    guard = GUARDRAILS[trait.rule]
    if trait.rule == IDENTITY:
        if is_own_identity(policy, trait.value):
            yield _refused(to, trait.rule, f"{change.target}{trait.where} ({trait.value})")
    elif trait.rule == HOSTS:
        if not _is_granted(to, trait.value):
            what = "any host" if trait.value == "*" else f"host {trait.value}"
            yield Refusal(
                f"{to.rule}.hosts",
                f"{to.name} may not take the traffic of {what}: {change.target}{trait.where}.",
                to.hint("hosts", f"A host of {some(to.own.hosts)}.", NONE.format("host")),
            )
    elif trait.rule == TAKEN and not _is_granted(to, trait.value):
        return  # `hosts` refuses it, and says nothing about who has it
    elif guard.instead or trait.rule not in to.own.allow:
        value = f" ({trait.value})" if trait.value else ""
        yield _refused(to, trait.rule, f"{change.target}{trait.where}{value}")


def _is_granted(to: Grant, host: str) -> bool:
    return any(matches(pattern, host) for pattern in to.own.hosts)


def _refused(to: Grant, rule: str, where: str) -> Refusal:
    guard = GUARDRAILS[rule]
    passes = "The same without it"
    if not guard.instead:
        passes += f'; or `allow = ["{rule}"]` in [{to.rule}] of infra.toml, accepted by an operator'
    what = f"Policy refuses {guard.refuses}: {where}."
    return Refusal(rule, what, f"{passes}. `infra-mcp policy explain {rule}` says why.")
