"""Planning a namespace: what is there already, what belongs there, and what remains to be done."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from anyio import to_thread

from infra_mcp.clients.kube import Cluster
from infra_mcp.drivers.manifests import desired
from infra_mcp.drivers.manifests.edit import edited
from infra_mcp.drivers.manifests.prepared import Item, Prepared, Task, Wanted, is_within
from infra_mcp.drivers.manifests.propose import item_for, plan_of
from infra_mcp.drivers.manifests.pull_secrets import PullSecret, PullSecrets
from infra_mcp.errors import InfraError
from infra_mcp.model.action import ProvisionNamespace
from infra_mcp.model.marks import CIRCLE, PULL_SECRETS, REQUEST
from infra_mcp.model.plan import ObjectRef
from infra_mcp.repository.value import Tree
from infra_mcp.together import both, together

__all__ = ["plan"]


@dataclass
class _Ground:
    """The namespace as it is: absent, ours and bound, or (an error) there and not ours."""

    namespace: dict[str, Any] | None = None
    binding: dict[str, Any] | None = None
    inside: dict[str, dict[str, Any] | None] = field(default_factory=dict)


async def plan(task: Task, action: ProvisionNamespace, tree: Tree, cluster: Cluster, secrets: PullSecrets) -> Prepared:
    """Plan a ProvisionNamespace. Reads only.

    Raises:
        InfraError: `namespace-not-bound`, `exists`, `pull-secret-unavailable`, and what editing and proposing raise.
    """
    space, bound, account = desired.refs(task.cluster, action.namespace)
    reads = [
        partial(secrets.read, task.policy, name, action.namespace, as_=task.user, bound=None)
        for name in sorted(action.pull_secrets)
    ]
    ground, sources = await both(partial(_survey, task, action, cluster, (space, bound)), partial(together, reads))
    bounds = desired.bounds(action, task.cluster)
    if ground.binding is not None:
        inside = [account] * bool(sources) + [want.ref for want in bounds]
        found = await together(partial(cluster.get, ref, as_=task.user) for ref in inside)
        ground.inside = {ref.key: live for ref, live in zip(inside, found, strict=True)}

    wanted = [
        desired.namespace(space, action, _circle_label(task, ground)),
        desired.binding(bound, task.user, task.role),
    ]
    in_git = await to_thread.run_sync(tree.find, bound)
    if ground.binding is not None and in_git is None and ground.namespace is not None:
        # An admin bound this namespace: that binding is theirs, and git need not say it.
        wanted[1] = replace(wanted[1], in_git=_is_ours(ground.binding))
    copies = [Wanted(s.copy_ref, s.body, in_git=False, content=s.content) for s in sources]
    if sources:
        wanted.append(await to_thread.run_sync(_account, account, sources, ground, tree))
    wanted += bounds
    after, edits, files = await edited(task, tree, wanted)

    bootstrap = ground.binding is None
    live = {space.key: ground.namespace, bound.key: ground.binding} | ground.inside
    live |= {s.copy_ref.key: None if bootstrap else s.live for s in sources}
    items = await together(
        partial(item_for, task, cluster, want, live.get(want.ref.key), bootstrap) for want in [*wanted, *copies]
    )
    _only_creates_outside(items)
    names = {
        "namespace": action.namespace,
        "pull_secrets": ",".join(s.name for s in sources),
        "secrets": ",".join(s.copy_ref.name for s in sources),
    }
    made = plan_of(task, tree, items, files, edits)
    return Prepared(made, after, tuple(items), bootstrap=bootstrap, failure="hold", names=names)


async def _survey(
    task: Task, action: ProvisionNamespace, cluster: Cluster, refs: tuple[ObjectRef, ObjectRef]
) -> _Ground:
    """The server's own two reads: outside its namespaces a circle sees only 403."""
    live, binding = await together(partial(cluster.get, ref, as_=None) for ref in refs)
    if live is None:
        return _Ground()
    ground = _Ground(live, binding)
    name = refs[0].name
    if live["metadata"].get("deletionTimestamp"):
        raise InfraError("exists", f"Namespace {name} is being deleted.", next_step="Send it again when it is gone.")
    if ground.binding is None:
        if not task.own.made(refs[0], desired.namespace(refs[0], action, task.circle).sets, live):
            raise InfraError(
                "namespace-not-bound", f"Namespace {name} was there before and is not bound to this circle."
            )
    elif not is_within(
        desired.binding(refs[1], task.user, task.role).sets["subjects"], ground.binding.get("subjects") or []
    ):
        raise InfraError("namespace-not-bound", f"Namespace {name} is not bound to this circle.")
    return ground


def _is_ours(live: dict[str, Any]) -> bool:
    """Whether some request of ours made the binding. Git says more or less by that; nothing is granted by it."""
    return REQUEST in (live["metadata"].get("annotations") or {})


def _circle_label(task: Task, ground: _Ground) -> str | None:
    if ground.namespace is None:
        return task.circle
    return (ground.namespace["metadata"].get("labels") or {}).get(CIRCLE)


def _account(ref: ObjectRef, sources: list[PullSecret], ground: _Ground, tree: Tree) -> Wanted:
    """The service account with what it has already, live and in git, and what this request adds.

    `imagePullSecrets` is one atomic list: whoever sets it sets all of it, so it is planned on the live one.
    """
    located, live = tree.find(ref), ground.inside.get(ref.key) or {}
    listed: list[str] = []
    names = {source.name for source in sources}
    for known in (live, located.object if located else {}):
        listed += [entry["name"] for entry in known.get("imagePullSecrets") or [] if entry["name"] not in listed]
        marked = ((known.get("metadata") or {}).get("annotations") or {}).get(PULL_SECRETS, "")
        names |= {name for name in marked.split(",") if name}
    listed += [s.copy_ref.name for s in sources if s.copy_ref.name not in listed]
    return desired.service_account(ref, names, listed)


def _only_creates_outside(items: list[Item]) -> None:
    """The server's identity creates namespaces and bindings; it changes none that are there."""
    for item in items:
        if item.wanted.identity == "server" and item.change.operation == "update":
            fields = ", ".join(".".join(str(s) for s in f.path) for f in item.change.fields)
            what = f"{item.change.ref} is there and differs in {fields}; infra-mcp only creates such objects."
            raise InfraError("cluster-denied", what, next_step="A cluster admin changes it.")
