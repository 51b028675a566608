"""Where an app's image stands in a workload."""

from infra_mcp.policy.images import containers_of, images_in

REPO = "registry.example:5000/docs/site"
WORKLOAD = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "docs", "namespace": "docs-live", "labels": {"a": "b"}},
    "spec": {
        "replicas": 3,
        "template": {
            "spec": {
                "initContainers": [{"name": "warm", "image": f"{REPO}:1"}],
                "containers": [
                    {"name": "side", "image": "registry.example:5000/docs/site-proxy:1"},
                    {"name": "web", "image": f"{REPO}@sha256:{'0' * 64}", "env": []},
                ],
            }
        },
    },
}


def test_containers_are_found_by_repository_and_not_by_the_beginning_of_its_name():
    assert [(which, name) for which, name, _ in containers_of(WORKLOAD, REPO)] == [
        ("initContainers", "warm"),
        ("containers", "web"),
    ]


def test_every_image_that_a_value_names_is_found_whatever_its_depth_and_one_that_is_no_text_is_empty():
    assert list(images_in(WORKLOAD)) == [
        f"{REPO}:1",
        "registry.example:5000/docs/site-proxy:1",
        f"{REPO}@sha256:{'0' * 64}",
    ]
    assert list(images_in({"a": [{"image": 7}, {"b": {"image": "x:1"}}]})) == ["", "x:1"]
