"""What releases are, for `status`: revision, status, chart, and their history. Nothing of their content is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from infra_mcp.clients.helm.stored import TYPE, Revision, history
from infra_mcp.clients.kube import KubeError
from infra_mcp.drivers.base import Question
from infra_mcp.drivers.helm.access import Access
from infra_mcp.drivers.helm.state import state_of
from infra_mcp.errors import InfraError
from infra_mcp.model.target import Target
from infra_mcp.policy.declared_releases import declared
from infra_mcp.policy.grammar import matches

_MAX_HISTORY: Final = 10
_MAX_RELEASES: Final = 50


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
        return {"releases": await _of_app(access, question)}
    return {"releases": await _of_namespace(access, question.scope or "")}


async def _of_app(access: Access, question: Question) -> list[dict[str, Any]]:
    if question.tree is None:
        return []
    spaces = access.context.policy.apps[question.app or ""].namespaces()
    keys = [
        one.key
        for one in declared(access.context.policy, question.tree, access.cluster.name, set())
        if one.name == question.app and (not spaces or one.namespace in spaces)
    ]
    return [await _release(access, *key) for key in keys if _may(access, key[0])]


async def _of_namespace(access: Access, namespace: str) -> list[dict[str, Any]]:
    if not _may(access, namespace):
        return []
    listed = await access.cluster.list("v1", "Secret", namespace, as_user=access.user, label_selector="owner=helm")
    named: dict[str, list[dict[str, Any]]] = {}
    for one in listed["items"]:
        if one.get("type") == TYPE:
            named.setdefault(str((one["metadata"].get("labels") or {}).get("name")), []).append(one)
    return [_shown(access, history(named[name])) for name in sorted(named)[:_MAX_RELEASES]]


async def _release(access: Access, namespace: str, name: str) -> dict[str, Any]:
    try:
        return _shown(access, await access.history(namespace, name)) | {"namespace": namespace, "name": name}
    except KubeError as error:
        raise InfraError("not-found", f"Release {namespace}/{name} is not there, or not yours.") from error


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
