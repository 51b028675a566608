"""From a share of an edit to the objects it is about: what the repository says of them, and the work without a file."""

from __future__ import annotations

from typing import Any

from infra_mcp.drivers.base import Share
from infra_mcp.drivers.manifests.planned import Desired
from infra_mcp.errors import InfraError
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.model.target import Target
from infra_mcp.repository.edits import Beside, Location
from infra_mcp.repository.partial import get_path, merge, set_path
from infra_mcp.repository.render import Located

RESTART = "infra-mcp.dev/restart"  # on a pod template: the request that restarted it last
_VERSIONS = {"apps": "apps/v1", "rbac.authorization.k8s.io": "rbac.authorization.k8s.io/v1", "": "v1"}


def in_files(share: Share) -> list[Desired]:
    """The objects of the addressed locations, in their order: each as the fields that are addressed.

    Raises:
        InfraError: `manifest-invalid`: a location is in no object.
    """
    sets: dict[tuple[str, int, tuple[str | int, ...]], tuple[Located, dict[str, Any], bool]] = {}
    for location in share.addressed:
        where = location.path, location.document, location.at
        if where not in sets:
            located = _located(share, location)
            sets[where] = located, _identity(located.ref), False
        located, fields, whole = sets[where]
        if not location.field:
            sets[where] = located, located.object, True
            continue
        found, value = get_path(located.object, location.field)
        if found and not whole:
            set_path(fields, location.field, value)
    return [
        Desired(located.ref, fields, whole=whole or located.ref.kind not in _WORKLOADS, path=located.path)
        for located, fields, whole in sets.values()
    ]


_WORKLOADS = frozenset({"Deployment", "StatefulSet", "DaemonSet"})


def without_file(work: Beside, request: str) -> Desired:
    """The object of a work without a file, but for pull secrets, whose content is read elsewhere.

    Raises:
        InfraError: `internal`: there is no such work.
    """
    ref = ref_of(work.target)
    if work.work == "ensure":
        body: Any = work.given["body"]
        return Desired(ref, dict(body))
    if work.work == "restart":
        template = {"metadata": {"annotations": {RESTART: request}}}
        return Desired(ref, merge(_identity(ref), {"spec": {"template": template}}), whole=False, restarts=True)
    raise InfraError("internal", f"{work.work} is no work of Kubernetes manifests.")


def ref_of(target: Target) -> ObjectRef:
    """A target as the object that it is; of the kinds that actions name without a file."""
    group, _, kind = target.kind.rpartition("/")
    version = _VERSIONS.get(group, f"{group}/v1")
    return ObjectRef(cluster=target.place, api_version=version, kind=kind, namespace=target.scope, name=target.name)


def _located(share: Share, location: Location) -> Located:
    for one in share.after.objects_of(location.path):
        if (one.index, one.at) == (location.document, location.at):
            return one
    raise InfraError("manifest-invalid", f"Document {location.document + 1} of {location.path} holds no object.")


def _identity(ref: ObjectRef) -> dict[str, Any]:
    metadata = {"name": ref.name} | ({"namespace": ref.namespace} if ref.namespace else {})
    return {"apiVersion": ref.api_version, "kind": ref.kind, "metadata": metadata}
