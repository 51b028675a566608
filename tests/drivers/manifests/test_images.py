"""Where an app's image stands in a workload."""

from infra_mcp.drivers.manifests.images import containers_of, running, sets_for

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


def test_a_deploy_sets_the_images_and_nothing_else():
    sets = sets_for(WORKLOAD, REPO, f"{REPO}:2")

    assert sets["metadata"] == {"name": "docs", "namespace": "docs-live"}
    assert sets["spec"] == {
        "template": {
            "spec": {
                "initContainers": [{"name": "warm", "image": f"{REPO}:2"}],
                "containers": [{"name": "web", "image": f"{REPO}:2"}],
            }
        }
    }


def test_it_runs_when_every_container_of_the_app_is_set_to_the_image():
    mixed = {
        "spec": {
            "template": {"spec": {"containers": [{"name": "a", "image": "r/x:1"}, {"name": "b", "image": "r/x:2"}]}}
        }
    }

    assert not running(mixed, "r/x", "r/x:2")
    assert not running({"spec": {}}, "r/x", "r/x:2")
    assert running({"spec": {"template": {"spec": {"containers": [{"name": "b", "image": "r/x:2"}]}}}}, "r/x", "r/x:2")
