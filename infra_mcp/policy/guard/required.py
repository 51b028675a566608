"""What [[guardrails]] of the policy require of one object, and whether it lacks it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final, NamedTuple

from infra_mcp.model.effect import Trait
from infra_mcp.model.image import Image
from infra_mcp.model.setting import amount_of
from infra_mcp.policy.grammar import matches, matches_image
from infra_mcp.policy.guard.pod_rules import AMOUNTS, ANNOTATIONS, LABELS, RATIO
from infra_mcp.policy.guard.workloads import CPU, UNKNOWN
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.sections import LimitRules

_MILLI: Final = 1000


class Required(NamedTuple):
    """All that the matching entries require together."""

    rules: frozenset[str] = frozenset()
    digest: tuple[str, ...] = ()
    labels: frozenset[str] = frozenset()
    annotations: frozenset[str] = frozenset()
    max_ratio: int | None = None

    @classmethod
    def of(cls, policy: Policy, circle: str, namespace: str | None) -> Required:
        """What is required of an object.

        Args:
            policy: in force.
            circle: the requester's.
            namespace: of the object; None where it is not known, and any may be meant.
        """
        return policy.once(("required", circle, namespace), lambda: cls._of(policy, circle, namespace))

    @classmethod
    def _of(cls, policy: Policy, circle: str, namespace: str | None) -> Required:
        found = [
            one
            for one in policy.guardrails
            if _applies(one.match.circles, circle) and (namespace is None or _applies(one.match.namespaces, namespace))
        ]
        return cls(
            frozenset(name for one in found for name in one.require),
            tuple(pattern for one in found for pattern in one.digest),
            frozenset(key for one in found for key in one.labels),
            frozenset(key for one in found for key in one.annotations),
            min((one.max_ratio for one in found if one.max_ratio is not None), default=None),
        )

    def wants_digest(self, image: Image) -> bool:
        """Whether an image needs a digest that it has not."""
        return not image.digest and any(matches_image(pattern, image, image.tag) for pattern in self.digest)


def _applies(patterns: Iterable[str] | None, value: str) -> bool:
    return patterns is None or any(matches(pattern, value) for pattern in patterns)


def lacks(required: Required, limits: LimitRules, trait: Trait) -> str | None:
    """What a fact lacks of what is required; None where nothing is missing.

    Args:
        required: of the object.
        limits: of the circle or session.
        trait: one of its facts, of a guardrail that policy may require.
    """
    if trait.rule in {LABELS, ANNOTATIONS}:
        wanted = required.labels if trait.rule == LABELS else required.annotations
        return ", ".join(sorted(wanted.difference(trait.value.split(", ")))) or None
    name, _, value = trait.value.partition(" ")
    if trait.rule == RATIO:
        bound = required.max_ratio
        return trait.value if bound is not None and (value == UNKNOWN or Decimal(value) > bound) else None
    if trait.rule not in required.rules:
        return None
    if trait.rule != AMOUNTS:
        return trait.value
    limit = amount_of(limits.cpu if name == CPU else limits.memory)
    within = limit is not None and value != UNKNOWN and Decimal(value) <= limit * (_MILLI if name == CPU else 1)
    return None if within else f"{name} {value}{'m' if name == CPU and value != UNKNOWN else ''}"
