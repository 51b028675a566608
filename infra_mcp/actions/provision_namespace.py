"""Provision: a namespace, its binding to the circle, its service account's pull secrets and its bounds."""

from __future__ import annotations

from typing import Any

from anyio import to_thread

from infra_mcp.actions.base import Ensured, Look, ensure
from infra_mcp.gather import gather_pair
from infra_mcp.model.actions.provision_namespace import ProvisionNamespace
from infra_mcp.model.marks import BINDING, CIRCLE, OWNER, PULL_SECRETS, REQUEST
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.repository.edits import Beside, Edit, Goal

Sets = tuple[ObjectRef, dict[str, Any]]


async def edit(look: Look, action: ProvisionNamespace) -> Edit:
    """Say in the repository what the namespace is to hold; copies of pull secrets have no file.

    Raises:
        InfraError: `ambiguous-object`, `manifest-invalid`, as finding and editing do.
    """
    space, bound, account = _refs(look.place, action.namespace)
    live, binding = await gather_pair(lambda: look.live(space.target), lambda: look.live(bound.target))
    holder = await look.live(account.target) if action.pull_secrets and binding is not None else None
    # Every file that could not be read is looked through, so this is no work for the event loop.
    return await to_thread.run_sync(_edit, look, action, live, binding, holder)


def _edit(
    look: Look,
    action: ProvisionNamespace,
    live: dict[str, Any] | None,
    binding: dict[str, Any] | None,
    holder: dict[str, Any] | None,
) -> Edit:
    space, bound, account = _refs(look.place, action.namespace)
    wanted = [_namespace(space, look, action, live)]
    beside: list[Beside] = []
    if live is not None and binding is not None and look.tree.find(bound) is None and not _is_ours(binding):
        # An admin bound this namespace: that binding is theirs, and git need not say it.
        beside.append(_beside(bound, "ensure", body=_binding(bound, look)))
    else:
        wanted.append((bound, _binding(bound, look)))
    if action.pull_secrets:
        wanted.append(_account(account, look, action, holder or {}))
    wanted += _bounds(look.place, action)
    done = Ensured(look.tree, (), ())
    for ref, sets in wanted:
        more = ensure(look, done.tree, ref, sets)
        done = Ensured(more.tree, done.changes + more.changes, done.addressed + more.addressed)
    beside += [
        _beside(_secret(look, action.namespace, name), "pull-secret", name=name) for name in sorted(action.pull_secrets)
    ]
    return Edit(done.tree, Goal(title=f"Provision {action.namespace}"), done.changes, done.addressed, tuple(beside))


def _refs(cluster: str, name: str) -> tuple[ObjectRef, ObjectRef, ObjectRef]:
    """The namespace, its binding to a circle, and its default service account."""
    rbac = "rbac.authorization.k8s.io/v1"
    return (
        ObjectRef(cluster=cluster, api_version="v1", kind="Namespace", namespace=None, name=name),
        ObjectRef(cluster=cluster, api_version=rbac, kind="RoleBinding", namespace=name, name=BINDING),
        ObjectRef(cluster=cluster, api_version="v1", kind="ServiceAccount", namespace=name, name="default"),
    )


def _secret(look: Look, namespace: str, name: str) -> ObjectRef:
    rules = look.policy.pull_secrets[name]
    return ObjectRef(cluster=look.place, api_version="v1", kind="Secret", namespace=namespace, name=rules.target)


def _beside(ref: ObjectRef, work: str, **given: Any) -> Beside:  # noqa: ANN401 - JSON values
    return Beside(driver="kubernetes", target=ref.target, work=work, given=given)


def _is_ours(live: dict[str, Any]) -> bool:
    return REQUEST in (live["metadata"].get("annotations") or {})


