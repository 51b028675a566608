from pathlib import Path

import pytest
import yaml

from infra_mcp.errors import InfraError
from infra_mcp.policy.policy import load
from infra_mcp.policy.rbac import render, to_yaml

EXAMPLE = Path(__file__).parents[2] / "manifests" / "example"


def of(objects, kind):
    return [one for one in objects if one["kind"] == kind]


def role(objects, name):
    (found,) = [one for one in objects if one["kind"] in {"Role", "ClusterRole"} and one["metadata"]["name"] == name]
    return found["rules"]


def test_the_same_policy_gives_the_same_text(policy, policy_text):
    again = load(policy_text)

    assert to_yaml(render(policy, "sandbox")) == to_yaml(render(again, "sandbox"))


def test_the_text_is_the_objects(policy):
    objects = render(policy, "sandbox", ["shop-old"])

    assert list(yaml.safe_load_all(to_yaml(objects))) == objects


def test_the_example_in_manifests_is_what_is_rendered_now():
    policy = load((EXAMPLE / "infra.toml").read_text(encoding="utf-8"))
    (cluster,) = policy.clusters

    assert (EXAMPLE / "rbac.yaml").read_text(encoding="utf-8") == to_yaml(render(policy, cluster))


def test_nobody_gets_wildcards_deletion_or_escalation(policy):
    objects = render(policy, "sandbox", ["shop-old"])
    rules = [rule for one in of(objects, "Role") + of(objects, "ClusterRole") for rule in one["rules"]]

    assert rules
    for rule in rules:
        assert not {"*", "delete", "deletecollection", "update", "escalate"} & set(rule["verbs"])
        assert "*" not in rule.get("resources", []) + rule.get("apiGroups", [])


@pytest.mark.parametrize("plain", [False, True])
def test_bind_and_impersonate_are_limited_by_name(policy, plain):
    objects = render(policy, "sandbox", plain=plain)
    rules = [rule for one in of(objects, "Role") + of(objects, "ClusterRole") for rule in one["rules"]]
    verb = "impersonate" if plain else "impersonate:serviceaccount"
    by_verb = {one: rule for rule in rules for one in rule["verbs"] if one.split(":")[0] in {"bind", "impersonate"}}

    assert by_verb.keys() == {"bind", verb}
    assert by_verb["bind"]["resourceNames"] == ["infra-mcp-circle", "infra-mcp-as-circle"]
    assert by_verb[verb]["resourceNames"] == ["circle-docs", "circle-readers", "circle-shop"]


@pytest.mark.promise("rbac.constrained")
def test_the_plain_form_differs_in_the_one_rule_that_names_the_accounts(policy):
    constrained, plain = (render(policy, "sandbox", ["shop-old"], plain=which) for which in (False, True))
    differing = [(a, b) for a, b in zip(constrained, plain, strict=True) if a != b]

    ((now, older),) = differing
    assert now["metadata"] == older["metadata"]
    assert [(rule["apiGroups"], rule["verbs"]) for rule in (*now["rules"], *older["rules"])] == [
        (["authentication.k8s.io"], ["impersonate:serviceaccount"]),
        ([""], ["impersonate"]),
    ]


@pytest.mark.promise("rbac.constrained")
def test_the_server_may_do_as_an_account_what_the_account_may_and_nothing_more_and_in_the_same_namespaces(policy):
    objects = render(policy, "sandbox", ["shop-old"])
    rules = {one["metadata"]["name"]: one["rules"] for one in objects if "rules" in one}
    bound = [
        (one["metadata"].get("namespace"), one["roleRef"]["name"], {subject["name"] for subject in one["subjects"]})
        for one in of(objects, "RoleBinding") + of(objects, "ClusterRoleBinding")
    ]
    as_accounts = [(where, role) for where, role, who in bound if who != {"server"}]
    as_server = [(where, role) for where, role, who in bound if who == {"server"} and "-as-" in role]

    assert as_accounts
    assert as_server == [(where, role.replace("infra-mcp-", "infra-mcp-as-", 1)) for where, role in as_accounts]
    for _, role in as_accounts:
        twin = [
            rule | {"verbs": [verb.removeprefix("impersonate-on:serviceaccount:") for verb in rule["verbs"]]}
            for rule in rules[role.replace("infra-mcp-", "infra-mcp-as-", 1)]
        ]
        assert twin == rules[role]
        assert all(":" in verb for rule in rules[role.replace("-mcp-", "-mcp-as-", 1)] for verb in rule["verbs"])


def test_the_server_patches_nothing_and_reads_no_secret(policy):
    rules = role(render(policy, "sandbox"), "infra-mcp-server")
    own = [rule for rule in rules if not any(verb.startswith("impersonate-on:") for verb in rule["verbs"])]

    assert {verb for rule in own for verb in rule["verbs"]} == {"get", "create", "bind"}
    assert {name for rule in own for name in rule["resources"]} == {"namespaces", "rolebindings", "clusterroles"}


