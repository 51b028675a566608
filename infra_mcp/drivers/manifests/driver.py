"""The driver for Kubernetes manifests: edit and plan, apply, confirm, undo. One class, one action a branch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from infra_mcp.clients.kube import Cluster
from infra_mcp.drivers.kubernetes.verify import rollout
from infra_mcp.drivers.manifests import deploy, images, landed, observe, provision
from infra_mcp.drivers.manifests.apply import apply
from infra_mcp.drivers.manifests.desired import refs
from infra_mcp.drivers.manifests.prepared import Prepared, Task
from infra_mcp.drivers.manifests.pull_secrets import PullSecrets
from infra_mcp.drivers.manifests.undo import Undone, is_ours, undo
from infra_mcp.errors import InfraError
from infra_mcp.model.action import Action, Deploy, ProvisionNamespace
from infra_mcp.model.outcome import Written
from infra_mcp.model.plan import ObjectRef
from infra_mcp.policy.rules import Policy
from infra_mcp.repository.value import Tree

__all__ = ["Manifests"]


class Manifests:
    """What knows namespaces and workloads. Holds no state between calls but its connections.

    Args:
        cluster: the connection; every call says as whom.
        secrets: how pull secrets are read, hashed and hidden.
    """

    def __init__(self, cluster: Cluster, secrets: PullSecrets) -> None:
        self.cluster = cluster
        self._secrets = secrets

    def locks(self, policy: Policy, cluster: str, action: Action) -> tuple[ObjectRef, ...]:
        """The objects a request holds from its planning to its end, so that two on one object never interleave."""
        if isinstance(action, ProvisionNamespace):
            return (refs(cluster, action.namespace)[0],)
        return (deploy.target(policy, cluster, action).ref,)

    async def plan(self, task: Task, tree: Tree) -> Prepared:
        """Edit the tree value and compare with the cluster. Writes nothing; equal ground gives equal plans."""
        action = task.request.action
        if isinstance(action, ProvisionNamespace):
            return await provision.plan(task, action, tree, self.cluster, self._secrets)
        return await deploy.plan(task, action, tree, self.cluster)

    async def apply(self, task: Task, prepared: Prepared) -> None:
        """Write what the plan says. See `apply.apply` for what it raises."""
        await apply(self.cluster, task, prepared)

    async def verify(
        self, task: Task, prepared: Prepared, seconds: float | None, say: Callable[[str], None] | None = None
    ) -> str:
        """Wait until the change is observed, and return what is now true; `say` is told how far it is.

        Raises:
            InfraError: `not-landed` with the cause; `object-moved` when an object was replaced.
        """
        action = task.request.action
        if isinstance(action, Deploy):
            to = deploy.target(task.policy, task.cluster, action)
            limit = to.timeout if seconds is None else seconds
            return await landed.deployed(self.cluster, task, prepared, to, limit, say)
        return await landed.provisioned(self.cluster, task, prepared, say)

    def timeout(self, task: Task) -> float:
        """How long the change may take to land, in seconds, counted from its last write."""
        action = task.request.action
        return deploy.target(task.policy, task.cluster, action).timeout if isinstance(action, Deploy) else 60.0

    def writes(self, prepared: Prepared) -> tuple[Written, ...]:
        """What is about to be written, with what an undo would put back. Known before the first write."""
        return tuple(
            Written(
                ref=item.wanted.ref,
                operation=item.change.operation,
                identity=item.wanted.identity,
                fields=item.restores,
                uid=item.live["metadata"]["uid"] if item.live else None,
            )
            for item in prepared.to_write
        )

    async def any_written(self, task: Task, written: Sequence[Written]) -> bool:
        """Whether any of the objects shows our write: this request's nonce, or our values in fields that are ours."""
        for one in written:
            live = await self.cluster.get(one.ref, as_=None if one.identity == "server" else task.user)
            if task.own.wrote(one.ref, live, one.uid):
                return True
            if live is not None and any(is_ours(live, field) for field in one.fields):
                return True
        return False

    async def observe_app(self, policy: Policy, app: str, user: str, tree: Tree | None) -> dict[str, Any]:
        """One app of the catalogue as it is now. See `observe.app`."""
        return await observe.app(self.cluster, policy, app, user, tree)

    async def observe_namespace(
        self, policy: Policy, namespace: str, user: str, circle: str, tree: Tree | None
    ) -> dict[str, Any]:
        """A namespace's workloads and pull secrets as they are now. See `observe.namespace`."""
        return await observe.namespace(self.cluster, policy, namespace, user, circle, self._secrets, tree)

    async def undo(self, task: Task, written: Sequence[Written]) -> Undone:
        """Put back what was live before, on objects that are still as we left them."""
        adopt = task.policy.tree.adopt
        return await undo(self.cluster, written, task.request.id, as_=task.user, adopt=adopt)

    async def after_undo(self, task: Task, written: Sequence[Written], seconds: float) -> str:
        """Whether the former version is out again; the sentence for the ack.

        Raises:
            InfraError: it is not, with the cause; also when it could not be observed.
        """
        action = task.request.action
        if not isinstance(action, Deploy):
            return "what it created is kept"
        try:
            to = deploy.target(task.policy, task.cluster, action)
        except InfraError:
            return "the former values were put back; the app is in the catalogue no more"
        before = {str(field.before) for one in written for field in one.fields}

        def restored(live: dict[str, Any]) -> bool:
            return all(image in before for _, _, image in images.containers_of(live, to.repository))

        uid = next((one.uid for one in written if one.uid), "")
        out = await rollout(self.cluster, to.ref, uid, as_=task.user, expect=restored, grace=to.grace, deadline=seconds)
        images_before = ", ".join(sorted(before))
        return f"{to.ref} {'runs' if out.ready else 'is set to'} {images_before} again"
