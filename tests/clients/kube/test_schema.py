import pytest

from infra_mcp.clients.kube.schema import check
from infra_mcp.errors import InfraError

SCHEMAS = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
    "IntOrString": {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
    "Container": {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string"},
            "port": {"type": "integer", "format": "int32"},
            "big": {"type": "integer", "format": "int64"},
            "share": {"type": "number"},
            "tty": {"type": "boolean"},
            "policy": {"type": "string", "enum": ["Always", "Never"]},
            "limits": {
                "type": "object",
                "additionalProperties": {"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.api.resource.Quantity"},
            },
            "probe": {"allOf": [{"$ref": "#/components/schemas/IntOrString"}], "default": 0},
        },
    },
    "Free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"a": {"type": "integer"}}},
    "Embedded": {
        "type": "object",
        "x-kubernetes-embedded-resource": True,
        "properties": {"spec": {"type": "object"}},
    },
    "Loop": {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Loop"}}},
}
ROOT = {
    "type": "object",
    "properties": {
        "containers": {"type": "array", "items": {"allOf": [{"$ref": "#/components/schemas/Container"}]}},
        "crd": {"x-kubernetes-int-or-string": True},
        "free": {"$ref": "#/components/schemas/Free"},
        "embedded": {"$ref": "#/components/schemas/Embedded"},
        "anything": {"type": "object"},
        "loop": {"$ref": "#/components/schemas/Loop"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"containers": [{"name": "a", "port": 80, "share": 1, "tty": True, "policy": "Never"}]},
        {"containers": [{"name": "a", "limits": {"cpu": 1, "memory": "1.5Gi", "x": "100m", "y": "1e3", "z": 0.5}}]},
        {"containers": [{"name": "a", "probe": "http"}, {"name": "b", "probe": 80}]},
        {"crd": 1, "free": {"a": 1, "b": {"c": []}}, "anything": {"at": {"all": 1}}, "labels": {"x": "y"}},
        {"embedded": {"apiVersion": "v1", "kind": "X", "metadata": {"name": "x"}, "spec": {"y": 1}}},
        {"containers": None, "labels": None},
    ],
)
def test_values_that_the_schema_allows_pass(body):
    assert check(body, ROOT, SCHEMAS) == []


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"container": []}, ".container: no such field"),
        ({"containers": [{"name": "a", "prot": 1}]}, ".containers[0].prot: no such field"),
        ({"containers": [{"name": "a"}, {}]}, ".containers[1].name: is required"),
        ({"containers": {"name": "a"}}, ".containers: must be array, is object"),
        ({"containers": [{"name": 1}]}, ".containers[0].name: must be string, is integer"),
        ({"containers": [{"name": "a", "port": "80"}]}, ".containers[0].port: must be integer, is string"),
        ({"containers": [{"name": "a", "port": True}]}, ".containers[0].port: must be integer, is boolean"),
        ({"containers": [{"name": "a", "port": 1.5}]}, ".containers[0].port: must be integer, is number"),
        ({"containers": [{"name": "a", "port": 2**31}]}, ".containers[0].port: is out of the range of int32"),
        ({"containers": [{"name": "a", "big": 2**63}]}, ".containers[0].big: is out of the range of int64"),
        ({"containers": [{"name": "a", "tty": "yes"}]}, ".containers[0].tty: must be boolean, is string"),
        ({"containers": [{"name": "a", "policy": "x"}]}, ".containers[0].policy: must be one of Always, Never"),
        ({"containers": [{"name": "a", "probe": {}}]}, ".containers[0].probe: must be integer or string, is object"),
        (
            {"containers": [{"name": "a", "limits": {"cpu": "lots"}}]},
            ".containers[0].limits.cpu: is not a quantity, such as 500m or 2Gi",
        ),
        ({"crd": 1.5}, ".crd: must be integer or string, is number"),
        ({"free": {"a": "x"}}, ".free.a: must be integer, is string"),
        ({"labels": {"x": 1}}, ".labels.x: must be string, is integer"),
        ({"labels": {1: "x"}}, ".labels.1: a name must be a string"),
    ],
)
def test_errors_name_the_path(body, error):
    assert check(body, ROOT, SCHEMAS) == [error]


def test_values_are_never_quoted_and_the_list_of_errors_is_bounded():
    body = {"labels": {f"k{n}": ["hunter2"] for n in range(100)}}
    errors = check(body, ROOT, SCHEMAS)

    assert len(errors) == 20
    assert "hunter2" not in " ".join(errors)


def test_an_endless_value_ends_the_walk():
    loop: dict = {}
    loop["next"] = loop

    assert check({"loop": loop}, ROOT, SCHEMAS) == []


@pytest.mark.anyio
@pytest.mark.cluster
async def test_the_servers_own_schema_predicts_a_dry_run(cluster):
    good = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "quota", "namespace": "not-there-yet", "labels": {"a": "b"}},
        "spec": {"hard": {"requests.cpu": "4", "pods": "10", "limits.memory": "8Gi"}},
    }
    bad = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "deny", "namespace": "not-there-yet", "label": {}},
        "spec": {"podSelector": [], "policyTypes": "Ingress", "ingress": [{"ports": [{"port": "http", "protocl": 1}]}]},
    }

    assert await cluster.schema_errors(good) == []
    assert await cluster.schema_errors(bad) == [
        ".metadata.label: no such field",
        ".spec.podSelector: must be object, is array",
        ".spec.policyTypes: must be array, is string",
        ".spec.ingress[0].ports[0].protocl: no such field",
    ]


@pytest.mark.anyio
@pytest.mark.cluster
async def test_a_kind_the_server_does_not_know_is_refused(cluster):
    for api_version, kind in (("v1", "Nothing"), ("nowhere.dev/v1", "Thing"), ("../../v1", "Pod")):
        with pytest.raises(InfraError, match="has no kind") as refused:
            await cluster.schema_errors({"apiVersion": api_version, "kind": kind})

        assert refused.value.code == "object-invalid"


@pytest.mark.anyio
@pytest.mark.cluster
async def test_each_document_is_fetched_once(broken, proxy):
    body = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "a"}}
    broken._transport._timeouts = broken._transport._timeouts.__class__()
    for _ in range(3):
        assert await broken.schema_errors(body) == []

    assert proxy.count("/openapi/") == 1
