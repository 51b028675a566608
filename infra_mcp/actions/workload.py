"""An app's workload in the repository."""

from __future__ import annotations

from infra_mcp.actions.base import Look
from infra_mcp.errors import InfraError
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.policy.sections import AppRules
from infra_mcp.repository.render import Located

__all__ = ["ref_of", "workload"]


def ref_of(cluster: str, app: AppRules) -> ObjectRef:
    """The workload of an app of the catalogue."""
    namespace, kind, name = app.workload_parts
    return ObjectRef(cluster=cluster, api_version="apps/v1", kind=kind, namespace=namespace, name=name)


def workload(look: Look, name: str) -> tuple[AppRules, Located]:
    """An app of the catalogue and its workload's manifest. That the caller may know of it was decided before.

    Raises:
        InfraError: `not-found`, `not-in-repository`, `ambiguous-object`, `manifest-invalid`.
    """
    app = look.policy.app(name)
    if app is None:
        raise InfraError("not-found", f"There is no app {name}, or it is not yours.")
    return app, look.tree.require(ref_of(look.place, app))
