"""What git says and the cluster does not."""

from infra_mcp.drivers.manifests.drift import drift
from infra_mcp.model.plan import ObjectRef

REF = ObjectRef(cluster="c", api_version="apps/v1", kind="Deployment", namespace="docs-live", name="docs")


def test_a_difference_is_named_with_both_values_and_what_the_request_changes_is_left_out():
    git = {"apiVersion": "apps/v1", "spec": {"replicas": 2, "paused": False, "image": "a"}}
    live = {"spec": {"replicas": 5, "paused": False, "image": "b"}, "status": {"x": 1}}

    found = drift(REF, git, live, [("spec", "image")])

    assert [(one.field, one.git, one.live) for one in found] == [(".spec.replicas", 2, 5)]


def test_a_long_list_is_cut():
    git = {"data": {str(number): "git" for number in range(50)}}

    assert len(drift(REF, git, {"data": {}}, [])) == 20
