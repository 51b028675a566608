"""What a piece of data is about."""

import pytest

from infra_mcp.ledger.subjects import MOST, subjects
from infra_mcp.model.object_ref import ObjectRef

REF = ObjectRef(cluster="s", api_version="apps/v1", kind="Deployment", namespace="docs-live", name="docs")


@pytest.mark.parametrize(
    ("data", "namespaces", "objects"),
    [
        ({}, (), ()),
        (None, (), ()),
        ({"action": {"namespace": "docs-staging"}}, ("docs-staging",), ()),
        ({"namespaces": ["b", "a"]}, ("a", "b"), ()),
        ({"objects": [str(REF)]}, ("docs-live",), ("docs-live/deployment/docs",)),
        ({"objects": ["namespace/docs-staging"]}, ("docs-staging",), ("namespace/docs-staging",)),
        ({"objects": ["clusterrole/x"]}, (), ("clusterrole/x",)),
        ({"objects": [{"object": str(REF), "operation": "update"}]}, ("docs-live",), ("docs-live/deployment/docs",)),
        ({"plan": [{"ref": REF.model_dump(mode="json")}]}, ("docs-live",), ("docs-live/deployment/docs",)),
        ({"namespace": 7, "objects": "docs", "kind": "x", "namespaces": [None, ""]}, (), ()),
    ],
)
def test_namespaces_and_objects_are_found_wherever_they_stand(data, namespaces, objects):
    assert subjects(data) == (namespaces, objects)


def test_several_pieces_of_data_are_taken_together():
    assert subjects({"namespace": "a"}, {"namespace": "b"}) == (("a", "b"), ())


def test_an_event_names_a_bounded_number():
    assert len(subjects({"namespaces": [f"n{i}" for i in range(2 * MOST)]})[0]) == MOST
