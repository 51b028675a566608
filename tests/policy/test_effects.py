import pytest

from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.actions.provision_namespace import ProvisionNamespace
from infra_mcp.model.effect import Change, Effect, FieldChange, Part, Takeover
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.model.peer import Caller
from infra_mcp.policy.decide import effect_refusals, judge, touched
from infra_mcp.policy.policy import load

NAMESPACE = ProvisionNamespace(namespace="docs-staging", pull_secrets=("X",))
DEPLOY = Deploy(app="docs", version="0.13.4")
IMAGE = "registry.example/docs/site:0.13.4"
AT = ("spec", "template", "spec", "containers", {"name": "web"}, "image")
RBAC = "rbac.authorization.k8s.io/v1"


def change(kind, name, namespace="docs-staging", api="v1", operation="create", identity="circle", **rest):
    ref = ObjectRef(cluster=rest.pop("cluster", "sandbox"), api_version=api, kind=kind, namespace=namespace, name=name)
    return Change(target=ref.target, operation=operation, identity=identity, **rest)


def plan(*changes):
    return Effect(action={}, parts=(Part(driver="kubernetes", place="sandbox", stage=0, changes=changes),), files=())


def image(after, **rest):
    field = FieldChange(path=AT, before="registry.example/docs/site:0.13.3", after=after)
    return change("Deployment", "docs", "docs-live", "apps/v1", "update", fields=(field,), **rest)


SPACE = change("Namespace", "docs-staging", None, identity="server")
BINDING = change("RoleBinding", "infra-mcp-circle", api=RBAC, identity="server")
COPY = change("Secret", "registry-x-copy")
ACCOUNT = change("ServiceAccount", "default", operation="update")


def test_what_the_actions_really_do_is_allowed(policy, docs):
    whole = plan(SPACE, BINDING, COPY, ACCOUNT, change("NetworkPolicy", "deny", api="networking.k8s.io/v1"))
    provisioned, deployed = judge(policy, docs, NAMESPACE, whole), judge(policy, docs, DEPLOY, plan(image(IMAGE)))

    assert provisioned.decision == deployed.decision == "allow"
    assert provisioned.policy == policy.digest


def test_namespace_and_binding_that_are_there_already_are_allowed(policy, docs):
    there = plan(*(one.model_copy(update={"operation": "unchanged"}) for one in (SPACE, BINDING)))

    assert judge(policy, docs, NAMESPACE, there).decision == "allow"


@pytest.mark.promise("policy.default-deny")
@pytest.mark.parametrize(
    ("found", "rule"),
    [
        (change("ConfigMap", "x"), "effect.kinds"),
        (change("Role", "x", api=RBAC), "effect.kinds"),
        (change("Deployment", "x", api="apps/v1"), "effect.kinds"),
        (change("Namespace", "x", None, api="evil.example/v1", identity="server"), "effect.kinds"),
        (change("ClusterRoleBinding", "x", None, api=RBAC), "effect.kinds"),
        (change("ServiceAccount", "default", "docs-live"), "effect.scope"),
        (change("ServiceAccount", "default", "kube-system"), "effect.scope"),
        (change("Namespace", "docs-live", None, identity="server"), "effect.scope"),
        (change("LimitRange", "docs-staging", None), "effect.scope"),
        (change("ServiceAccount", "default", cluster="other"), "effect.cluster"),
        (change("ServiceAccount", "default", identity="server"), "effect.identity"),
        (change("Secret", "registry-x-copy", identity="server"), "effect.identity"),
        (change("RoleBinding", "other", api=RBAC, identity="server"), "effect.identity"),
        (change("RoleBinding", "infra-mcp-circle", api=RBAC), "effect.identity"),
        (change("Namespace", "docs-staging", None), "effect.identity"),
        (SPACE.model_copy(update={"operation": "update"}), "effect.identity"),
        (change("Secret", "db-password"), "circles.docs.pull_secrets"),
        (change("Secret", "registry-y"), "circles.docs.pull_secrets"),
        (
            change("ServiceAccount", "default", takes=(Takeover(field=".x", manager="helm", operation="Update"),)),
            "tree.adopt",
        ),
    ],
)
def test_a_plan_that_does_more_than_was_granted_is_refused(policy, docs, found, rule):
    verdict = judge(policy, docs, NAMESPACE, plan(SPACE, BINDING, found))

    assert (verdict.decision, verdict.rule) == ("refuse", rule)


@pytest.mark.promise("policy.default-deny")
@pytest.mark.parametrize(
    ("found", "rule"),
    [
        (image("evil.example/docs/site:0.13.4"), "circles.docs.images"),
        (image(7), "circles.docs.images"),
        (image("registry.example/docs/site:0.13.5"), "effect.scope"),
        (image("registry.example/docs/site:0.13.4@sha256:bad"), "circles.docs.images"),
        (change("Deployment", "other", "docs-live", "apps/v1", "update"), "effect.scope"),
        (change("StatefulSet", "docs", "docs-live", "apps/v1", "update"), "effect.scope"),
        (change("Deployment", "docs", "docs-other", "apps/v1", "update"), "effect.scope"),
        (change("Secret", "registry-x-copy", "docs-live"), "effect.kinds"),
        (
            image(IMAGE, takes=(Takeover(field=".x", manager="argocd-controller", operation="Apply"),)),
            "tree.adopt",
        ),
    ],
)
def test_a_deploy_changes_its_own_workload_to_its_own_image(policy, docs, found, rule):
    verdict = judge(policy, docs, DEPLOY, plan(found))

    assert (verdict.decision, verdict.rule) == ("refuse", rule)