def _body(ref: ObjectRef, **rest: Any) -> dict[str, Any]:  # noqa: ANN401 - manifests
    metadata: dict[str, Any] = {"name": ref.name}
    if ref.namespace:
        metadata["namespace"] = ref.namespace
    metadata.update(rest.pop("metadata", {}))
    return {"apiVersion": ref.api_version, "kind": ref.kind, "metadata": metadata, **rest}


def _namespace(ref: ObjectRef, look: Look, action: ProvisionNamespace, live: dict[str, Any] | None) -> Sets:
    """The namespace itself. One that was there before keeps its circle label, or has none."""
    circle = look.circle if live is None else (live["metadata"].get("labels") or {}).get(CIRCLE)
    labels = ({CIRCLE: circle} if circle else {}) | action.labels
    metadata: dict[str, Any] = {"labels": labels} if labels else {}
    if action.owner:
        metadata["annotations"] = {OWNER: action.owner}
    return ref, _body(ref, metadata=metadata)


def _binding(ref: ObjectRef, look: Look) -> dict[str, Any]:
    """The RoleBinding by which the circle's identity may work in the namespace."""
    rules = look.policy.clusters[look.place]
    _, _, account_namespace, account = look.policy.service_account(look.circle, look.place).split(":")
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": rules.circle_role}
    subject = {"kind": "ServiceAccount", "name": account, "namespace": account_namespace}
    return _body(ref, roleRef=role, subjects=[subject])


def _account(ref: ObjectRef, look: Look, action: ProvisionNamespace, live: dict[str, Any]) -> Sets:
    """The service account with what it has already, live and in git, and what this request adds.

    `imagePullSecrets` is one atomic list: whoever sets it sets all of it, so it is planned on the live one.
    """
    located = look.tree.find(ref)
    listed: list[str] = []
    names = set(action.pull_secrets)
    for known in (live, located.object if located else {}):
        listed += [entry["name"] for entry in known.get("imagePullSecrets") or [] if entry["name"] not in listed]
        marked = ((known.get("metadata") or {}).get("annotations") or {}).get(PULL_SECRETS, "")
        names |= {name for name in marked.split(",") if name}
    copies = [look.policy.pull_secrets[name].target for name in sorted(action.pull_secrets)]
    listed += [copy for copy in copies if copy not in listed]
    metadata = {"annotations": {PULL_SECRETS: ",".join(sorted(names))}}
    return ref, _body(ref, metadata=metadata, imagePullSecrets=[{"name": name} for name in listed])


def _bounds(cluster: str, action: ProvisionNamespace) -> list[Sets]:
    """Quota, container defaults and the default-deny network policy, as far as they were asked for."""
    made = []
    if action.quota and (hard := _quota(action)):
        made.append(_inside(action, cluster, "v1", "ResourceQuota", "quota", {"hard": hard}))
    if action.limits and (default := action.limits.model_dump(exclude_none=True)):
        spec = {"limits": [{"type": "Container", "default": default}]}
        made.append(_inside(action, cluster, "v1", "LimitRange", "limits", spec))
    if action.default_deny:
        deny = {"podSelector": {}, "policyTypes": ["Ingress"]}
        made.append(_inside(action, cluster, "networking.k8s.io/v1", "NetworkPolicy", "default-deny", deny))
    return made


def _quota(action: ProvisionNamespace) -> dict[str, str]:
    quota, hard = action.quota, dict[str, str]()
    if quota and quota.cpu:
        hard |= {"requests.cpu": quota.cpu, "limits.cpu": quota.cpu}
    if quota and quota.memory:
        hard |= {"requests.memory": quota.memory, "limits.memory": quota.memory}
    if quota and quota.pods:
        hard["pods"] = str(quota.pods)
    return hard


def _inside(action: ProvisionNamespace, cluster: str, version: str, kind: str, name: str, spec: dict[str, Any]) -> Sets:
    ref = ObjectRef(cluster=cluster, api_version=version, kind=kind, namespace=action.namespace, name=name)
    return ref, _body(ref, spec=spec)
