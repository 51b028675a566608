"""Objects that no request changes or removes, whatever brings the change: those of [[protected]], and our own. Pure.

Our own are protected without being named: the namespace of our accounts, their roles and bindings, and the admission
policies that confine them. No key of policy lifts it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from infra_mcp.model.effect import Change
from infra_mcp.model.marks import BINDINGS
from infra_mcp.policy.actions.base import FAULT
from infra_mcp.policy.grammar import expression, matches, protected
from infra_mcp.policy.grants import Refusal
from infra_mcp.policy.guard.provider_objects import OBJECT, UNKNOWN
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.restrictions import ProtectedRules

_BY_CLUSTER: Final = frozenset({"kubernetes", "helm"})
_NOTHING: Final = "Nothing that a request could ask for: people change it, outside of infra-mcp."
OWN: Final = "protected.infra-mcp"
_MEMO: Final = "protected"
_NAMESPACES: Final = "protected.namespaces"
# Only the server's own identity creates these.
_BOOTSTRAP: Final = frozenset({"Namespace", "rbac.authorization.k8s.io/RoleBinding"})
_CLUSTER_WIDE: Final = frozenset(
    {"clusterrole", "clusterrolebinding", "validatingadmissionpolicy", "validatingadmissionpolicybinding"}
)
_ROLES: Final = frozenset({"role", "rolebinding"})


class Place(NamedTuple):
    """An object that a change is about, as far as it is known."""

    scope: str | None  # None: outside of namespaces
    kind: str  # group and kind
    name: str
    has_group: bool = True  # a resource of Terraform tells the kind alone, without its group and in small letters

    @property
    def home(self) -> str | None:
        """The namespace that it is in, or is."""
        return self.scope if self.scope is not None else self.name if self.bare == "namespace" else None

    @property
    def bare(self) -> str:
        """The kind alone, in small letters."""
        return self.kind.rpartition("/")[2].lower()


def refusals(policy: Policy, change: Change, *, is_rendered: bool) -> Iterator[Refusal]:
    """Every reason against one change, as it is about an object that no request changes.

    Args:
        policy: in force.
        change: of any system.
        is_rendered: whether a chart or a build brings it. The circles' bindings are made by the actions themselves, and
            `decide` judges how; no rendering touches them.
    """
    if change.operation == "unchanged":
        return
    target = change.target
    if target.system in _BY_CLUSTER:
        place = Place(target.scope, target.kind, target.name)
        yield from _against(policy, place, target, bindings=is_rendered)
        return
    for trait in change.traits or ():
        if trait.rule == OBJECT:
            yield from _of_provider(policy, trait.value, target.name[:200])


def _of_provider(policy: Policy, text: str, address: str) -> Iterator[Refusal]:
    scope, kind, name = text.split("/", 2)
    what = f"{address} ({kind} {name})" if UNKNOWN not in (scope, kind) else address
    if UNKNOWN in {scope, kind, name}:
        why = f"{address} is an object of a cluster whose namespace, kind or name is not known before it is made."
        yield Refusal(_NAMESPACES, why, "A configuration that names all three as texts.")
        return
    place = Place(scope or None, kind, name, has_group=False)
    if place.home is not None and protected(place.home, ""):
        yield Refusal(_NAMESPACES, f"{what} is in the protected namespace {place.home}.", _NOTHING)
    yield from _against(policy, place, what, bindings=True)


def _against(policy: Policy, place: Place, what: object, *, bindings: bool) -> Iterator[Refusal]:
    key = (_MEMO, place.home, place.kind, place.has_group)
    may_be_own, entries, names = policy.once(key, lambda: _entries(policy, place))
    if may_be_own and (is_own(policy, place) or (bindings and place.bare == "rolebinding" and place.name in BINDINGS)):
        why = "It is part of infra-mcp's own identity, or of what confines it"
        yield Refusal(OWN, f"{why}: {what}.", _NOTHING)
    if names.fullmatch(place.name) is None:
        return
    for one in entries:
        if one.names is None or any(matches(pattern, place.name) for pattern in one.names):
            why = f" ({one.reason})" if one.reason else ""
            yield Refusal(f"protected.{one.id}", f"No request changes {what}{why}.", _NOTHING)


def is_own_identity(policy: Policy, text: str) -> bool:
    """Whether an account or a role, as `NAMESPACE/KIND/NAME`, is one of ours."""
    scope, kind, name = text.split("/", 2)
    return scope == "*" or is_own(policy, Place(scope or None, kind, name))  # those of any namespace include ours


def is_own(policy: Policy, place: Place) -> bool:
    """Whether an object is one of ours in some cluster of the policy, as `rbac.render` names them."""
    kind = place.bare
    for cluster in policy.clusters.values():
        own = cluster.service_accounts
        if place.home == own:
            return True
        named = place.name == own or place.name.startswith(f"{own}-")
        if place.scope is None and kind in _CLUSTER_WIDE and named:
            return True
        if kind in _ROLES and place.name.startswith((f"{own}-pull-", f"{own}-zone-", f"{own}-as-")):
            return True
    return False


def _entries(policy: Policy, place: Place) -> tuple[bool, tuple[ProtectedRules, ...], re.Pattern[str]]:
    """What holds for an object but for its name: whether it may be ours, the entries that match, and their names."""
    spaces = {one.service_accounts for one in policy.clusters.values()}
    may_be_own = place.home in spaces or place.bare in _CLUSTER_WIDE | _ROLES
    found = tuple(one for one in policy.protected if _matches(one, place))
    patterns = {pattern for one in found for pattern in (("*",) if one.names is None else one.names)}
    return (
        may_be_own,
        found,
        re.compile("|".join(f"(?:{expression(pattern)})" for pattern in sorted(patterns)) or "(?!)", re.DOTALL),
    )


def _matches(rules: ProtectedRules, place: Place) -> bool:
    def is_kind(pattern: str) -> bool:
        return matches(pattern, place.kind) or (
            not place.has_group and matches(pattern.rpartition("/")[2].lower(), place.bare)
        )

    home = place.home
    return (
        rules.namespaces is None or (home is not None and any(matches(one, home) for one in rules.namespaces))
    ) and (rules.kinds is None or any(is_kind(one) for one in rules.kinds))


def identity_refusals(change: Change) -> Iterator[Refusal]:
    """The server's identity only creates a namespace and its binding, and never changes them."""
    target = change.target
    if change.by:
        if change.identity == "server":
            yield Refusal("effect.identity", f"The plan would write {target}, of {change.by}, as the server.", FAULT)
        return
    bootstrap = target.kind in _BOOTSTRAP and (target.kind == "Namespace" or target.name in BINDINGS)
    if (change.identity == "server") != bootstrap:
        yield Refusal("effect.identity", f"The plan would write {target} as the {change.identity}'s identity.", FAULT)
    if bootstrap and change.operation not in {"create", "unchanged"}:
        what = f"{target} exists and differs from the request; infra-mcp only creates namespaces and bindings."
        yield Refusal("effect.identity", what, "A cluster admin changes it, or the request leaves it as it is.")
