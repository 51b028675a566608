"""Planning a deploy: the image where git has it, the same containers live, and nothing beside them."""

from __future__ import annotations

from dataclasses import dataclass

from anyio import to_thread

from infra_mcp.clients.kube import Cluster
from infra_mcp.drivers.manifests import images
from infra_mcp.drivers.manifests.drift import drift
from infra_mcp.drivers.manifests.edit import edited
from infra_mcp.drivers.manifests.prepared import Prepared, Task, Wanted, differences
from infra_mcp.drivers.manifests.propose import item_for, plan_of
from infra_mcp.errors import InfraError
from infra_mcp.model.action import Deploy
from infra_mcp.model.plan import ObjectRef
from infra_mcp.policy.rules import Policy
from infra_mcp.repository.value import Tree

__all__ = ["Target", "plan", "target"]

_VERSIONS = {"Deployment": "apps/v1", "StatefulSet": "apps/v1", "DaemonSet": "apps/v1"}


@dataclass(frozen=True)
class Target:
    """What a deploy is about, resolved through the catalogue."""

    ref: ObjectRef
    repository: str
    image: str
    grace: float  # seconds
    timeout: float  # seconds


def target(policy: Policy, cluster: str, action: Deploy) -> Target:
    """The workload and the image a deploy names. Admission has checked already that the caller may know of it."""
    app = policy.app(action.app)
    if app is None:
        raise InfraError("not-found", f"There is no app {action.app}, or it is not yours.")
    namespace, kind, name = app.workload_parts
    ref = ObjectRef(cluster=cluster, api_version=_VERSIONS[kind], kind=kind, namespace=namespace, name=name)
    return Target(ref, app.repository, app.image_for(action.version), app.grace_seconds, app.timeout_seconds)


async def plan(task: Task, action: Deploy, tree: Tree, cluster: Cluster) -> Prepared:
    """Plan a Deploy. Reads only.

    Raises:
        InfraError: `not-in-repository`, `not-in-cluster`, `field-conflict`, `owned-elsewhere`, and what editing raises.
    """
    to = target(task.policy, task.cluster, action)
    located = await to_thread.run_sync(tree.require, to.ref)  # looks through every file that was not read
    if not any(images.containers_of(located.object, to.repository)):
        what = f"No container of {to.ref} in {located.path} has an image of {to.repository}."
        raise InfraError("not-in-repository", what, next_step="Correct the app's image in infra.toml, or the manifest.")
    live = await cluster.get(to.ref, as_=task.user)
    if live is None:
        raise InfraError("not-in-cluster", f"{to.ref} is in {located.path} and not in the cluster.")

    in_git = Wanted(to.ref, images.sets_for(located.object, to.repository, to.image))
    in_cluster = Wanted(to.ref, images.sets_for(live | _spoken(to.ref), to.repository, to.image))
    if images.places(live, to.repository) != images.places(located.object, to.repository):
        what = f"Other containers of {to.ref} run {to.repository} in {located.path} than in the cluster."
        raise InfraError("not-in-cluster", what, next_step="Bring git and cluster together by hand first.")
    after, edits, files = await edited(task, tree, [in_git])
    item = await item_for(task, cluster, in_cluster, live, bootstrap=False)
    touched = [path for side in (located.object, live) for path, *_ in differences(side, in_git.sets)]
    other = drift(to.ref, located.object, live, touched)
    made = plan_of(task, tree, [item], files, edits, other)
    names = {"app": action.app, "version": action.version, "image": to.image, "workload": str(to.ref)}
    failure = action.on_failure or task.policy.apps[action.app].on_failure
    return Prepared(made, after, (item,), failure=failure, names=names)


def _spoken(ref: ObjectRef) -> dict[str, str]:
    return {"apiVersion": ref.api_version, "kind": ref.kind}
