"""A deploy of the deployment `docs` by server-side apply, and what there is to see of an object afterwards."""

from infra_mcp.clients.kube import Cluster
from infra_mcp.drivers.kubernetes import ssa
from infra_mcp.model.object_ref import ObjectRef

__all__ = ["ADOPT", "IMAGE", "MARK", "asked", "deploy", "to"]

ADOPT = ("kubectl", "kubectl-*", "before-first-apply")
IMAGE = ("spec", "template", "spec", "containers", {"name": "web"}, "image")
MARK = ("metadata", "annotations", "infra-mcp.dev/request")


def to(image: str) -> dict:
    return {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": image}]}}}}


async def deploy(cluster: Cluster, ref: ObjectRef, image: str, adopt=ADOPT) -> tuple[ssa.Proposal, dict]:
    live = await cluster.get(ref, as_user=None)
    proposal = await ssa.propose(cluster, ref, live, to(image), as_user=None, adopt=adopt)
    return proposal, await ssa.write(cluster, proposal, as_user=None, request=f"req-{image}")


def asked(obj: dict) -> dict:
    """What people and managers asked for: all but what a controller reports, which moves by itself."""
    about = obj["metadata"]
    kept = {key: about.get(key) for key in ("uid", "generation", "labels", "finalizers")}
    notes = {k: v for k, v in about.get("annotations", {}).items() if k != "deployment.kubernetes.io/revision"}
    fields = [entry for entry in about["managedFields"] if entry.get("subresource") != "status"]
    managers = [entry for entry in fields if entry["manager"] != "kube-controller-manager"]
    return kept | {"annotations": notes, "managedFields": managers, "spec": obj["spec"]}
