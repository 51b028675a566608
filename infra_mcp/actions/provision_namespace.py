"""Provision: a namespace, its binding to the circle, its service account's pull secrets and its limits."""

from functools import partial
from typing import Any

from anyio import to_thread

from infra_mcp.actions.base import Look, ensure
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather
from infra_mcp.model.actions.provision_namespace import ProvisionNamespace
from infra_mcp.model.marks import BINDING, CIRCLE, OWNER, PULL_SECRETS, REQUEST
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.policy.impersonation import bindings
from infra_mcp.repository.edits import Beside, Edit, Goal

Sets = tuple[ObjectRef, dict[str, Any]]
Live = dict[str, Any] | None


async def edit(look: Look, action: ProvisionNamespace) -> Edit:
    """Write the namespace's objects into the repository; copies of pull secrets have no file.

    Raises:
        InfraError: `not-found`: policy does not know the cluster or a pull secret; `ambiguous-object`,
            `manifest-invalid`: an object cannot be found or edited.
    """
    _require_known(look, action)
    space, account = _refs(look, action)
    refs = [ref for ref, _ in _bindings(look, action)]
    live, *there = await gather(partial(look.live, ref.target) for ref in (space, *refs))
    bound = dict(zip((ref.name for ref in refs), there, strict=True))
    holder = await look.live(account.target) if action.pull_secrets and bound[BINDING] is not None else None
    # In a thread, since it searches every file that could not be read.
    return await to_thread.run_sync(_edit, look, action, live, bound, holder)


def _require_known(look: Look, action: ProvisionNamespace) -> None:
    """What a request is judged by before, a preview is not."""
    lacking = [] if look.place in look.policy.clusters else ["clusters.NAME"]
    lacking += [f"pull_secrets.{name}" for name in sorted(action.pull_secrets) if name not in look.policy.pull_secrets]
    if lacking:
        what = f"Namespace {action.namespace} cannot be planned: infra.toml has no {', '.join(lacking)}."
        raise InfraError("not-found", what, next_step="Add it to infra.toml: docs/policy.md lists its keys.")


def _edit(look: Look, action: ProvisionNamespace, live: Live, bound: dict[str, Live], holder: Live) -> Edit:
    space, account = _refs(look, action)
    wanted = [_namespace(space, look, action, live)]
    beside: list[Beside] = []
    for ref, body in _bindings(look, action):
        there = bound[ref.name]
        if live is not None and there is not None and look.tree.find(ref) is None and not _is_ours(there):
            # An admin bound this namespace: that binding is theirs, and need not be in git.
            beside.append(_beside(ref, "ensure", body=body))
        else:
            wanted.append((ref, body))
    if action.pull_secrets:
        wanted.append(_account(account, look, action, holder or {}))
    wanted += _bounds(action, look.place)
    for name in sorted(action.pull_secrets):
        copy = look.policy.pull_secrets[name].target
        beside.append(_beside(_ref(action, look.place, "v1", "Secret", copy), "pull-secret", name=name))
    done = Edit(look.tree, Goal(title=f"Provision {action.namespace}"), beside=tuple(beside))
    for ref, sets in wanted:
        done = ensure(look, done, ref, sets)
    return done


def _refs(look: Look, action: ProvisionNamespace) -> tuple[ObjectRef, ObjectRef]:
    """The namespace and its default service account."""
    return (
        ObjectRef(cluster=look.place, api_version="v1", kind="Namespace", namespace=None, name=action.namespace),
        _ref(action, look.place, "v1", "ServiceAccount", "default"),
    )


def _ref(action: ProvisionNamespace, cluster: str, version: str, kind: str, name: str) -> ObjectRef:
    return ObjectRef(cluster=cluster, api_version=version, kind=kind, namespace=action.namespace, name=name)


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
    """The namespace itself. An existing one keeps its circle label, or has none."""
    circle = look.circle if live is None else (live["metadata"].get("labels") or {}).get(CIRCLE)
    labels = ({CIRCLE: circle} if circle else {}) | action.labels
    metadata: dict[str, Any] = {"labels": labels} if labels else {}
    if action.owner:
        metadata["annotations"] = {OWNER: action.owner}
    return ref, _body(ref, metadata=metadata)


def _bindings(look: Look, action: ProvisionNamespace) -> list[Sets]:
    """The RoleBindings that give the circle's identity its rights in the namespace, and Helm's where policy lets it.

    Beside each, one lets the server act there as that identity: see `policy.impersonation`.
    """
    rules = look.policy.clusters[look.place]
    found: list[Sets] = []
    for name, role, account in bindings(look.policy, rules, look.circle, action.namespace):
        ref = _ref(action, look.place, "rbac.authorization.k8s.io/v1", "RoleBinding", name)
        about = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
        subject = {"kind": "ServiceAccount", "name": account, "namespace": rules.service_accounts}
        found.append((ref, _body(ref, roleRef=about, subjects=[subject])))
    return found


def _account(ref: ObjectRef, look: Look, action: ProvisionNamespace, live: dict[str, Any]) -> Sets:
    """The service account with its present pull secrets, live and in git, and those of this request.

    `imagePullSecrets` is an atomic list, which is always set as a whole, so it is planned on the live one.
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


def _bounds(action: ProvisionNamespace, cluster: str) -> list[Sets]:
    """Quota, container defaults and the default-deny network policy, where they were asked for."""
    specs: list[tuple[str, str, str, dict[str, Any]]] = []
    if hard := _quota(action):
        specs.append(("v1", "ResourceQuota", "quota", {"hard": hard}))
    if action.limits and (default := action.limits.model_dump(exclude_none=True)):
        specs.append(("v1", "LimitRange", "limits", {"limits": [{"type": "Container", "default": default}]}))
    if action.default_deny:
        deny = {"podSelector": {}, "policyTypes": ["Ingress"]}
        specs.append(("networking.k8s.io/v1", "NetworkPolicy", "default-deny", deny))
    refs = [(_ref(action, cluster, version, kind, name), spec) for version, kind, name, spec in specs]
    return [(ref, _body(ref, spec=spec)) for ref, spec in refs]


def _quota(action: ProvisionNamespace) -> dict[str, str]:
    if action.quota is None:
        return {}
    hard = {"cpu": action.quota.cpu, "memory": action.quota.memory}
    given = {f"{kind}.{name}": value for name, value in hard.items() if value for kind in ("requests", "limits")}
    return given | ({"pods": str(action.quota.pods)} if action.quota.pods else {})
