"""What is granted to a circle, and to an attending session, one question at a time. Pure.

A refusal reveals only the caller's own circle and request: what exists elsewhere reads the same as what does not exist.
The grants of an attending session are not listed to the peers that it acts for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from infra_mcp.model.effect import Change
from infra_mcp.model.image import Image
from infra_mcp.model.peer import Caller
from infra_mcp.policy.grammar import bytes_of, is_image, matches, matches_image, millicores
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.sections import GrantRules
from infra_mcp.repository.partial import get_path

# Labels that switch protections of a cluster have a prefix. These recommended ones switch nothing.
FREE_LABELS: Final = frozenset(
    f"app.kubernetes.io/{name}" for name in ("name", "instance", "version", "component", "part-of")
)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_ANY_TAG: Final = "\0"  # no pattern has this character, so that only a `*` matches it
_LISTED = 8
_MAX_LENGTH = 80
NONE = "No {} is granted to this circle."


class Refusal(NamedTuple):
    """A reason against a request: the rule, the reason as text, and what would pass."""

    rule: str
    reason: str
    would_pass: str


class Grant(NamedTuple):
    """The grants of a circle or session, and their names in verdicts."""

    rule: str  # the prefix of its keys in the policy: circles.NAME, or attend
    who: str
    own: GrantRules
    listed: bool  # whether a refusal may list what would pass

    @property
    def name(self) -> str:
        """`who` at the beginning of a sentence."""
        return self.who[:1].upper() + self.who[1:]

    def hint(self, key: str, found: str, none: str) -> str:
        """What would pass: the grants, or that there are none, or only where they are."""
        if not self.listed:
            return f"A value that {key} of [{self.rule}] in infra.toml grants, or an operator who does it."
        return found if getattr(self.own, key) else none


def grants(policy: Policy, caller: Caller, *, attendant: bool) -> tuple[Grant, ...]:
    """All that must grant a request: the asker's circle, and [attend] where a session acts."""
    own = policy.circle(caller.circle) or GrantRules()
    circle = Grant(f"circles.{caller.circle}", f"circle {caller.circle}", own, listed=True)
    acting = Grant("attend", "an attending session", policy.attend, listed=False)
    return (circle, acting) if attendant else (circle,)


def some(values: Iterable[str]) -> str:
    """A bounded list as text."""
    listed = [value[:_MAX_LENGTH] for value in values]
    return ", ".join(listed[:_LISTED]) + (", …" if len(listed) > _LISTED else "")


def cluster(policy: Policy, name: str | None) -> Iterator[Refusal]:
    """Whether the policy has a cluster, and the one of this name."""
    if not policy.clusters:
        yield Refusal("clusters", "The policy names no cluster.", "A [clusters.NAME] section.")
    elif name is not None and name not in policy.clusters:
        passes = f"One of: {some(policy.clusters)}" + ("; or leave it out." if len(policy.clusters) == 1 else ".")
        yield Refusal("clusters", "The policy has no such cluster.", passes)


def one_cluster(what: str, homes: Sequence[str], name: str | None) -> Iterator[Refusal]:
    """Whether an action is for one cluster. `homes` are those where it can be, `name` the one that it names."""
    passes = f"One of: {some(homes)}." if len(homes) > 1 else f"Cluster {some(homes)}, or none named."
    if not homes:
        yield Refusal("clusters", f"{what} has no cluster.", "An operator names one in infra.toml.")
    elif name is not None and name not in homes:
        yield Refusal("clusters", f"{what} is not in that cluster.", passes)
    elif name is None and len(homes) > 1:
        yield Refusal("clusters", f"{what} can be in several clusters, and the request names none.", passes)


def namespace(policy: Policy, to: Grant, name: str) -> Iterator[Refusal]:
    """Whether a namespace is granted, whether it exists or not."""
    if not policy.within(to.own, name):
        yield Refusal(
            f"{to.rule}.namespaces",
            f"{to.name} may not use namespace {name}.",
            to.hint("namespaces", f"A namespace named {some(to.own.namespaces)}.", NONE.format("namespace")),
        )


def image(to: Grant, reference: str) -> Iterator[Refusal]:
    """Whether an image is granted: the whole reference, tag and all, against the patterns."""
    own = to.own.images
    if not any(_is_image_of(pattern, reference) for pattern in own):
        yield Refusal(
            f"{to.rule}.images",
            f"{to.name} may not run image {reference[:200]}.",
            to.hint("images", f"An image of {some(own)}.", NONE.format("image")),
        )


