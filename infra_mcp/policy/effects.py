"""What a plan would really do, held against the policy. Pure.

`grants` looks at what was asked; this looks at what would be written, so that no fault in between (a file that says
something else, a driver that adds an object) turns a small grant into a large one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from infra_mcp.model.action import Deploy, ProvisionNamespace
from infra_mcp.model.marks import BINDING, CIRCLE
from infra_mcp.model.peer import Caller
from infra_mcp.model.plan import FieldChange, ObjectChange, Plan
from infra_mcp.policy import grants
from infra_mcp.policy.grammar import matches
from infra_mcp.policy.grants import Grant, Refusal
from infra_mcp.policy.rules import Policy

__all__ = ["objections", "touched"]

# The kinds each action writes, by API group; nothing else, whatever a plan says.
_WRITES: Final[dict[str, frozenset[tuple[str, str]]]] = {
    "provision_namespace": frozenset(
        {
            ("", "Namespace"),
            ("rbac.authorization.k8s.io", "RoleBinding"),
            ("", "ServiceAccount"),
            ("", "Secret"),
            ("", "ResourceQuota"),
            ("", "LimitRange"),
            ("networking.k8s.io", "NetworkPolicy"),
        }
    ),
    "deploy": frozenset({("apps", "Deployment"), ("apps", "StatefulSet"), ("apps", "DaemonSet")}),
}
# What only the server's own identity creates, since a circle cannot.
_BOOTSTRAP: Final = frozenset({("", "Namespace"), ("rbac.authorization.k8s.io", "RoleBinding")})
_FAULT = "This is not the caller's to change; an operator should look at the plan."


def touched(plan: Plan) -> frozenset[str]:
    """The namespaces a plan is about, those it only compares included."""
    return frozenset(change.ref.home for change in plan.effect.objects if change.ref.home)


def objections(
    policy: Policy, caller: Caller, action: ProvisionNamespace | Deploy, plan: Plan, *, attendant: bool = False
) -> Iterator[Refusal]:
    """Every reason against the plan's effect. The caller has passed `grants.refusals` before, with equal arguments."""
    circle = caller.circle or ""
    granted = grants.grants(policy, caller, attendant=attendant)
    cluster = policy.cluster_name(action.cluster)
    for change in plan.effect.objects:
        ref = change.ref
        if ref.cluster != cluster:
            yield Refusal("effect.cluster", f"The plan holds {ref} of another cluster.", _FAULT)
        if (ref.group, ref.kind) not in _WRITES[action.action]:
            yield Refusal("effect.kinds", f"A {action.action} writes no {ref.kind}, and the plan holds {ref}.", _FAULT)
        if not _addressed(policy, action, change):
            yield Refusal("effect.scope", f"The plan holds {ref}, which this {action.action} is not about.", _FAULT)
        for to in granted:
            if ref.home is not None:
                yield from grants.namespace(policy, to, ref.home)
            yield from grants.labels(to, _labels(change))
        yield from _identity(change)
        yield from _adoptions(policy, change)
        yield from _images(policy, granted, action, change)
        yield from _secret(policy, circle, action, change)


def _addressed(policy: Policy, action: ProvisionNamespace | Deploy, change: ObjectChange) -> bool:
    if isinstance(action, ProvisionNamespace):
        return change.ref.home == action.namespace
    app = policy.app(action.app)
    place = (change.ref.namespace, change.ref.kind, change.ref.name)
    return app is not None and place == tuple(app.workload_parts)


def _identity(change: ObjectChange) -> Iterator[Refusal]:
    """The server's identity makes a namespace and its binding, changes neither, and does nothing else."""
    ref = change.ref
    bootstrap = (ref.group, ref.kind) in _BOOTSTRAP and (ref.kind == "Namespace" or ref.name == BINDING)
    if (change.identity == "server") != bootstrap:
        what = f"The plan would write {ref} as the {change.identity}'s identity."
        yield Refusal("effect.identity", what, _FAULT)
    if bootstrap and change.operation == "update":
        what = f"{ref} is there and is not as asked; namespaces and bindings are only ever created."
        yield Refusal("effect.identity", what, "A cluster admin changes it, or the request leaves it as it is.")


def _labels(change: ObjectChange) -> list[str]:
    """The labels that a plan would set on a namespace, but for the one by which we know its circle."""
    found: list[str] = []
    for field in change.fields if change.ref.kind == "Namespace" else ():
        value: Any = field.after
        for step in reversed(field.path):
            value = {step: value} if isinstance(step, str) else {}
        labels = (value.get("metadata") or {}).get("labels") or {}
        found += [key for key in labels if key != CIRCLE]
    return found


def _adoptions(policy: Policy, change: ObjectChange) -> Iterator[Refusal]:
    for adoption in change.adoptions:
        if not any(matches(pattern, adoption.manager) for pattern in policy.tree.adopt):
            yield Refusal(
                "tree.adopt",
                f"{adoption.field} of {change.ref} belongs to {adoption.manager[:128]}.",
                "Ask its owner to change it, or an operator to list that manager in [tree] adopt.",
            )


def _images(
    policy: Policy, granted: tuple[Grant, ...], action: ProvisionNamespace | Deploy, change: ObjectChange
) -> Iterator[Refusal]:
    for reference in _new_images(change.fields):
        for to in granted:
            yield from grants.image(to, reference)
        app = policy.app(action.app) if isinstance(action, Deploy) else None
        if app is not None and isinstance(action, Deploy) and reference != app.image_for(action.version):
            what = f"The plan would set {reference[:200]}, and the deploy is to {app.image_for(action.version)}."
            yield Refusal("effect.scope", what, _FAULT)


def _new_images(fields: tuple[FieldChange, ...]) -> Iterator[str]:
    for field in fields:
        if not field.has:
            continue
        if field.path and field.path[-1] == "image":
            yield field.after if isinstance(field.after, str) else ""
        else:
            yield from _nested(field.after)


def _nested(value: Any) -> Iterator[str]:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "image":
                yield inner if isinstance(inner, str) else ""
            else:
                yield from _nested(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _nested(inner)


def _secret(
    policy: Policy, circle: str, action: ProvisionNamespace | Deploy, change: ObjectChange
) -> Iterator[Refusal]:
    if change.ref.kind != "Secret":
        return
    asked = action.pull_secrets if isinstance(action, ProvisionNamespace) else ()
    copies = {policy.pull_secrets[name].target for name in asked if policy.granted(circle, name)}
    if change.ref.name not in copies:
        yield Refusal(
            f"circles.{circle}.pull_secrets",
            f"The plan would write {change.ref}, which is no copy of a pull secret that was asked for.",
            _FAULT,
        )
