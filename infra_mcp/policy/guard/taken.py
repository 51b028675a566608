"""Finds hosts that a change routes and that an object of another namespace routes already, as the repository has it.

Listeners, certificates and DNS entries are left out: a gateway or a certificate in a namespace of its own has the
same hosts by design.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Final

from infra_mcp.model.effect import Change, Trait
from infra_mcp.policy.guard.kinds import kind_of
from infra_mcp.policy.guard.network import ANY, hosts
from infra_mcp.policy.guard.rules import HOSTS, TAKEN
from infra_mcp.repository.value import Tree

_NO_ROUTES: Final = frozenset(
    {"Certificate", "DNSEndpoint", "Gateway", "Host", "ListenerSet", "ServiceEntry", "XListenerSet"}
)
_SPEC: Final = ".spec."  # hosts of annotations are DNS names of load balancers


def with_taken(tree: Tree, changes: Iterable[Change]) -> tuple[Change, ...]:
    """The changes, each with a fact of `hosts.taken` for every host that another namespace routes. Blocks.

    Args:
        tree: the repository with the change; only objects that name their namespace are compared, of the same cluster.
        changes: of a plan.
    """
    return tuple(_with(tree, one) for one in changes)


def _with(tree: Tree, change: Change) -> Change:
    target = change.target
    if change.operation in {"delete", "unchanged"} or target.scope is None or _plain(target.kind) in _NO_ROUTES:
        return change
    routed = {one.value: one.where for one in change.traits or () if one.rule == HOSTS and one.where.startswith(_SPEC)}
    taken = [
        Trait(rule=TAKEN, where=where, value=host)
        for host, where in sorted(routed.items())
        if host != ANY and _is_taken(tree, host, target.scope, target.place)
    ]
    return change.model_copy(update={"traits": (*(change.traits or ()), *taken)}) if taken else change


def _is_taken(tree: Tree, host: str, namespace: str, cluster: str) -> bool:
    # An annotation of ingress-nginx adds the same host with `www.`, or without.
    also = host.removeprefix("www.") if host.startswith("www.") else f"www.{host}"
    for one in chain(tree.mentioning(host), tree.mentioning(also)):
        kind = kind_of(one.object)
        if one.ref.namespace in {None, namespace} or one.ref.cluster != cluster or _plain(kind) in _NO_ROUTES:
            continue
        if any(found.value == host for found in hosts(kind, one.object) if found.rule == HOSTS):
            return True
    return False


def _plain(kind: str) -> str:
    return kind.rpartition("/")[2]
