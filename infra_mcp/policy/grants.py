"""What a circle is granted, asked one question at a time. Pure; each question answers None or a refusal.

A refusal speaks of the caller's own circle and of what the caller sent, and of nothing else: what exists elsewhere
reads the same as what does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from infra_mcp.model.action import Deploy, ProvisionNamespace
from infra_mcp.model.peer import Caller
from infra_mcp.policy.grammar import bytes_of, is_image, matches, millicores
from infra_mcp.policy.rules import Policy
from infra_mcp.policy.sections import AppRules, CircleRules, LimitRules

__all__ = ["Refusal", "fixed_labels", "image", "images_hint", "namespace", "refusals"]

# Labels by which clusters switch protections on and off carry a prefix. These recommended ones switch nothing.
FREE_LABELS: Final = frozenset(
    f"app.kubernetes.io/{name}" for name in ("name", "instance", "version", "component", "part-of")
)
_LISTED = 8
_LONGEST = 80


class Refusal(NamedTuple):
    """Why not: the rule that decided, in words, and what would pass."""

    rule: str
    reason: str
    would_pass: str


def _some(values: Iterable[str]) -> str:
    """A list for people, bounded."""
    listed = [value[:_LONGEST] for value in values]
    return ", ".join(listed[:_LISTED]) + (", …" if len(listed) > _LISTED else "")


def refusals(policy: Policy, caller: Caller, action: ProvisionNamespace | Deploy) -> Iterator[Refusal]:
    """Every reason against the action, the first to be told first. None at all means that the circle is granted it."""
    circle = caller.circle
    if circle is None:
        yield Refusal(
            "caller.circle",
            f"{caller.name} belongs to no circle, and so may look and decide but change nothing.",
            "The same request from a peer, with its own token.",
        )
        return
    rules = policy.circle(circle)
    if rules is None:
        yield Refusal(
            f"circles.{circle}",
            f"The policy grants nothing to circle {circle}.",
            f"A section [circles.{circle}] in infra.toml, accepted by an operator.",
        )
        return
    if action.action not in rules.actions:
        yield Refusal(
            f"circles.{circle}.actions",
            f"Circle {circle} may not {action.action}.",
            f"One of its actions: {_some(rules.actions)}." if rules.actions else "No action is granted to this circle.",
        )
        return
    if policy.cluster_name(action.cluster) is None:
        yield Refusal(
            "clusters",
            "The cluster asked for is none the policy names." if policy.clusters else "The policy names no cluster.",
            f"One of: {_some(policy.clusters)}; or leave it out." if policy.clusters else "A [clusters.NAME] section.",
        )
        return
    if isinstance(action, ProvisionNamespace):
        yield from _provision(policy, circle, rules, action)
    else:
        yield from _deploy(policy, caller, circle, action)


def _provision(policy: Policy, circle: str, rules: CircleRules, action: ProvisionNamespace) -> Iterator[Refusal]:
    yield from namespace(policy, circle, action.namespace)
    yield from fixed_labels(action.labels)
    missing = [name for name in action.pull_secrets if not policy.granted(circle, name)]
    if missing:
        yield Refusal(
            f"circles.{circle}.pull_secrets",
            f"Circle {circle} is not granted a pull secret {_some(missing)}.",
            f"Its own: {_some(rules.pull_secrets)}." if rules.pull_secrets else "No pull secret is granted to it.",
        )
    for asked in (action.quota, action.limits):
        if asked is not None:
            yield from _numbers(circle, rules.limits, asked.cpu, asked.memory)


def _deploy(policy: Policy, caller: Caller, circle: str, action: Deploy) -> Iterator[Refusal]:
    app = policy.app(action.app)
    if app is None or app.owner != caller.name:
        own = sorted(name for name, one in policy.apps.items() if one.owner == caller.name)
        yield Refusal(
            f"apps.{action.app}",
            f"There is no app {action.app}, or it is not one of {caller.name}'s.",
            f"One of its own: {_some(own)}." if own else f"The catalogue has no app of {caller.name}.",
        )
        return
    yield from _at_home(policy, action, app)
    yield from namespace(policy, circle, app.workload_parts.namespace)
    asked = app.image_for(action.version)
    if action.version.casefold() == "latest" or asked.rpartition(":")[2].casefold() == "latest":
        yield Refusal(
            "version.latest",
            "The tag latest moves, so nobody could tell which version landed.",
            "The version's own tag.",
        )
    yield from image(policy, circle, asked)


def _at_home(policy: Policy, action: Deploy, app: AppRules) -> Iterator[Refusal]:
    home = policy.cluster_name(app.cluster)
    if policy.cluster_name(action.cluster) != home:
        yield Refusal("clusters", f"App {action.app} does not run in that cluster.", f"Cluster {home}, or none named.")


def namespace(policy: Policy, circle: str, name: str) -> Iterator[Refusal]:
    """Whether a namespace is one of the circle's. The answer is the same for one that exists and one that does not."""
    if not policy.reaches(circle, name):
        own = policy.circles[circle].namespaces
        yield Refusal(
            f"circles.{circle}.namespaces",
            f"Namespace {name} is not one of circle {circle}'s.",
            f"A namespace named {_some(own)}." if own else "No namespace is granted to this circle.",
        )


def image(policy: Policy, circle: str, reference: str) -> Iterator[Refusal]:
    """Whether an image is one the circle may run: the whole reference, tag and all, against its patterns."""
    own = policy.circles[circle].images
    if not (is_image(reference) and any(matches(pattern, reference) for pattern in own)):
        yield Refusal(
            f"circles.{circle}.images",
            f"Image {reference[:200]} is not one circle {circle} may run.",
            images_hint(own),
        )


def images_hint(patterns: Iterable[str]) -> str:
    """What images would pass."""
    shown = _some(patterns)
    return f"An image of {shown}." if shown else "No image is granted to this circle."


def fixed_labels(labels: Iterable[str]) -> Iterator[Refusal]:
    """Prefixed labels switch protections (pod security, admission, our own fence): not by request."""
    held = [key for key in labels if "/" in key and key not in FREE_LABELS]
    if held:
        yield Refusal(
            "labels.reserved",
            f"A request cannot set the label {_some(held)}: labels with a prefix switch protections of the cluster.",
            "Labels without a prefix, or " + ", ".join(sorted(FREE_LABELS)) + ".",
        )


def _numbers(circle: str, limits: LimitRules, cpu: str | None, memory: str | None) -> Iterator[Refusal]:
    over = []
    if cpu and (limits.cpu is None or millicores(cpu) > millicores(limits.cpu)):
        over.append(("cpu", cpu, limits.cpu))
    if memory and (limits.memory is None or bytes_of(memory) > bytes_of(limits.memory)):
        over.append(("memory", memory, limits.memory))
    if over:
        yield Refusal(
            f"circles.{circle}.limits",
            f"Circle {circle} may not ask for " + " and ".join(f"{key} {asked}" for key, asked, _ in over) + ".",
            "; ".join(f"{key} up to {limit}" if limit else f"no {key}: none is granted" for key, _, limit in over)
            + ".",
        )
