"""What git says and the cluster does not."""

import json

import pytest

from infra_mcp.drivers.kubernetes.diff import drift
from infra_mcp.model.object_ref import ObjectRef

REF = ObjectRef(cluster="c", api_version="apps/v1", kind="Deployment", namespace="docs-live", name="docs")


def test_a_difference_is_named_with_both_values_and_what_the_request_changes_is_left_out():
    git = {"apiVersion": "apps/v1", "spec": {"replicas": 2, "paused": False, "image": "a"}}
    live = {"spec": {"replicas": 5, "paused": False, "image": "b"}, "status": {"x": 1}}

    found = drift(REF, git, live, [("spec", "image")])

    assert [(one.field, one.git, one.live) for one in found] == [(".spec.replicas", 2, 5)]


def test_a_long_list_is_cut():
    git = {"data": {str(number): "git" for number in range(50)}}

    assert len(drift(REF, git, {"data": {}}, [])) == 20


NOT_SET = {"creationTimestamp": None, "command": None, "resources": {}, "args": [], "paused": False, "nodeName": ""}


@pytest.mark.fault("f09")
@pytest.mark.parametrize("git", [NOT_SET, {"a": [{"name": "b", **NOT_SET}]}, {"a": {"b": {"c": None}}}, {"a": [None]}])
def test_what_git_leaves_empty_and_the_cluster_does_not_have_is_no_drift(git):
    live = {"spec": {"a": [{"name": "b", "x": 1}]} if isinstance(git.get("a"), list) and git["a"][0] else {}}

    assert drift(REF, {"spec": git}, live, []) == ()


@pytest.mark.fault("f09")
def test_what_git_leaves_empty_in_an_item_without_a_name_is_no_drift():
    git, live = {"ports": [{"containerPort": 80, "name": "", "protocol": None}]}, {"ports": [{"containerPort": 80}]}

    assert drift(REF, {"spec": git}, {"spec": live}, []) == ()


@pytest.mark.fault("f09")
def test_a_null_in_git_says_nothing_about_a_value_that_is_there():
    assert drift(REF, {"spec": {"replicas": None}}, {"spec": {"replicas": 1}}, []) == ()


@pytest.mark.fault("f09")
@pytest.mark.parametrize("live", [["1", "2"], ["2"]])
def test_an_item_that_stands_twice_is_compared_as_the_cluster_reads_it(live):
    def env(*values):
        return {"spec": {"env": [{"name": "A", "value": value} for value in values]}}

    assert drift(REF, env("1", "2"), env(*live), []) == ()
    assert [one.field for one in drift(REF, env("1", "3"), env(*live), [])] == ['.spec.env[name="A"].value']


@pytest.mark.fault("f09")
@pytest.mark.parametrize("items", [[{"name": "pull"}], [{"containerPort": 80}]])
def test_an_equal_item_that_stands_twice_is_no_drift(items):
    assert drift(REF, {"spec": {"x": items * 2}}, {"spec": {"x": items}}, []) == ()


@pytest.mark.fault("f09")
@pytest.mark.parametrize(
    ("git", "live"),
    [
        ({"paused": True}, {}),
        ({"env": []}, {"env": [{"name": "A", "value": "1"}]}),
        ({"args": ["-v", "-v"]}, {"args": ["-v"]}),
        ({"a": {"b": 0, "c": 1}}, {}),
        ({"labels": {"a": ""}}, {"labels": {"a": "x"}}),
        ({"securityContext": {"runAsUser": 0}}, {"securityContext": {}}),
        ({"automountServiceAccountToken": False}, {}),
        ({"egress": [{}]}, {}),
    ],
)
def test_what_git_says_and_the_cluster_has_otherwise_stays_drift(git, live):
    assert len(drift(REF, {"spec": git}, {"spec": live}, [])) == 1


TWO = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
APPLIED = {"metadata": {"labels": {"app": "docs"}}, "spec": {"env": TWO}}


def _live(by, **over):
    """An object as it is live after APPLIED was applied client-side or server-side."""
    fields = {"f:metadata": {"f:labels": {"f:app": {}}}}
    fields["f:spec"] = {"f:env": {f'k:{{"name":"{name}"}}': {".": {}, "f:name": {}, "f:value": {}} for name in "AB"}}
    last = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(APPLIED)}
    entry = {"manager": "kubectl", "operation": "Apply", "fieldsV1": fields}
    about = {"annotations": last} if by == "client" else {"managedFields": [entry]}
    return {"metadata": APPLIED["metadata"] | about, "spec": APPLIED["spec"]} | over


@pytest.mark.fault("l08")
@pytest.mark.parametrize("by", ["client", "server"])
def test_a_field_that_was_applied_and_is_gone_from_git_is_named_with_its_manager(by):
    git = {"metadata": {}, "spec": {"env": [{"name": "A", "value": "1"}]}}

    found = [str(one).partition("/docs")[2] for one in drift(REF, git, _live(by), [])]

    assert found == [
        ".metadata.labels: not in git, live {'app': 'docs'}, held by kubectl",
        """.spec.env[name="B"]: not in git, live {'name': 'B', 'value': '2'}, held by kubectl""",
    ]
    assert drift(REF, APPLIED, _live(by), []) == ()
    assert drift(REF, git | {"spec": APPLIED["spec"]}, _live(by), [("metadata", "labels")]) == ()


@pytest.mark.fault("l08")
@pytest.mark.parametrize("by", ["client", "server"])
def test_what_changed_since_it_was_applied_or_belongs_to_a_tools_object_is_not_named(by):
    changed = _live(by, spec={"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "3"}]})
    released = _live(by)
    released["metadata"] = released["metadata"] | {"labels": {"app": "docs", "helm.toolkit.fluxcd.io/name": "docs"}}
    git = {"metadata": APPLIED["metadata"], "spec": {"env": [{"name": "A", "value": "1"}]}}

    assert drift(REF, git, released, []) == ()
    assert [one.manager for one in drift(REF, git, changed, [])] == ([] if by == "client" else ["kubectl"])


def test_a_last_applied_body_that_no_reader_can_follow_is_none():
    live = {"metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "[" * 100_000}}}

    assert drift(REF, {"metadata": {}}, live, []) == ()
