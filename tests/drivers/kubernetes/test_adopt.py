import pytest

from infra_mcp.drivers.kubernetes.adopt import extract, lists, lost_fields, owned_by_us, owners

WEB = 'k:{"name":"web"}'
PORT = 'k:{"containerPort":80,"protocol":"TCP"}'


def entry(manager: str, fields: dict, operation: str = "Apply", **more: str) -> dict:
    return {"manager": manager, "operation": operation, "apiVersion": "apps/v1", "fieldsV1": fields, **more}


def pod(fields: dict) -> dict:
    return {"f:spec": {"f:template": {"f:spec": fields}}}


OURS = pod(
    {
        "f:containers": {
            WEB: {".": {}, "f:name": {}, "f:image": {}, "f:ports": {PORT: {".": {}, "f:containerPort": {}}}},
        },
        "f:tolerations": {},
        "f:securityContext": {},
    }
) | {"f:metadata": {"f:labels": {"f:a": {}, "f:gone": {}}, "f:finalizers": {".": {}, 'v:"ours"': {}}}}
THEIRS = pod({"f:containers": {WEB: {"f:resources": {}}}, "f:securityContext": {"f:runAsUser": {}}}) | {
    "f:spec": {"f:replicas": {}, **pod({"f:securityContext": {"f:runAsUser": {}}})["f:spec"]}
}


def live(*entries: dict) -> dict:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "docs",
            "namespace": "live",
            "uid": "u",
            "labels": {"a": "1", "b": "2"},
            "finalizers": ["theirs", "ours"],
            "managedFields": list(entries),
        },
        "spec": {
            "replicas": 5,
            "template": {
                "spec": {
                    "containers": [
                        {"name": "side", "image": "s:1"},
                        {
                            "name": "web",
                            "image": "a:1",
                            "env": [{"name": "E", "value": "1"}],
                            "ports": [{"containerPort": 80, "protocol": "TCP", "name": "http"}],
                        },
                    ],
                    "tolerations": [{"key": "x"}],
                    "securityContext": {"runAsUser": 1},
                }
            },
        },
        "status": {"replicas": 5},
    }


def test_only_what_we_applied_ourselves_is_ours():
    ours = entry("infra-mcp", OURS)
    others = [
        entry("infra-mcp", OURS, "Update"),
        entry("infra-mcp", OURS, subresource="scale"),
        entry("kubectl", OURS),
    ]

    assert owned_by_us(live(*others, ours)) is ours
    assert owned_by_us(live(*others)) == {}
    assert owned_by_us({"metadata": {}}) == {}


def test_the_body_is_what_we_own_with_its_live_values_and_nothing_else():
    body = extract(live(entry("kubectl", THEIRS, "Update"), entry("infra-mcp", OURS)))

    assert body == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "docs", "namespace": "live", "labels": {"a": "1"}, "finalizers": ["ours"]},
        "spec": {
            "template": {
                "spec": {
                    "containers": [
                        {"name": "web", "image": "a:1", "ports": [{"containerPort": 80}]},
                    ],
                    "tolerations": [{"key": "x"}],
                    "securityContext": {},  # ours is that it is there; what is in it is theirs
                }
            }
        },
    }


@pytest.mark.promise("plan.adopt")
def test_an_object_we_never_applied_has_an_empty_body_and_replicas_stay_out_of_it():
    body = extract(live(entry("kubectl-client-side-apply", THEIRS, "Update")))

    assert body == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "docs", "namespace": "live"},
    }


def test_our_items_keep_the_order_they_have_live():
    obj = live(entry("infra-mcp", pod({"f:containers": {WEB: {".": {}}, 'k:{"name":"side"}': {".": {}}}})))

    assert [c["name"] for c in extract(obj)["spec"]["template"]["spec"]["containers"]] == ["side", "web"]


def test_which_lists_are_keyed_is_read_from_the_server():
    found = lists(live(entry("m", OURS), entry("n", pod({"f:containers": {WEB: {"f:env": {'k:{"name":"E"}': {}}}}}))))

    assert found == {
        ("spec", "template", "spec", "containers"): ("name",),
        ("spec", "template", "spec", "containers", "ports"): ("containerPort", "protocol"),
        ("spec", "template", "spec", "containers", "env"): ("name",),
        ("spec", "template", "spec", "tolerations"): (),
        ("metadata", "finalizers"): ("=",),
    }


def test_lost_is_what_another_manager_had_and_has_no_more():
    before = pod({"f:containers": {WEB: {".": {}, "f:image": {}, "f:name": {}}}}) | {
        "f:metadata": {"f:labels": {"f:a": {}}}
    }
    after = pod({"f:containers": {WEB: {".": {}, "f:name": {}}}}) | {"f:metadata": {"f:labels": {"f:a": {}}}}
    lost = lost_fields(
        live(
            entry("kubectl", before, "Update"),
            entry("infra-mcp", {}),
            entry("hpa", {"f:spec": {"f:replicas": {}}}, subresource="scale"),
        ),
        live(entry("kubectl", after, "Update"), entry("infra-mcp", before)),
    )

    assert [tuple(one) for one in lost] == [
        ("hpa", "Apply", "scale", ("spec", "replicas")),
        ("kubectl", "Update", "", ("spec", "template", "spec", "containers", {"name": "web"}, "image")),
    ]


def test_owners_are_those_of_the_field_and_of_what_is_below_it():
    obj = live(entry("kubectl", THEIRS, "Update"), entry("infra-mcp", OURS))
    containers = ("spec", "template", "spec", "containers")

    assert owners(obj, ("spec", "replicas")) == ["kubectl"]
    assert owners(obj, (*containers, {"name": "web"}, "image")) == ["infra-mcp"]
    assert owners(obj, (*containers, {"name": "web"}, "image"), others=True) == []
    assert owners(obj, ("spec",)) == ["infra-mcp", "kubectl"]
