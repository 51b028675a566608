"""A workload on a cluster, whose pods fare as the tag of their image says, and the hands of its admin."""

import subprocess
from dataclasses import dataclass

import anyio
import pytest

from infra_mcp.clients.kube import Cluster
from infra_mcp.drivers.kubernetes.verify import rollout
from infra_mcp.errors import InfraError
from infra_mcp.model.object_ref import ObjectRef

__all__ = ["LONG", "Workload", "kubectl"]

REPOSITORY = "registry.example/docs/site"
LONG = 60.0  # seconds, for waits that are expected to end long before


@dataclass(frozen=True)
class Workload:
    """A workload in a namespace of its own, and how to change it as an admin."""

    cluster: Cluster
    ref: ObjectRef

    def image(self, tag):
        return f"{REPOSITORY}:{tag}"

    def body(self, tag, **spec):
        name = self.ref.name
        labels = {"app": name}
        pod = {"terminationGracePeriodSeconds": 0, "containers": [{"name": "web", "image": self.image(tag)}]}
        kind = {"StatefulSet": {"serviceName": name}, "Deployment": {}, "DaemonSet": {}}[self.ref.kind]
        count = {} if self.ref.kind == "DaemonSet" else {"replicas": 2}
        return {
            "apiVersion": "apps/v1",
            "kind": self.ref.kind,
            "metadata": {"name": name, "namespace": self.ref.namespace},
            "spec": {"selector": {"matchLabels": labels}, **count, **kind}
            | {"template": {"metadata": {"labels": labels}, "spec": pod}}
            | spec,
        }

    async def apply(self, tag, **spec):
        live, _ = await self.cluster.write(self.body(tag, **spec), as_user=None)
        return live["metadata"]["uid"]

    async def wait(self, uid, tag="1", grace=LONG, deadline=LONG):
        def expect(live):
            return live["spec"]["template"]["spec"]["containers"][0]["image"] == self.image(tag)

        out = await rollout(self.cluster, self.ref, uid, as_user=None, expect=expect, grace=grace, deadline=deadline)
        return out.live

    async def fails(self, uid, tag, **times):
        with pytest.raises(InfraError) as caught:
            await self.wait(uid, tag, **times)
        return caught.value


async def kubectl(control_plane, *words):
    whom = ["--kubeconfig", str(control_plane.kubeconfig), "--context", control_plane.context]
    done = await anyio.run_process([str(control_plane.kubectl), *whom, *words], stdin=subprocess.DEVNULL)
    return done.stdout.decode()
