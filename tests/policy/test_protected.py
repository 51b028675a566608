"""What no request changes: objects that policy protects, and the peer's own, whatever brings the change."""

from __future__ import annotations

import pytest
from policy.guard.guard_cases import change_of

from infra_mcp.drivers.terraform.effect import Reader
from infra_mcp.drivers.terraform.plan import change_of as resource_change
from infra_mcp.errors import InfraError
from infra_mcp.model.actions.provision_namespace import ProvisionNamespace
from infra_mcp.model.actions.restart import Restart
from infra_mcp.model.actions.scale import Scale
from infra_mcp.model.actions.terraform_apply import TerraformApply
from infra_mcp.model.effect import Change, Effect, FieldChange, Part, Reached
from infra_mcp.model.marks import BINDINGS
from infra_mcp.model.peer import Caller
from infra_mcp.model.target import Target
from infra_mcp.policy.decide import judge
from infra_mcp.policy.policy import load
from infra_mcp.policy.proposed import object_findings
from infra_mcp.policy.protected import Place, is_own
from infra_mcp.policy.rbac import render

pytestmark = pytest.mark.promise("policy.protected")

DOCS = Caller(name="docs", circle="docs", strength="token")
POLICY = """
[clusters.sandbox]
context = "sandbox"
[circles.docs]
namespaces = ["docs-*"]
actions = ["deploy", "scale", "restart", "rollback", "provision_namespace", "helm_release", "terraform_apply"]
limits = { replicas = 9 }
workspaces = ["network"]
helm = ["docs-*"]
[workspaces.network]
path = "tf/network"
[apps.docs]
owner = "docs"
workload = "docs-live/deployment/docs"
file = "k8s/docs.yaml"
"""
KEPT = """
[[protected]]
id = "kept"
namespaces = ["docs-live"]
kinds = ["apps/Deployment"]
names = ["docs"]
reason = "Ask Ann."
"""
WEB = Target(system="kubernetes", place="sandbox", scope="docs-live", kind="apps/Deployment", name="docs")


def rule(action, changes, *, more=KEPT, driver="kubernetes", reach=()):
    part = Part(driver=driver, place=changes[0].target.place, stage=0, changes=tuple(changes))
    verdict = judge(load(POLICY + more), DOCS, action, Effect(action={}, parts=(part,), files=(), reach=reach))
    return verdict.rule


@pytest.mark.parametrize(
    ("action", "path"),
    [
        (Scale(app="docs", replicas=3), ("spec", "replicas")),
        (Restart(app="docs"), ("spec", "template", "metadata", "annotations", "infra-mcp.dev/restart")),
    ],
    ids=lambda one: getattr(one, "action", ""),
)
def test_a_typed_action_that_would_change_a_protected_object_is_refused_with_policys_reason(action, path):
    change = Change(target=WEB, operation="update", fields=(FieldChange(path=path, after=3),))
    part = Part(driver="kubernetes", place="sandbox", stage=0, changes=(change,))
    verdict = judge(load(POLICY + KEPT), DOCS, action, Effect(action={}, parts=(part,), files=()))

    assert verdict.rule == "protected.kept"
    assert verdict.reason == "No request changes docs-live/deployment/docs (Ask Ann.)."
    assert rule(action, [change], more="") != "protected.kept"
    assert rule(action, [change.model_copy(update={"operation": "unchanged", "fields": ()})]) != "protected.kept"


@pytest.mark.parametrize("operation", ["create", "update", "replace", "delete", "run"])
def test_a_chart_neither_changes_nor_prunes_a_protected_object(operation):
    change = change_of({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "docs"}}, "docs-live")
    release = Target(system="helm", place="sandbox", scope="docs-live", kind="release", name="docs")
    upgrade = Change(target=release, operation="update", identity="helm")

    assert rule(Scale(app="docs", replicas=3), [upgrade, change.model_copy(update={"operation": operation})]) == (
        "protected.kept"
    )


def test_a_build_that_others_deliver_does_not_change_a_protected_object():
    change = Change(target=WEB, operation="update", traits=())
    flux = Reached(delivery="flux", root="k8s", cluster="sandbox", own=True, targets=(WEB.key,), renders=(change,))
    other = Change(target=WEB, operation="unchanged")

    assert rule(Scale(app="docs", replicas=3), [other], reach=(flux,)) == "protected.kept"


def test_the_whole_of_a_protected_namespace_is_protected_and_the_namespace_itself():
    more = '[[protected]]\nid = "all"\nnamespaces = ["docs-new"]\n'
    action = ProvisionNamespace(namespace="docs-new")
    space = Target(system="kubernetes", place="sandbox", scope=None, kind="Namespace", name="docs-new")
    made = Change(target=space, operation="create", identity="server")

    assert rule(action, [made], more=more) == "protected.all"
    assert rule(action, [made], more="") == "circles.docs.actions"