def test_a_circle_gets_only_the_named_copies_of_secrets_and_no_list_of_them(policy):
    secrets = [rule for rule in role(render(policy, "sandbox"), "infra-mcp-circle") if rule["resources"] == ["secrets"]]

    assert {verb for rule in secrets for verb in rule["verbs"]} == {"get", "create", "patch"}
    assert [rule["resourceNames"] for rule in secrets if "get" in rule["verbs"]] == [["registry-x-copy", "registry-y"]]


def test_a_policy_without_pull_secrets_gives_no_right_on_secrets():
    policy = load("[clusters.a]\ncontext='a'\n[circles.c]\nnamespaces=['c-*']\n")
    objects = render(policy, "a")

    assert not [rule for rule in role(objects, "infra-mcp-circle") if "secrets" in rule["resources"]]


def test_a_source_is_readable_by_the_circles_that_are_granted_it_and_no_other(policy):
    bindings = {one["metadata"]["name"]: one["subjects"] for one in of(render(policy, "sandbox"), "RoleBinding")}

    assert [subject["name"] for subject in bindings["infra-mcp-pull-X"]] == ["circle-docs"]
    assert [subject["name"] for subject in bindings["infra-mcp-pull-Y"]] == ["circle-shop"]
    assert [subject["name"] for subject in bindings["infra-mcp-as-pull-Y"]] == ["server"]


def test_a_namespace_that_was_there_is_bound_to_the_circle_whose_pattern_matches(policy):
    found, server = (
        one for one in render(policy, "sandbox", ["shop-old"]) if one["metadata"].get("namespace") == "shop-old"
    )

    assert found["metadata"]["name"] == found["roleRef"]["name"] == "infra-mcp-circle"
    assert found["subjects"] == [{"kind": "ServiceAccount", "name": "circle-shop", "namespace": "infra-mcp"}]
    assert (server["metadata"]["name"], server["roleRef"]["name"]) == ("infra-mcp-server", "infra-mcp-as-circle")
    assert server["subjects"] == [{"kind": "ServiceAccount", "name": "server", "namespace": "infra-mcp"}]


@pytest.mark.parametrize("namespace", ["prod", "kube-system", "infra-mcp", "docs-live", "docs-live; rm"])
def test_a_namespace_of_no_circle_or_of_several_is_refused(policy, namespace):
    with pytest.raises(InfraError) as caught:
        render(policy, "sandbox", [namespace])

    assert caught.value.code == "invalid-argument"
    assert "rm" not in str(caught.value)


def test_a_cluster_the_policy_does_not_name_is_refused(policy):
    with pytest.raises(InfraError) as caught:
        render(policy, "other")

    assert caught.value.code == "invalid-argument"


def test_two_installations_in_one_cluster_share_no_cluster_wide_name(policy, policy_text):
    other = load(policy_text.replace('context = "kwok-infra"', 'context = "kwok-infra"\nservice_accounts = "second"'))

    def names(objects):
        return {(o["kind"], o["metadata"]["name"]) for o in objects if "namespace" not in o["metadata"]}

    assert not names(render(policy, "sandbox")) & names(render(other, "sandbox"))


def test_a_zone_in_a_cluster_gives_its_circles_its_one_object_and_no_right_to_make_any(policy_text):
    zones = """
[zones."docs.example"]
backend = "dnsendpoint"
cluster = "sandbox"
object = "docs-live/records"
servers = ["192.0.2.53"]
[zones."in.example"]
backend = "coredns"
cluster = "sandbox"
object = "kube-system/coredns-custom"
key = "in.example.zone"
servers = ["192.0.2.53"]
[zones."elsewhere.example"]
backend = "rfc2136"
server = "192.0.2.53"
key_file = "/run/key"
"""
    granted = policy_text.replace("[circles.docs]\n", '[circles.docs]\nzones = ["docs.example", "in.example"]\n')
    objects = [one for one in render(load(granted + zones), "sandbox") if "-zone-" in one["metadata"]["name"]]

    own = [one for one in objects if "-as-" not in one["metadata"]["name"]]
    assert len(objects) == 2 * len(own)
    assert [(one["kind"], one["metadata"]["namespace"]) for one in own] == [
        ("Role", "docs-live"), ("RoleBinding", "docs-live"), ("Role", "kube-system"), ("RoleBinding", "kube-system"),
    ]  # fmt: skip
    assert own[0]["rules"] == [
        {"apiGroups": ["externaldns.k8s.io"], "resources": ["dnsendpoints"], "resourceNames": ["records"],
         "verbs": ["get", "patch"]}
    ]  # fmt: skip
    assert own[2]["rules"][0]["resourceNames"] == ["coredns-custom"]
    for binding in own[1::2]:
        assert [one["name"] for one in binding["subjects"]] == ["circle-docs"]
