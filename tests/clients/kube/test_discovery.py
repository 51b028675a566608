import uuid

import pytest

from infra_mcp.clients.kube import KubeError
from infra_mcp.errors import InfraError

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]


async def test_kinds_have_their_paths(cluster):
    path = cluster._discovery.path

    assert await path("v1", "ConfigMap", "a", "b") == "/api/v1/namespaces/a/configmaps/b"
    assert await path("v1", "Namespace", None, "a") == "/api/v1/namespaces/a"
    assert await path("apps/v1", "Deployment", "a") == "/apis/apps/v1/namespaces/a/deployments"
    assert await path("apps/v1", "Deployment", None) == "/apis/apps/v1/deployments"
    assert (await cluster._discovery.find("v1", "ServiceAccount")).namespaced
    assert not (await cluster._discovery.find("v1", "Namespace")).namespaced


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../../../nodes/x", "a%2fb"])
async def test_a_name_that_leaves_its_path_is_refused(cluster, name):
    for namespace, wanted in ((name, "a"), ("a", name)):
        with pytest.raises(InfraError, match="not a name") as refused:
            await cluster._discovery.path("v1", "ConfigMap", namespace, wanted)

        assert refused.value.code == "object-invalid"


@pytest.mark.parametrize("name", ["a?b=c", "a#b", "a b", "ü", "$(id)", "--server=x", "a\r\nX: y"])
async def test_an_odd_name_stays_one_segment_and_is_not_found(cluster, ref, name):
    assert await cluster.get(ref("ConfigMap", name, "default"), as_user=None) is None


async def test_a_missing_or_needless_namespace_is_refused(cluster):
    with pytest.raises(InfraError, match="needs a namespace"):
        await cluster._discovery.path("v1", "ConfigMap", None, "a")
    with pytest.raises(InfraError, match="has no namespace"):
        await cluster._discovery.path("v1", "Namespace", "a", "a")


async def test_discovery_is_read_once_and_again_only_for_an_unknown_kind(broken, proxy):
    await broken._discovery.find("apps/v1", "Deployment")

    assert proxy.seen == []
    with pytest.raises(InfraError, match="no kind Nothing in v1") as refused:
        await broken._discovery.find("v1", "Nothing")
    assert refused.value.code == "object-invalid"
    assert [line for line, _ in proxy.seen] == ["GET /api", "GET /apis"]


async def test_a_definition_created_later_is_found(cluster, ref):
    group = f"t{uuid.uuid4().hex[:8]}.infra-mcp.dev"
    await cluster._discovery.find("v1", "Pod")
    await cluster.create(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"things.{group}"},
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {"kind": "Thing", "plural": "things", "singular": "thing", "listKind": "ThingList"},
                "versions": [
                    {
                        "name": "v1",
                        "served": True,
                        "storage": True,
                        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object"}}}},
                    }
                ],
            },
        },
        as_user=None,
    )
    try:
        definition = ref("CustomResourceDefinition", f"things.{group}", None, "apiextensions.k8s.io/v1")
        async for event in cluster.watch(
            definition.api_version, definition.kind, None, as_user=None, name=definition.name
        ):
            conditions = event["object"].get("status", {}).get("conditions") or []
            if any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
                break

        assert (await cluster._discovery.find(f"{group}/v1", "Thing")).namespaced
        assert await cluster.get(ref("Thing", "none", "default", f"{group}/v1"), as_user=None) is None
    finally:
        await cluster._transport.request(
            "DELETE", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/things.{group}"
        )


async def test_a_server_without_aggregated_discovery_is_refused(broken, proxy, fault):
    proxy.faults = [fault("GET /api", status=200, body={"kind": "APIVersions", "versions": ["v1"]})]
    with pytest.raises(KubeError, match="aggregated discovery"):
        await broken._discovery.find("v1", "Nothing")
