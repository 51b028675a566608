"""How the scope of a target is granted, by its system: a namespace, Helm in one, a record, a workspace. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from infra_mcp.model.effect import Change
from infra_mcp.model.target import Target
from infra_mcp.policy.grammar import matches
from infra_mcp.policy.grants import NONE, Grant, Refusal, namespace, some
from infra_mcp.policy.policy import Policy

CARRIED_OUT: Final = frozenset({"kubernetes", "helm", "terraform", "dns"})  # deliveries whose drivers read the files
OF_MODULES: Final = "terraform"  # the delivery of files in HCL, wherever they are
# The action by which a peer would ask for what a person changes below another delivery; none where there is no such.
ASKED_BY: Final = {"terraform": "terraform_apply", "dns": "dns_record"}
BY_CLUSTER: Final = frozenset({"kubernetes", "helm"})  # systems whose places are clusters


def asked_by(setting: str) -> str:
    """The action by which a peer would ask for another value of a setting."""
    return "deploy" if setting in {"version", "chart"} else "configure"


def scope(policy: Policy, to: Grant, target: Target) -> Iterator[Refusal]:
    """Whether a target's scope is granted; a system that policy does not know is not."""
    check = SCOPES.get(target.system)
    if check is None:
        yield Refusal("effect.system", f"Policy cannot grant {target}, of {target.system[:40]}.", "Nothing.")
    else:
        yield from check(policy, to, target)


def change_scope(policy: Policy, to: Grant, change: Change) -> Iterator[Refusal]:
    """The same for a change; what Helm writes must be where Helm is granted, wherever its release is."""
    target = change.target
    if target.system not in BY_CLUSTER:
        yield from scope(policy, to, target)
        return
    key = ("scope", to.rule, target.system, change.identity, target.scope, target.home)
    yield from policy.once(key, lambda: tuple(_cluster_scope(policy, to, change)))


def _cluster_scope(policy: Policy, to: Grant, change: Change) -> Iterator[Refusal]:
    target = change.target
    yield from scope(policy, to, target)
    if change.identity == "helm" and target.system == "kubernetes" and target.home is not None:
        yield from helm(policy, to, target.home)


def _kubernetes(policy: Policy, to: Grant, target: Target) -> Iterator[Refusal]:
    if target.home is not None:
        yield from namespace(policy, to, target.home)


def helm(policy: Policy, to: Grant, name: str) -> Iterator[Refusal]:
    """Whether a namespace is granted, and Helm in it."""
    yield from namespace(policy, to, name)
    if not any(matches(pattern, name) for pattern in to.own.helm):
        yield Refusal(
            f"{to.rule}.helm",
            f"{to.name} may not use Helm in namespace {name}, where it could read every Secret.",
            to.hint("helm", f"A release in {some(to.own.helm)}.", NONE.format("namespace for Helm")),
        )


def record(policy: Policy, to: Grant, zone: str, name: str) -> Iterator[Refusal]:
    """Whether the name of a record is granted in a zone; `@` is the zone's apex."""
    if zone not in to.own.zones or zone not in policy.zones:
        yield Refusal(
            f"{to.rule}.zones",
            f"{to.name} may not use zone {zone}.",
            to.hint("zones", f"A record of {some(to.own.zones)}.", NONE.format("zone")),
        )
    elif not any(matches(pattern, name) for pattern in to.own.records):
        yield Refusal(
            f"{to.rule}.records",
            f"{to.name} may not set {name} of {zone}.",
            to.hint("records", f"A name such as {some(to.own.records)}.", NONE.format("name of a record")),
        )


def workspace(policy: Policy, to: Grant, name: str) -> Iterator[Refusal]:
    """Whether a workspace is granted."""
    if name not in to.own.workspaces or name not in policy.workspaces:
        yield Refusal(
            f"{to.rule}.workspaces",
            f"{to.name} may not use workspace {name}.",
            to.hint("workspaces", f"One of: {some(to.own.workspaces)}.", NONE.format("workspace")),
        )


SCOPES: Final[dict[str, Callable[[Policy, Grant, Target], Iterator[Refusal]]]] = {
    "kubernetes": _kubernetes,
    "helm": lambda policy, to, target: helm(policy, to, target.scope or ""),
    "dns": lambda policy, to, target: record(policy, to, target.place, target.name),
    "terraform": lambda policy, to, target: workspace(policy, to, target.place),
}