def test_the_server_makes_its_binding_in_a_new_namespace_and_no_chart_changes_it():
    binding = Target(
        system="kubernetes",
        place="sandbox",
        scope="docs-new",
        kind="rbac.authorization.k8s.io/RoleBinding",
        name="infra-mcp-circle",
    )
    made = Change(target=binding, operation="create", identity="server", traits=())
    action = ProvisionNamespace(namespace="docs-new")

    assert rule(action, [made], more="") == "circles.docs.actions"
    by = {"by": "helm|sandbox|docs-new|release|x"}
    assert rule(action, [made.model_copy(update=by)], more="") == "protected.infra-mcp"
    assert rule(action, [made.model_copy(update=by | {"operation": "delete"})], more="") == "protected.infra-mcp"
    for more in ({"identity": "circle"}, {"operation": "update"}, {"operation": "delete"}):
        assert rule(action, [made.model_copy(update=more)], more="") == "effect.identity"


# ---- Terraform's providers for Kubernetes: plans as `show -json` gives them, since no registry is asked by tests


def _plan(kind, before, after, actions, unknown):
    change = {"actions": actions, "before": before, "after": after, "after_unknown": unknown}
    return {"resource_changes": [{"address": f"{kind}.x", "type": kind, "change": change}]}


def _terraform(kind, before, after, actions=("update",), secrets=(), unknown=None):
    reader = Reader(lambda value: f"hmac:{len(value)}", secrets)
    (one,) = reader.view(_plan(kind, before, after, list(actions), unknown or {})).resources
    return resource_change("network", one)


META = {"metadata": [{"name": "docs", "namespace": "docs-live"}]}
MANIFEST = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "docs", "namespace": "docs-live"}}
RESOURCES = [
    ("kubernetes_deployment", META),
    ("kubernetes_deployment_v1", META),
    ("kubernetes_manifest", {"manifest": MANIFEST}),
    ("kubectl_manifest", {"yaml_body": "kind: Deployment\nmetadata: {name: docs, namespace: docs-live}\n"}),
    ("kubernetes_labels", {"kind": "Deployment", **META}),
]


@pytest.mark.parametrize(("kind", "values"), RESOURCES, ids=lambda one: one if isinstance(one, str) else "")
@pytest.mark.parametrize("actions", [("update",), ("create",), ("delete",), ("delete", "create")])
def test_no_provider_of_terraform_changes_or_destroys_a_protected_object(kind, values, actions):
    before = None if actions == ("create",) else values
    after = None if actions == ("delete",) else values | {"wait": True}
    change = _terraform(kind, before, after, actions)

    assert rule(TerraformApply(workspace="network"), [change], driver="terraform") == "protected.kept"
    assert "protected" not in rule(TerraformApply(workspace="network"), [change], driver="terraform", more="")


@pytest.mark.parametrize(
    ("kind", "values", "refused"),
    [
        ("kubernetes_config_map", {"metadata": [{"name": "c", "namespace": "kube-system"}]}, "protected.namespaces"),
        ("kubernetes_namespace", {"metadata": [{"name": "kube-system"}]}, "protected.namespaces"),
        ("helm_release", {"name": "r"}, "protected.namespaces"),
        ("kubernetes_secret_v1_data", {"metadata": [{"name": "c", "namespace": "infra-mcp"}]}, "protected.infra-mcp"),
        ("kubernetes_cluster_role_binding", {"metadata": [{"name": "infra-mcp-server"}]}, "protected.infra-mcp"),
        ("kubernetes_config_map", {"metadata": [{"name": "c"}]}, "protected.namespaces"),
        ("kubernetes_config_map", {"metadata": [{"namespace": "docs-live"}]}, "protected.namespaces"),
        ("kubernetes_manifest", {}, "protected.namespaces"),
        # Without a namespace it is that of `default`: where all in the cluster find the API server.
        (
            "kubernetes_manifest",
            {"manifest": {"kind": "Endpoints", "metadata": {"name": "kubernetes"}}},
            "protected.namespaces",
        ),
        ("kubectl_manifest", {"yaml_body": "{"}, "protected.namespaces"),
        (
            "kubectl_manifest",
            {"yaml_body": "{kind: ConfigMap, metadata: {name: c, namespace: docs-live}, items: [{kind: Secret}]}"},
            "protected.namespaces",
        ),
        ("kubernetes_cluster_role", {"metadata": [{"name": "infra-mcpx"}]}, "circles.docs.actions"),
        ("kubernetes_storage_class_v1", {"metadata": [{"name": "fast"}]}, "circles.docs.actions"),
        ("kubernetes_manifest", {"manifest": {"kind": "Issuer", "metadata": {"name": "i"}}}, "circles.docs.actions"),
        (
            "kubernetes_job",
            {"metadata": [{"generate_name": "j-", "namespace": "docs-live"}]},
            "circles.docs.actions",
        ),
        ("terraform_data", {"input": "kube-system"}, "circles.docs.actions"),
    ],
)
def test_terraform_changes_nothing_in_a_protected_namespace_nothing_of_ours_and_nothing_unknown(kind, values, refused):
    change = _terraform(kind, None, values, ("create",))

    assert rule(TerraformApply(workspace="network"), [change], driver="terraform", more="") == refused