def test_each_object_is_held_to_the_circles_namespaces_whatever_was_asked(policy, docs):
    foreign = plan(change("Namespace", "prod", None, identity="server"), change("ServiceAccount", "default", "prod"))
    found = list(effect_refusals(policy, docs, ProvisionNamespace(namespace="prod"), foreign))

    assert [one.rule for one in found] == ["circles.docs.namespaces"] * 2


def test_an_image_inside_a_whole_new_field_is_seen(policy, docs):
    pod = {"containers": [{"name": "web", "image": IMAGE}, {"name": "miner", "image": "evil.example/x:1"}]}
    whole = FieldChange(path=("spec", "template", "spec"), after=pod, had=False)
    found = change("Deployment", "docs", "docs-live", "apps/v1", "update", fields=(whole,))

    assert judge(policy, docs, DEPLOY, plan(found)).rule == "circles.docs.images"


def test_taking_over_from_people_is_allowed(policy, docs):
    people = tuple(
        Takeover(field=".x", manager=name, operation="Update")
        for name in ("kubectl", "kubectl-client-side-apply", "before-first-apply")
    )

    assert judge(policy, docs, DEPLOY, plan(image(IMAGE, takes=people))).decision == "allow"


def test_the_policy_in_force_at_the_time_of_the_plan_decides(policy_text, docs):
    narrowed = load(policy_text.replace('namespaces = ["docs-*"]\nactions', 'namespaces = ["docs-x"]\nactions'))

    assert judge(narrowed, docs, DEPLOY, plan(image(IMAGE))).rule == "circles.docs.namespaces"


def test_rules_are_asked_about_the_plan_too(policy_text, docs):
    frozen = load(policy_text + '\n[[rules]]\nid = "freeze"\nmatch = { apps = ["docs"] }\ndeny = true\n')

    assert judge(frozen, docs, DEPLOY, plan(image(IMAGE))).rule == "rules.freeze"


@pytest.mark.promise("policy.default-deny")
def test_a_circle_the_policy_does_not_name_is_granted_no_effect_either(policy):
    stranger = Caller(name="docs", circle="nowhere", strength="token")

    assert "circles.nowhere.namespaces" in {
        one.rule for one in effect_refusals(policy, stranger, NAMESPACE, plan(SPACE))
    }
    assert "circles.nowhere.images" in {
        one.rule for one in effect_refusals(policy, stranger, DEPLOY, plan(image(IMAGE)))
    }


@pytest.mark.fault("l01")
@pytest.mark.parametrize(
    ("kind", "api"), [("ClusterRole", RBAC), ("ClusterRoleBinding", RBAC), ("PersistentVolume", "v1"), ("Node", "v1")]
)
def test_a_cluster_scoped_object_is_no_namespace_of_the_same_name(policy, docs, kind, api):
    found = plan(SPACE, change(kind, "docs-staging", None, api))
    rules = [refusal.rule for refusal in effect_refusals(policy, docs, NAMESPACE, found)]

    assert "effect.scope" in rules
    assert touched(found) == {"docs-staging"}
    assert touched(plan(change(kind, "docs-staging", None, api))) == frozenset()
    assert plan(change(kind, "docs-staging", None, api)).blast_radius()["namespaces"] == []


@pytest.mark.fault("f38")
def test_a_plan_that_would_set_a_label_that_was_not_asked_for_is_refused(policy, docs):
    fields = (FieldChange(path=("metadata", "labels"), after={"istio-injection": "disabled"}, had=False),)
    verdict = judge(policy, docs, NAMESPACE, plan(SPACE.model_copy(update={"fields": fields}), BINDING))

    assert (verdict.decision, verdict.rule) == ("refuse", "circles.docs.labels")


@pytest.mark.fault("f38")
@pytest.mark.parametrize(
    "field",
    [
        FieldChange(path=("metadata",), after={"labels": {"infra-mcp.dev/circle": "docs", "x": "y"}}, had=False),
        FieldChange(path=("metadata", "labels"), after={"x": "y"}, had=False),
        FieldChange(path=("metadata", "labels", "x"), after="y", had=False),
    ],
)
def test_a_planned_label_is_seen_in_whatever_form_the_plan_holds_it(policy, docs, field):
    found = [
        one.rule
        for one in effect_refusals(policy, docs, NAMESPACE, plan(SPACE.model_copy(update={"fields": (field,)})))
    ]

    assert "circles.docs.labels" in found


def test_our_own_label_of_the_circle_needs_no_grant(policy, docs):
    field = FieldChange(path=("metadata",), after={"labels": {"infra-mcp.dev/circle": "docs"}}, had=False)

    assert (
        judge(policy, docs, NAMESPACE, plan(SPACE.model_copy(update={"fields": (field,)}), BINDING)).decision == "allow"
    )


@pytest.mark.promise("effect.guarded")
@pytest.mark.parametrize(
    ("kind", "api", "key"),
    [("Deployment", "apps/v1", "replicas"), ("HorizontalPodAutoscaler", "autoscaling/v2", "maxReplicas")],
)
def test_the_replicas_that_a_plan_would_set_are_limited_for_workloads_and_autoscalers_in_whatever_form(
    policy_text, docs, kind, api, key
):
    def rules(text: str, number: int) -> list[set[str]]:
        forms = ((("spec", key), number), (("spec",), {key: number}), ((), {"spec": {key: number}}))
        fields = [FieldChange(path=path, after=after, had=False) for path, after in forms]
        found = [change(kind, "docs", "docs-live", api, fields=(one,)) for one in fields]
        return [{one.rule for one in effect_refusals(load(text), docs, DEPLOY, plan(each))} for each in found]

    none = policy_text.replace("replicas = 10, ", "")
    assert policy_text != none
    assert all("circles.docs.limits.replicas" not in one for one in rules(policy_text, 10))
    assert all("circles.docs.limits.replicas" in one for one in rules(policy_text, 11) + rules(none, 0))
