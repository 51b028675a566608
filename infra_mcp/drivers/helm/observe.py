"""What releases are, for `status`: revision, status, chart, and their history. Nothing of their content is shown."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from anyio import to_thread

from infra_mcp.clients.helm.stored import DEPLOYED, TYPE, Revision, history
from infra_mcp.clients.kube import KubeError
from infra_mcp.drivers.base import Question
from infra_mcp.drivers.helm.access import Access
from infra_mcp.drivers.helm.rendered import rendering_of
from infra_mcp.drivers.helm.state import state_of
from infra_mcp.drivers.kubernetes.revision import WORKLOADS
from infra_mcp.drivers.manifests.observe import workload
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather
from infra_mcp.model.target import Target
from infra_mcp.policy.declared_releases import declared
from infra_mcp.policy.grammar import matches, repository
from infra_mcp.policy.images import version_of

_MAX_HISTORY: Final = 10
_MAX_RELEASES: Final = 50
_MAX_WORKLOADS: Final = 20


async def read(access: Access, target: Target) -> dict[str, Any] | None:
    """A release's newest revision; None where there is none."""
    last = state_of(await access.history(target.scope or "", target.name)).last
    return _line(access, last) if last else None


async def status(access: Access, question: Question) -> dict[str, Any]:
    """The releases of an app or a namespace.

    Raises:
        InfraError: `not-found`: the circle may not use Helm there, or there is no such release.
    """
    if question.app is not None:
        return await _of_app(access, question)
    return {"releases": await _of_namespace(access, question.scope or "")}


async def _of_app(access: Access, question: Question) -> dict[str, Any]:
    """An app that Helm delivers: its releases, and the health of their workloads; nothing of another app."""
    policy, app = access.context.policy, question.app or ""
    if question.tree is None:
        return {}
    spaces = policy.apps[app].namespaces()
    every = await to_thread.run_sync(
        lambda tree: list(declared(policy, tree, access.cluster.name, set())), question.tree
    )
    keys = [one.key for one in every if one.name == app and (not spaces or one.namespace in spaces)]
    found = [await _release(access, *key) for key in keys if _may(access, key[0])]
    if not found:
        return {}
    workloads = [each for _, several in found for each in several]
    ill = next((one for one in workloads if one["health"] != "Current"), None)
    unsettled = next((one for one, _ in found if one["status"] != DEPLOYED), None)
    health = ill["health"] if ill else "unknown" if unsettled else "Current"
    reason = ill["reason"] if ill else f"a release is {unsettled['status']}" if unsettled else ""
    template, own = policy.apps[app].image or "", policy.apps[app].repository
    images = [image for one in workloads for image in one["images"] if own and repository(image) == own]
    return {
        "health": health,
        "reason": reason,
        "version": version_of(images[0], template) if images else None,
        "workloads": workloads,
        "releases": [one for one, _ in found],
    }


async def _of_namespace(access: Access, namespace: str) -> list[dict[str, Any]]:
    if not _may(access, namespace):
        return []
    listed = await access.cluster.list("v1", "Secret", namespace, as_user=access.user, label_selector="owner=helm")
    named: dict[str, list[dict[str, Any]]] = {}
    for one in listed["items"]:
        if one.get("type") == TYPE:
            named.setdefault(str((one["metadata"].get("labels") or {}).get("name")), []).append(one)
    return [_shown(access, history(named[name])) for name in sorted(named)[:_MAX_RELEASES]]


async def _release(access: Access, namespace: str, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A release, and its workloads as they are now."""
    try:
        revisions = await access.history(namespace, name)
    except KubeError as error:
        raise InfraError("not-found", f"Release {namespace}/{name} is not there, or not yours.") from error
    shown = _shown(access, revisions) | {"namespace": namespace, "name": name}
    current = state_of(revisions).current
    if current is None:
        return shown, []
    refs = [one.ref for one in (await rendering_of(access.cluster, current)).objects if one.ref.kind in WORKLOADS]
    read = await gather(partial(access.get, ref) for ref in refs[:_MAX_WORKLOADS])
    absent = {"health": "absent", "reason": "it is not there", "images": []}
    pairs = zip(refs, read, strict=False)
    return shown, [{"kind": ref.kind, "name": ref.name} | (workload(live) if live else absent) for ref, live in pairs]


def _may(access: Access, namespace: str) -> bool:
    """Whether the circle may use Helm in a namespace."""
    rules = access.context.policy.circle(access.context.circle)
    return rules is not None and any(matches(pattern, namespace) for pattern in rules.helm)


def _shown(access: Access, revisions: Sequence[Revision]) -> dict[str, Any]:
    last = state_of(revisions).last
    if last is None:
        return {"status": "not installed"}
    former = [_line(access, one) for one in reversed(revisions)][:_MAX_HISTORY]
    return _line(access, last) | {"namespace": last.namespace, "name": last.name, "history": former}


def _line(access: Access, one: Revision) -> dict[str, Any]:
    return {
        "revision": one.number,
        "status": one.status,
        "chart": f"{one.chart} {one.version}",
        "updated": one.updated[:19],
        "description": access.masker.mask(one.description)[:200],
    }
