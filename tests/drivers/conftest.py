"""The real API server, namespaces on it, and what people put there."""

import json
import uuid
from collections.abc import AsyncIterator
from subprocess import PIPE

import anyio
import pytest
from drivers.kubernetes.workload import Workload
from drivers.kubernetes.workload import kubectl as as_admin

from infra_mcp.clients.kube import Cluster
from infra_mcp.model.object_ref import ObjectRef


@pytest.fixture
async def cluster(control_plane) -> AsyncIterator[Cluster]:
    async with Cluster.connect("test", control_plane.kubeconfig, control_plane.context) as connected:
        yield connected


@pytest.fixture
async def space(cluster: Cluster) -> AsyncIterator[str]:
    name = f"ssa-{uuid.uuid4().hex[:10]}"
    await cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, as_user=None)
    yield name
    await cluster._transport.request("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def kubectl(control_plane, space):
    """kubectl as a person uses it, in the test's namespace."""

    async def run(*args: str, body: dict | None = None) -> str:
        where = ["--kubeconfig", str(control_plane.kubeconfig), "--context", control_plane.context, "-n", space]
        done = await anyio.run_process(
            [str(control_plane.kubectl), *where, *args], input=json.dumps(body or {}).encode(), stderr=PIPE
        )
        return done.stdout.decode()

    return run


@pytest.fixture
def ref(space):
    def make(kind: str = "Deployment", name: str = "docs", api_version: str = "apps/v1") -> ObjectRef:
        return ObjectRef(cluster="test", api_version=api_version, kind=kind, namespace=space, name=name)

    return make


@pytest.fixture
def deployment(space):
    """A manifest as it stands in git; it does not run, so that its status moves only when a test moves it."""

    def make(image: str = "docs:1", **spec: object) -> dict:
        container = {
            "name": "web",
            "image": image,
            "env": [{"name": "A", "value": "1"}],
            "ports": [{"containerPort": 80}],
        }
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "docs", "namespace": space, "labels": {"app": "docs"}},
            "spec": {
                "replicas": 2,
                "paused": True,
                "selector": {"matchLabels": {"app": "docs"}},
                "template": {
                    "metadata": {"labels": {"app": "docs"}},
                    "spec": {"containers": [container, {"name": "side", "image": "side:1"}]},
                },
                **spec,
            },
        }

    return make


@pytest.fixture
async def namespace(control_plane, cluster):
    """One in which pods can be made: its default service account is there."""
    name = f"verify-{uuid.uuid4().hex[:8]}"
    await cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, as_user=None)
    account = ObjectRef(cluster="test", api_version="v1", kind="ServiceAccount", namespace=name, name="default")
    with anyio.fail_after(20):
        while await cluster.get(account, as_user=None) is None:
            await anyio.lowlevel.checkpoint()
    yield name
    await as_admin(control_plane, "delete", "namespace", name, "--wait=false")


@pytest.fixture
def web(cluster, namespace):
    return Workload(
        cluster,
        ObjectRef(cluster="test", api_version="apps/v1", kind="Deployment", namespace=namespace, name="web"),
    )