def _is_image_of(pattern: str, reference: str) -> bool:
    """Whether a pattern grants an image; one with a digest only if it grants every tag: the digest can be of any."""
    plain, at, digest = reference.partition("@")
    image = Image.parse(reference)
    if not is_image(plain if image.tag or not at else f"{plain}:0") or (at and not _DIGEST.fullmatch(digest)):
        return False
    tag = _ANY_TAG if at else image.tag
    return matches_image(pattern, image, tag)


def fixed_labels(labels: Iterable[str]) -> Iterator[Refusal]:
    """Refuse labels with a prefix: they switch protections (pod security, admission, infra-mcp's own)."""
    held = [key for key in labels if "/" in key and key not in FREE_LABELS]
    if held:
        yield Refusal(
            "labels.reserved",
            f"A request cannot set the label {some(held)}: labels with a prefix switch protections of the cluster.",
            "Labels without a prefix, or " + ", ".join(sorted(FREE_LABELS)) + ".",
        )


def labels(to: Grant, keys: Iterable[str]) -> Iterator[Refusal]:
    """Whether labels are granted, by their keys."""
    held = [key for key in keys if not any(matches(pattern, key) for pattern in to.own.labels)]
    if held:
        yield Refusal(
            f"{to.rule}.labels",
            f"{to.name} may not set the label {some(held)}.",
            to.hint("labels", f"A label of {some(to.own.labels)}.", NONE.format("label")),
        )


def numbers(to: Grant, cpu: str | None, memory: str | None) -> Iterator[Refusal]:
    """Whether amounts are within the limits that are granted."""
    limits, over = to.own.limits, []
    if cpu and (limits.cpu is None or millicores(cpu) > millicores(limits.cpu)):
        over.append(("cpu", cpu, limits.cpu))
    if memory and (limits.memory is None or bytes_of(memory) > bytes_of(limits.memory)):
        over.append(("memory", memory, limits.memory))
    if over:
        passes = [f"{key} up to {limit}" if limit else f"no {key}: none is granted" for key, _, limit in over]
        yield Refusal(
            f"{to.rule}.limits",
            f"{to.name} may not ask for " + " and ".join(f"{key} {asked}" for key, asked, _ in over) + ".",
            to.hint("limits", "; ".join(passes) + ".", ""),
        )


def replicas(to: Grant, asked: int) -> Iterator[Refusal]:
    """Whether a number of replicas is within the limit that is granted."""
    limit, granted = to.own.limits.replicas, f"An operator sets limits.replicas in [{to.rule}] of infra.toml."
    if limit is None or asked > limit:
        yield Refusal(
            f"{to.rule}.limits.replicas",
            f"{to.name} may not ask for {asked} replicas.",
            to.hint("limits", granted if limit is None else f"At most {limit} replicas.", ""),
        )


# Of a workload, and of an autoscaler: what that may bring one to.
_REPLICAS: Final = (("spec", "replicas"), ("spec", "maxReplicas"))


def amounts(to: Grant, change: Change) -> Iterator[Refusal]:
    """Whether the replicas and the bounds of a namespace that a plan would set are within the limits."""
    for field in change.fields:
        for path in _REPLICAS:
            held = get_path(field.after, path[len(field.path) :])[1] if path[: len(field.path)] == field.path else None
            if type(held) is int:
                yield from replicas(to, held)
        if change.target.kind in {"ResourceQuota", "LimitRange"}:
            for name, amount in _amounts({str(field.path[-1]): field.after} if field.path else field.after):
                yield from _amount(to, name.rpartition(".")[2], amount)


def _amount(to: Grant, of: str, amount: str) -> Iterator[Refusal]:
    try:
        yield from list(numbers(to, amount if of == "cpu" else None, amount if of == "memory" else None))
    except (ValueError, KeyError):  # people may have written it in another form than requests have
        what = f"{of} {amount[:_MAX_LENGTH]} cannot be compared with the limits of {to.who}."
        yield Refusal(f"{to.rule}.limits", what, "The amount as 500m or 4, or as 512Mi or 8Gi.")


def _amounts(value: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - any JSON value
    """Every text below a key, with that key, at any depth."""
    for key, inner in value.items() if isinstance(value, dict) else ():
        for item in inner if isinstance(inner, list) else (inner,):
            if isinstance(item, str):
                yield key, item
            yield from _amounts(item)
