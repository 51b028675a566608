"""What `rbac render` gives to Helm: an identity of its own, bound where policy says so, and said to read Secrets."""

import pytest

from infra_mcp.model.marks import BINDING, HELM_BINDING, HELM_SERVER_BINDING, SERVER_BINDING
from infra_mcp.policy.policy import load
from infra_mcp.policy.rbac import render, to_yaml

pytestmark = pytest.mark.promise("rbac.impersonated")

POLICY = """\
[clusters.sandbox]
context = "sandbox"
service_accounts = "infra-mcp"
[circles.docs]
namespaces = ["docs-*"]
actions = ["helm_release"]
helm = [{helm}]
[circles.shop]
namespaces = ["shop-*"]
actions = ["deploy"]
"""
PLACES = ["docs-live", "docs-test", "shop-live"]


def _rendered(helm='"docs-live"'):
    return render(load(POLICY.format(helm=helm)), "sandbox", PLACES)


def _named(objects, kind):
    return {one["metadata"]["name"]: one for one in objects if one["kind"] == kind}


def _bindings(objects):
    found = (one["metadata"] for one in objects if one["kind"] == "RoleBinding")
    return {(one["namespace"], one["name"]) for one in found}


def _impersonated(objects):
    rules = [rule for one in objects for rule in one.get("rules", ()) if "impersonate:serviceaccount" in rule["verbs"]]
    return {name for rule in rules for name in rule["resourceNames"]}


def test_helm_is_bound_only_in_the_namespaces_that_policy_gives_to_it_and_never_in_the_cluster():
    objects = _rendered()
    bound = _bindings(objects)
    accounts = {
        (one["metadata"].get("namespace"), subject["name"])
        for one in objects
        for subject in one.get("subjects", ())
        if subject["name"].endswith("-helm")
    }

    assert {one for one in bound if one[0] in PLACES} == {
        *((place, name) for place in PLACES for name in (BINDING, SERVER_BINDING)),
        ("docs-live", HELM_BINDING),
        ("docs-live", HELM_SERVER_BINDING),
    }
    assert accounts == {("docs-live", "circle-docs-helm")}
    assert _impersonated(objects) == {"circle-docs", "circle-shop", "circle-docs-helm"}
    assert [name for name in _named(objects, "ServiceAccount") if name.endswith("-helm")] == ["circle-docs-helm"]


def test_helm_s_role_holds_secrets_with_all_verbs_and_no_right_that_gives_rights():
    rules = _named(_rendered(), "ClusterRole")["infra-mcp-helm-docs"]["rules"]
    secrets = next(rule for rule in rules if "secrets" in rule["resources"])

    assert {"list", "create", "update", "delete"} <= set(secrets["verbs"])
    for rule in rules:
        assert not {"*", "escalate", "bind", "impersonate"} & set(rule["verbs"])
        assert not {"rbac.authorization.k8s.io", "admissionregistration.k8s.io", "*"} & set(rule["apiGroups"])
        assert not {"namespaces", "nodes", "serviceaccounts/token", "pods/exec", "*"} & set(rule["resources"])


def test_the_rendered_text_says_that_helm_can_read_all_secrets():
    text = to_yaml(_rendered())

    assert text.count("can read ALL Secrets") >= 2


def test_without_a_namespace_for_helm_nothing_of_it_is_rendered():
    assert "helm" not in to_yaml(_rendered(helm="")).lower()


@pytest.mark.parametrize("kept", ['"docs-live"', ""])
def test_a_namespace_taken_from_helm_takes_rights_and_adds_none(kept):
    assert _bindings(_rendered(kept)) < _bindings(_rendered('"docs-*"'))
