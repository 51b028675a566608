"""The rights of `rbac render` on a real API server: what the server and the circles can do, and what they cannot."""

import pytest
from policy.installed_policy import denied, done, fenced

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]


@pytest.mark.promise("rbac.impersonated")
@pytest.mark.parametrize(
    "words",
    [
        "label namespace NEW a=b",
        "annotate namespace NEW a=b",
        "delete namespace NEW",
        "get namespaces",
        "get secret registry-x -n SECRETS",
        "get secrets -n NEW",
        "get pods -n NEW",
        "get deployments -n NEW",
        "get serviceaccounts -n NEW",
        "get rolebinding other -n NEW",
        "get rolebindings -n NEW",
        "delete rolebinding infra-mcp-circle -n NEW",
        "create serviceaccount x -n NEW",
        "create token circle-docs -n OWN",
        "create clusterrole x --verb=get --resource=pods",
        "get nodes",
    ],
)
def test_the_server_does_nothing_else_in_its_own_name(installed, words):
    places = {"NEW": "docs-new", "SECRETS": "infra-secrets", "OWN": "infra"}
    asked = [installed.name(places[word]) if word in places else word for word in words.split()]

    denied(installed.run(*asked))


@pytest.mark.promise("rbac.impersonated")
@pytest.mark.parametrize(
    "who",
    [
        ("--as", "system:admin"),
        ("--as", "system:serviceaccount:kube-system:default"),
        ("--as", "system:serviceaccount:{}-infra:server"),
        ("--as", "system:serviceaccount:{}-infra:circle-docs", "--as-group", "system:masters"),
    ],
)
def test_the_server_acts_as_nobody_but_the_circles(installed, who):
    refused = installed.run("get", "namespace", "default", *(word.format(installed.mark) for word in who))

    assert refused.returncode
    assert "cannot impersonate" in refused.stderr


@pytest.mark.promise("rbac.impersonated")
def test_the_circle_writes_in_its_own_namespace_what_the_actions_write(installed):
    labels = {"matchLabels": {"a": "b"}}
    pod = {"containers": [{"name": "web", "image": "registry.example/docs/site:1"}]}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod}
    for body in (
        installed.secret("registry-x-copy"),
        installed.inside("ServiceAccount", "web", imagePullSecrets=[{"name": "registry-x-copy"}]),
        installed.inside("ResourceQuota", "quota", spec={"hard": {"pods": "10"}}),
        installed.inside("LimitRange", "limits", spec={"limits": [{"type": "Container", "default": {"cpu": "1"}}]}),
        installed.inside("NetworkPolicy", "deny", api="networking.k8s.io/v1", spec={"podSelector": {}}),
        installed.inside(
            "Deployment", "web", api="apps/v1", spec={"replicas": 0, "selector": labels, "template": template}
        ),
    ):
        done(installed.apply(body, "circle-docs"))
        done(installed.apply(body, "circle-docs"))
    for words in ("secret registry-x-copy", "pods", "events", "replicasets", "controllerrevisions", "deployments"):
        done(installed.run("get", *words.split(), "-n", installed.name("docs-new"), who="circle-docs"))
    done(installed.run("get", "namespace", installed.name("docs-new"), who="circle-docs"))


@pytest.mark.promise("rbac.impersonated")
@pytest.mark.parametrize("namespace", ["shop-old", "docs-old", "other", "nowhere", "infra", "infra-secrets"])
def test_the_circle_is_refused_elsewhere_whether_the_namespace_exists_or_not(installed, namespace):
    body = installed.inside("ServiceAccount", "web", namespace)

    denied(installed.apply(body, "circle-docs", "--dry-run=server"))
    denied(installed.run("get", "pods", "-n", installed.name(namespace), who="circle-docs"))
    denied(installed.run("get", "namespace", installed.name(namespace), who="circle-docs"))


@pytest.mark.parametrize(
    "words",
    [
        "get secrets",
        "get secret other",
        "get configmaps",
        "get roles",
        "delete deployment web",
        "delete secret registry-x-copy",
        "create role x --verb=get --resource=pods",
        "create rolebinding x --clusterrole=view --serviceaccount=default:default",
        "create token default",
        "delete configmap x",
    ],
)
def test_the_circle_does_nothing_else_in_its_own_namespace(installed, words):
    denied(installed.run(*words.split(), "-n", installed.name("docs-new"), who="circle-docs"))


def test_the_circle_does_not_change_its_own_namespace(installed):
    denied(installed.run("label", "namespace", installed.name("docs-new"), "a=b", who="circle-docs"))


@pytest.mark.promise("pull-secret.granted")
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("registry-y", "kubernetes.io/dockerconfigjson"),
        ("anything", "kubernetes.io/dockerconfigjson"),
        ("registry-x-copy", "Opaque"),
        ("registry-x-copy", "kubernetes.io/service-account-token"),
    ],
)
def test_the_circle_writes_no_secret_but_the_copies_it_is_granted(installed, name, kind):
    fenced(installed.create(installed.secret(name, kind=kind), "circle-docs", "--dry-run=server"))


@pytest.mark.promise("pull-secret.granted")
def test_the_circle_reads_its_granted_source_and_no_other(installed):
    secrets = installed.name("infra-secrets")
    done(installed.run("get", "secret", "registry-x", "-n", secrets, who="circle-docs"))

    denied(installed.run("get", "secret", "registry-y", "-n", secrets, who="circle-docs"))
    denied(installed.run("get", "secret", "unrelated", "-n", secrets, who="circle-docs"))
    denied(installed.run("get", "secrets", "-n", secrets, who="circle-docs"))
    denied(installed.run("get", "secret", "registry-x", "-n", secrets, who="circle-shop"))
    denied(installed.run("get", "secret", "registry-x", "-n", secrets, who="server"))


def test_a_namespace_that_was_there_is_the_circles_once_an_admin_applied_its_binding(installed):
    body = installed.inside("ServiceAccount", "web", "shop-old")

    done(installed.apply(body, "circle-shop", "--dry-run=server"))
    denied(installed.apply(body, "circle-docs", "--dry-run=server"))


def test_what_is_rendered_applies_again_without_a_change(installed):
    told = done(installed.run("apply", "-f", "-", who="admin", body=installed.manifests)).splitlines()

    assert told
    assert not [line for line in told if not line.endswith(" unchanged")]
