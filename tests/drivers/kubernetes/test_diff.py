import pytest

from infra_mcp.drivers.kubernetes.diff import changes
from infra_mcp.model.effect import FieldChange

CONTAINERS = ("spec", "template", "spec", "containers")


def deployment(image: str = "a:1", **more: object) -> dict:
    container = {"name": "web", "image": image, **more}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "docs", "namespace": "live", "labels": {"a": "1"}},
        "spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "side", "image": "s"}, container]}}},
    }


def shown(live: dict | None, dry: dict) -> list[tuple]:
    return [(c.path, c.before, c.after, c.had, c.has) for c in changes(live, dry)]


def test_equal_objects_have_no_changes():
    assert changes(deployment(), deployment()) == ()


def test_a_change_is_told_by_its_path_through_keyed_lists():
    path = (*CONTAINERS, {"name": "web"}, "image")

    assert changes(deployment(), deployment("a:2")) == (FieldChange(path=path, before="a:1", after="a:2"),)


def test_maps_are_told_by_leaf_and_keyed_items_as_a_whole():
    live, dry = deployment(), deployment()
    live["metadata"]["labels"] = {"a": "1", "b": "2"}
    dry["metadata"]["labels"] = {"a": "1", "c": "3"}
    dry["metadata"]["annotations"] = {"x": "y"}
    live["spec"]["template"]["spec"]["containers"][0:1] = []
    dry["spec"]["template"]["spec"]["containers"].append({"name": "new", "image": "n"})

    assert shown(live, dry) == [
        (("metadata", "annotations", "x"), None, "y", False, True),
        (("metadata", "labels", "b"), "2", None, True, False),
        (("metadata", "labels", "c"), None, "3", False, True),
        ((*CONTAINERS, {"name": "side"}), None, {"name": "side", "image": "s"}, False, True),
        ((*CONTAINERS, {"name": "new"}), None, {"name": "new", "image": "n"}, False, True),
    ]


def test_an_atomic_list_is_one_value():
    live, dry = deployment(), deployment()
    live["spec"]["template"]["spec"]["tolerations"] = [{"key": "a"}]
    dry["spec"]["template"]["spec"]["tolerations"] = [{"key": "a"}, {"key": "b"}]

    assert shown(live, dry) == [
        (("spec", "template", "spec", "tolerations"), [{"key": "a"}], [{"key": "a"}, {"key": "b"}], True, True)
    ]


def test_a_list_the_server_says_is_keyed_is_compared_by_its_keys():
    fields = {"f:spec": {"f:rules": {'k:{"id":1}': {".": {}, "f:id": {}, "f:to": {}}}}}
    live = {"kind": "Thing", "spec": {"rules": [{"id": 1, "to": "a"}, {"id": 2, "to": "b"}]}}
    dry = {
        "kind": "Thing",
        "metadata": {"managedFields": [{"manager": "m", "operation": "Apply", "fieldsV1": fields}]},
        "spec": {"rules": [{"id": 2, "to": "b"}, {"id": 1, "to": "c"}]},
    }

    assert shown(live, dry) == [(("spec", "rules", {"id": 1}, "to"), "a", "c", True, True)]


def test_items_that_cannot_be_told_apart_are_compared_as_one_value():
    live, dry = deployment(), deployment("a:2")
    for obj in (live, dry):
        obj["spec"]["template"]["spec"]["containers"].append({"image": "nameless"})

    assert [c.path for c in changes(live, dry)] == [CONTAINERS]


def test_what_the_server_keeps_for_itself_is_no_change():
    live, dry = deployment(), deployment()
    live["metadata"] |= {"uid": "1", "resourceVersion": "1", "generation": 1, "managedFields": []}
    dry["metadata"] |= {"creationTimestamp": "now", "resourceVersion": "2", "generation": 2}
    dry["metadata"]["annotations"] = {"infra-mcp.dev/request": "req-1"}
    live["status"], dry["status"] = {"replicas": 1}, {}

    assert changes(live, dry) == ()


def test_a_create_is_all_that_it_sets_with_defaults_and_without_what_a_dry_run_makes_up():
    dry = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "a", "namespace": "b", "uid": "u-1", "labels": {"made-up": "u-1", "a": "b"}},
        "spec": {
            "clusterIP": "10.0.0.7",
            "clusterIPs": ["10.0.0.7"],
            "type": "NodePort",
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 31234}],
        },
    }

    assert shown(None, dry) == [
        (("metadata", "labels", "a"), None, "b", False, True),
        (("spec", "ports", {"port": 80, "protocol": "TCP"}), None, {"port": 80, "protocol": "TCP"}, False, True),
        (("spec", "type"), None, "NodePort", False, True),
    ]


@pytest.mark.promise("secrets.nowhere")
def test_a_secrets_values_are_never_shown():
    last = "kubectl.kubernetes.io/last-applied-configuration"

    def secret(value: str) -> dict:
        return {
            "kind": "Secret",
            "type": f"example.dev/{len(value)}",
            "metadata": {"annotations": {last: f'{{"data": "{value}"}}'}},
            "data": {"a": value, "same": "x"},
            "stringData": {"b": value},
        }

    for live in (None, secret("hunter2")):
        found = changes(live, secret("hunter2hunter2"))

        assert "hunter2" not in repr(found)
        assert {c.path[-1] for c in found} >= {"a", "b", last, "type"}
    assert next(c.before for c in found if c.path == ("data", "a")) == "[hidden]"
