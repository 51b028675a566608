"""Faults of a policy that no key shows alone: unknown names, and grants that would break the isolation of circles."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from infra_mcp.model.approval import SIGNED
from infra_mcp.model.names import alike
from infra_mcp.model.schema import path
from infra_mcp.policy import oidc
from infra_mcp.policy.approvals import AT_FORGE, BY_MERGE
from infra_mcp.policy.sections import AppRules, CircleRules, GrantRules

if TYPE_CHECKING:
    from infra_mcp.policy.evidence import EvidenceRules
    from infra_mcp.policy.policy import Policy
    from infra_mcp.policy.restrictions import Require

PLAIN: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")  # the keys that a message repeats


def _path(*steps: str) -> str:
    return path(steps, "the file", PLAIN)


def faults(policy: Policy) -> Iterator[str]:
    """Every fault of a policy whose keys are each well formed."""
    for name, circle in policy.circles.items():
        yield from _circle(policy, name, circle)
    yield from _paths(policy)
    yield from _forge(policy)
    for name, app in policy.apps.items():
        yield from _app(policy, name, app)
    for name, hook in policy.hooks.items():
        if len({hook.peer is None, hook.circle is None, hook.notify is None}) > 1:
            yield f"{_path('hooks', name)}: peer, circle and notify belong together"
        if hook.circle is not None and hook.circle not in policy.circles:
            yield f"{_path('hooks', name, 'circle')} names no circle of the policy"
    for key, why in oidc.faults(policy.oidc, policy.circles):
        yield f"{_path(*key)} {why}"
    yield from _grant(policy, policy.attend, "attend")
    yield from _signers(policy)
    for section in ("rules", "freeze", "protected"):
        for name, times in Counter(one.id for one in getattr(policy, section)).items():
            if times > 1:
                yield f"{section}: the id {name} is there twice"


def _signers(policy: Policy) -> Iterator[str]:
    """Faults of the keys of approvers: too few, or one of two people."""
    able = sum(1 for keys in policy.signers.values() if keys)
    for rule in policy.rules:
        if rule.require is None or rule.require.strength != SIGNED:
            continue
        if rule.require.by != "operator":
            yield f"rules: {rule.id}: a merge or a review at the forge is not signed; leave strength out"
        elif rule.require.approvals > able:
            yield f"rules: {rule.id} requires {rule.require.approvals} signed approvals; signers with keys: {able}"
    owners: dict[str, str] = {}
    for name, keys in policy.signers.items():
        for key in keys:
            if (other := owners.setdefault(key, name)) != name:
                yield f"signers: {name} and {other} have the same key"
        for other in policy.signers:
            if name < other and alike(name, other):
                yield f"signers: {name} and {other} look alike"


def _grant(policy: Policy, grant: GrantRules, *where: str) -> Iterator[str]:
    for pattern in grant.namespaces:
        if "*" not in pattern and any(pattern == c.service_accounts for c in policy.clusters.values()):
            yield f"{_path(*where, 'namespaces')} holds the namespace of the service accounts"
    for unknown in sorted(set(grant.pull_secrets) - set(policy.pull_secrets)):
        yield f"{_path(*where, 'pull_secrets')}: there is no pull_secrets.{unknown}"


def _paths(policy: Policy) -> Iterator[str]:
    """Faults of roots and owners."""
    for number, root in enumerate(policy.tree.roots):
        if root.cluster is not None and root.cluster not in policy.clusters:
            yield f"tree.roots.{number}.cluster names no cluster of the policy"
    for name, zone in policy.zones.items():
        if zone.cluster is not None and zone.cluster not in policy.clusters:
            yield f"{_path('zones', name, 'cluster')} names no cluster of the policy"
    decided: dict[str, str | None] = {}
    for root in policy.tree.roots:
        if decided.setdefault(root.path, root.cluster) != root.cluster:
            yield f"tree.roots: {root.path} is there for two clusters"
    owners: dict[str, str] = {}
    for number, one in enumerate(policy.owners):
        if any(owners.setdefault(pattern, one.owner) != one.owner for pattern in one.paths):
            yield f"owners.{number}.paths: one of them has another owner already"


def _forge(policy: Policy) -> Iterator[str]:
    """Faults of how changes get to the branch."""
    if policy.proposes and policy.forge.kind is None:
        yield "forge.kind is missing: pull requests are opened at a forge"
    by_path = [number for number, root in enumerate(policy.tree.roots) if root.write]
    if by_path and policy.tree.write == "local":
        yield f"tree.roots.{by_path[0]}.write: tree.write is local, so nothing is pushed or proposed"
    if policy.tree.fallback and policy.tree.write != "push":
        yield "tree.fallback says what follows a refused push, and tree.write is not push"
    for rule in policy.rules:
        if rule.require and rule.require.by in AT_FORGE:
            yield from (f"rules: {rule.id} wants {fault}" for fault in _at_forge(policy, rule.require))


def _at_forge(policy: Policy, require: Require) -> Iterator[str]:
    """Why the approvals that a rule wants at the forge cannot come."""
    what = "a merge" if require.by == BY_MERGE else "reviews"
    if policy.tree.write != "pull-request":
        yield f"{what} as approval, and tree.write is not pull-request"
    if policy.forge.merge == "auto":  # by the forge's own rules, which need not ask for the same
        yield f"{what} by people as approval, and forge.merge lets the forge merge by itself"
    operators = set(policy.forge.operators.values())
    if not operators:
        yield f"{what} as approval, and forge.operators maps no account to an operator"
    elif len(operators) < require.approvals:
        yield f"{require.approvals} {what} as approval, and forge.operators names fewer operators: {len(operators)}"


def _app(policy: Policy, name: str, app: AppRules) -> Iterator[str]:
    where = ("apps", name)
    if app.owner is None and not policy.owners:
        yield f"{_path(*where, 'owner')} is missing"
    named: list[tuple[tuple[str, ...], str | None, Sequence[str]]] = [
        ((*where, "cluster"), app.cluster, [app.file] if app.file else []),
        *(((*where, "environments", one, "cluster"), its.cluster, its.paths) for one, its in app.environments.items()),
    ]
    for key, cluster, paths in named:
        if cluster is not None and cluster not in policy.clusters:
            yield f"{_path(*key)} names no cluster of the policy"
        elif cluster is not None and not all(_may_be_in(policy, cluster, path) for path in paths):
            yield f"{_path(*key)}: its files are below a root of another cluster"
    evidence: list[tuple[tuple[str, ...], EvidenceRules | None]] = [(where, app.evidence)]
    evidence += [((*where, "environments", one), its.evidence) for one, its in app.environments.items()]
    ground = {"forge": policy.forge.kind is not None, "clusters": bool(policy.clusters), "proposes": policy.proposes}
    for at, rules in evidence:
        for wrong, why in rules.faults(**ground) if rules else ():
            yield f"{_path(*at, 'evidence', *wrong.split('.'))} {why}"


def _may_be_in(policy: Policy, cluster: str, path: str) -> bool:
    root = policy.root_of(path)
    return root is None or root.cluster in (None, cluster)


def _circle(policy: Policy, name: str, circle: CircleRules) -> Iterator[str]:
    yield from _grant(policy, circle, "circles", name)
    if circle.helm and f"{name}-helm" in policy.circles:
        yield f"{_path('circles', f'{name}-helm')} would have the identity that Helm has for circle {name}"
    targets = Counter(policy.pull_secrets[s].target for s in set(circle.pull_secrets) & set(policy.pull_secrets))
    for target, times in targets.items():
        if times > 1:
            yield f"{_path('circles', name, 'pull_secrets')}: two of them would be copied to the Secret {target}"
    for secret, rules in policy.pull_secrets.items():
        # Within its namespaces a circle can replace what others would then copy.
        if secret not in circle.pull_secrets and policy.reaches(name, rules.place.namespace):
            where = _path("circles", name, "namespaces")
            yield f"{where} reaches the source of pull_secrets.{secret}, which is not granted to it"