HIDING = {
    "yaml_body": "kind: ConfigMap\nmetadata: {name: c, namespace: infra-mcp}\n",
    "yaml_body_parsed": "kind: ConfigMap\nmetadata: {name: c, namespace: (sensitive value)}\n",
    "sensitive_fields": ["metadata.namespace"],
}
ELSEWHERE = {
    "yaml_body": "kind: ConfigMap\nmetadata: {name: c, namespace: docs-live}\n",
    "override_namespace": "infra-mcp",
}
NAMED = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
LATE = [
    ("helm_release", {"name": "r"}, {"namespace": True}),
    ("helm_release", {"name": "r", "namespace": "docs-live"}, {"name": True}),
    ("kubectl_manifest", {"yaml_body": ELSEWHERE["yaml_body"]}, {"override_namespace": True, "uid": True}),
    ("kubectl_manifest", {}, {"yaml_body": True}),
    ("kubernetes_manifest", {"manifest": NAMED}, {"manifest": {"metadata": {"namespace": True}}}),
    ("kubernetes_manifest", {"manifest": NAMED}, {"manifest": {"metadata": True}}),
    ("kubernetes_manifest", {}, {"manifest": True}),
    ("kubernetes_config_map", {"metadata": [{"name": "c"}]}, {"metadata": [{"namespace": True, "uid": True}]}),
    ("kubernetes_config_map", {}, {"metadata": True}),
    ("kubernetes_labels", {"metadata": [{"name": "c", "namespace": "docs-live"}]}, {"kind": True}),
]


@pytest.mark.parametrize("values", [HIDING, ELSEWHERE], ids=["sensitive_fields", "override_namespace"])
def test_no_field_of_a_provider_hides_where_an_object_really_is(values):
    change = _terraform("kubectl_manifest", None, values, ("create",))

    assert rule(TerraformApply(workspace="network"), [change], driver="terraform", more="") == "protected.infra-mcp"


@pytest.mark.parametrize(("kind", "values", "unknown"), LATE)
def test_what_is_known_only_after_the_apply_is_not_taken_for_absent(kind, values, unknown):
    change = _terraform(kind, None, values, ("create",), unknown=unknown)

    assert rule(TerraformApply(workspace="network"), [change], driver="terraform", more="") == "protected.namespaces"


def test_a_generated_name_which_is_known_only_after_the_apply_is_a_new_one():
    values = {"metadata": [{"generate_name": "j-", "namespace": "docs-live"}]}
    change = _terraform("kubernetes_job", None, values, ("create",), unknown={"metadata": [{"name": True}]})

    assert rule(TerraformApply(workspace="network"), [change], driver="terraform", more="") == "circles.docs.actions"


def test_an_object_whose_name_is_a_secret_is_unknown_and_what_is_only_read_is_no_change():
    meta = {"metadata": [{"name": "hidden-word", "namespace": "docs-live"}]}
    change = _terraform("kubernetes_config_map", meta, {**meta, "data": {}}, secrets=("hidden-word",))
    read = _terraform("kubernetes_secret", None, {"metadata": [{"name": "c", "namespace": "kube-system"}]}, ("read",))

    assert "hidden-word" not in change.model_dump_json()
    assert rule(TerraformApply(workspace="network"), [change], driver="terraform", more="") == "protected.namespaces"
    assert read.traits is None


def test_a_pull_request_of_people_that_changes_a_protected_object_needs_people():
    change = Change(target=WEB, operation="update", traits=())
    found = [*object_findings(load(POLICY + KEPT), change, (), before={}, after={})]

    assert ("needs-approval", "protected.kept") in {(one.decision, one.rule) for one in found}


@pytest.mark.parametrize(
    "given",
    [
        'id = "x"',
        'id = "x"\nnames = ["a"]\n[[protected]]\nid = "x"\nnames = ["b"]',
        'names = ["x"]',
        'id = "x"\nname = "y"',
    ],
)
def test_an_entry_that_names_nothing_or_has_a_second_of_its_id_makes_the_policy_invalid(given):
    with pytest.raises(InfraError, match="protected"):
        load(f"[[protected]]\n{given}\n")


def test_every_object_that_an_admin_applies_for_us_is_protected(policy_text):
    """Also those that a later version adds: who changes one has the rights that it bounds."""
    zone = '[zones."in.example"]\nbackend = "coredns"\ncluster = "sandbox"\nobject = "dns/coredns"\n'
    zone += 'key = "in.example.zone"\nservers = ["192.0.2.53"]\n'
    text = policy_text.replace("[circles.shop]\n", '[circles.shop]\nhelm = ["shop-*"]\nzones = ["in.example"]\n')
    granted = load(text + zone)
    objects = render(granted, "sandbox", ["shop-old"])
    places = [
        Place(
            one["metadata"].get("namespace"),
            f"{group}/{one['kind']}" if group else one["kind"],
            one["metadata"]["name"],
        )
        for one in objects
        for group in [one["apiVersion"].rpartition("/")[0]]
    ]

    assert len({place.kind for place in places}) >= 8
    assert [one for one in places if not is_own(granted, one) and one.name not in BINDINGS] == []
