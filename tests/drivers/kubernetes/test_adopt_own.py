"""What is taken for our own create: nothing that others could have made as well."""

import pytest

from infra_mcp.drivers.kubernetes.adopt import Own
from infra_mcp.model.marks import CIRCLE, REQUEST, WRITE
from infra_mcp.model.object_ref import ObjectRef

REF = ObjectRef(cluster="c", api_version="v1", kind="Namespace", namespace=None, name="docs-a")
BODY = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "docs-a", "labels": {CIRCLE: "docs"}}}
OURS = Own("req-1", "a secret of the record")


def live(own=OURS, manager="infra-mcp", ref=REF, **about):
    """The namespace as the API server has it after our create."""
    metadata = own.marked(ref, BODY)["metadata"]
    fields = {"f:metadata": {"f:annotations": {".": {}, f"f:{REQUEST}": {}, f"f:{WRITE}": {}}}}
    entry = {"manager": manager, "operation": "Update", "apiVersion": "v1", "fieldsV1": fields}
    labels = metadata["labels"] | {"kubernetes.io/metadata.name": "docs-a"}
    added = {"uid": "u", "resourceVersion": "7", "creationTimestamp": "x", "labels": labels, "managedFields": [entry]}
    spec = {"finalizers": ["kubernetes"]}
    return BODY | {"metadata": metadata | added | about, "spec": spec, "status": {"phase": "Active"}}


@pytest.mark.fault("f26")
def test_what_our_create_made_is_ours_also_when_a_controller_has_put_an_annotation_on_it():
    noted = live()
    noted["metadata"]["annotations"] |= {"example.invalid/range": "1000/100"}

    assert OURS.made(REF, BODY, live())
    assert OURS.made(REF, BODY, noted)


@pytest.mark.fault("f26")
def test_nothing_else_is_ours():
    other = REF.model_copy(update={"name": "docs-b"})
    labels = live()["metadata"]["labels"]
    found = {
        "none": None,
        "another secret": live(Own("req-1", "guessed")),
        "another request": live(Own("req-2", OURS.secret)),
        "the nonce of another object": live(ref=other),
        "another manager": live(manager="kubectl"),
        "nobody's": live(managedFields=[]),
        "without a nonce": live(annotations={REQUEST: "req-1"}),
        "a label more": live(labels=labels | {"pod-security.kubernetes.io/enforce": "privileged"}),
        "a label less": live(labels={}),
        "another circle": live(labels=labels | {CIRCLE: "shop"}),
        "a finalizer": live(finalizers=["x/y"]),
        "an owner": live(ownerReferences=[{"kind": "Node"}]),
        "going": live(deletionTimestamp="2026-01-01T00:00:00Z"),
        "a field more": live() | {"data": {}},
        "a finalizer of its content": live() | {"spec": {"finalizers": ["kubernetes", "x/y"]}},
    }

    assert [why for why, one in found.items() if OURS.made(REF, BODY, one)] == []


@pytest.mark.fault("f26")
def test_without_a_recorded_secret_nothing_is_ours():
    unknown = Own("req-1", "")

    assert not unknown.made(REF, BODY, live(unknown))


@pytest.mark.fault("f26")
def test_an_update_is_ours_on_the_very_object_that_was_read_only():
    assert OURS.wrote(REF, live(), "u")
    assert not OURS.wrote(REF, live(), "another uid")
    assert not OURS.wrote(REF, live(manager="kubectl"), "u")
    assert not OURS.wrote(REF, live(Own("req-2", "x")), "u")
