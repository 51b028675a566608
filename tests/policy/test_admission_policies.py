"""The admission policies of `rbac render` on a real API server: what they refuse to the server and to everyone else."""

import json

import pytest
from policy.installed_policy import RBAC, denied, done, fenced

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]


@pytest.mark.promise("rbac.impersonated")
def test_the_server_creates_a_namespace_of_the_circles_pattern_and_its_binding(installed):
    done(installed.create(installed.namespace("docs-x", team="docs"), "server", "--dry-run=server"))
    labels = json.loads(done(installed.run("get", "namespace", installed.name("docs-new"), "-o", "json")))["metadata"]
    done(installed.run("get", "rolebinding", "infra-mcp-circle", "-n", installed.name("docs-new")))

    assert labels["labels"]["infra-mcp.dev/circle"] == "docs"


@pytest.mark.promise("rbac.impersonated")
@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"rest": "prod"}, "not one of the circle"),
        ({"rest": "docs-x", "circle": "shop"}, "not one of the circle"),
        ({"rest": "docs-x", "circle": "nobody"}, "not one of the circle"),
        ({"rest": "docs-x", "circle": None}, "not one of the circle"),
        ({"rest": "docs-x", "pod-security.kubernetes.io/enforce": "privileged"}, "switches protections"),
        ({"rest": "docs-x", "istio-injection": "disabled"}, "not grant"),
        ({"rest": "docs-x", "teams": "x"}, "not grant"),
        ({"rest": "docs-x", "oxk": "x"}, "not grant"),
        ({"rest": "docs-x", "app.kubernetes.io/part-of": "x"}, "not grant"),
        ({"rest": "docs-x", "annotations": {"scheduler.alpha.kubernetes.io/node-selector": "a=b"}}, "no annotation"),
    ],
)
def test_a_namespace_of_another_name_circle_or_label_is_refused_by_admission(installed, wanted, says):
    assert says in fenced(installed.create(installed.namespace(**wanted), "server", "--dry-run=server"))


@pytest.mark.fault("w17")
@pytest.mark.parametrize(
    "more",
    [
        {"finalizers": ["example.invalid/keep"]},
        {"ownerReferences": [{"apiVersion": "v1", "kind": "Namespace", "name": "default", "uid": "u-1"}]},
        {"generateName": "docs-"},
    ],
    ids=lambda more: next(iter(more)),
)
def test_a_namespace_holds_nothing_that_keeps_it_removes_it_or_names_it_otherwise(installed, more):
    body = installed.namespace("docs-x")
    body["metadata"] |= more | ({"generateName": installed.name("docs-")} if "generateName" in more else {})
    if "generateName" in more:
        del body["metadata"]["name"]

    fenced(installed.create(body, "server", "--dry-run=server"))


@pytest.fixture(scope="module")
def tenant(installed):
    """Someone else's account that may create and change every namespace, its status too."""
    name = installed.name("tenant")
    rule = {"apiGroups": [""], "resources": ["namespaces", "namespaces/status", "namespaces/finalize"], "verbs": ["*"]}
    role = {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": [rule]}
    binding = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": "tenant", "namespace": installed.name("other")}],
    }
    try:
        for one in (role, binding):
            done(installed.create(one, "admin"))
        yield ("--as", f"system:serviceaccount:{installed.name('other')}:tenant")
    finally:
        for kind in ("clusterrolebinding", "clusterrole"):
            installed.run("delete", kind, name, "--ignore-not-found", who="admin")


MARKS = [
    {"labels": {"infra-mcp.dev/circle": "docs"}},
    {"annotations": {"infra-mcp.dev/request": "req-1"}},
    {"annotations": {"infra-mcp.dev/write": "0" * 32}},
    {"labels": {"infra-mcp.dev/anything": "x"}},
]


@pytest.mark.fault("f26")
@pytest.mark.parametrize("who", ["tenant", "admin"])
@pytest.mark.parametrize("marks", MARKS)
def test_nobody_but_the_server_creates_a_namespace_with_our_marks(installed, tenant, who, marks):
    plain = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": installed.name("docs-x")}}
    words = ("--dry-run=server", *(tenant if who == "tenant" else ()))
    done(installed.create(plain, "admin", *words))
    plain["metadata"] |= marks

    assert "infra-mcp" in fenced(installed.create(plain, "admin", *words))


@pytest.mark.fault("f26")
@pytest.mark.parametrize("where", ["", "--subresource=status"])
@pytest.mark.parametrize(
    ("namespace", "marks"),
    [
        *(("docs-old", marks) for marks in MARKS),
        *(("docs-new", marks) for marks in MARKS[1:]),
        ("docs-new", {"labels": {"infra-mcp.dev/circle": "shop"}}),
        ("docs-new", {"labels": {"infra-mcp.dev/circle": None}}),
    ],
)
def test_nobody_but_the_server_changes_our_marks_of_a_namespace(installed, tenant, namespace, marks, where):
    patch = json.dumps({"metadata": marks})
    words = ["patch", "namespace", installed.name(namespace), "--type=merge", "-p", patch, "--dry-run=server"]

    fenced(installed.run(*words, *([where] if where else []), *tenant, who="admin"))


@pytest.mark.fault("f26")
def test_others_go_on_changing_everything_else_of_a_namespace_of_ours(installed, tenant):
    patch = json.dumps({"metadata": {"labels": {"team": "x"}, "annotations": {"note": "x"}}})
    words = ["patch", "namespace", installed.name("docs-new"), "--type=merge", "-p", patch, "--dry-run=server"]

    done(installed.run(*words, *tenant, who="admin"))


@pytest.mark.promise("rbac.impersonated")
@pytest.mark.parametrize("namespace", ["kube-system", "default", "docs-old", "other", "infra"])
def test_the_server_binds_nobody_in_a_namespace_it_did_not_make(installed, namespace):
    where = namespace if namespace in {"kube-system", "default"} else installed.name(namespace)

    assert "not made for a circle" in fenced(installed.create(installed.binding(where), "server", "--dry-run=server"))


@pytest.mark.promise("rbac.impersonated")
@pytest.mark.parametrize("accounts", [("circle-shop",), ("server",), ("circle-docs", "circle-shop"), ("default",)])
def test_the_server_binds_only_the_account_of_the_namespaces_own_circle(installed, accounts):
    asked = installed.binding(installed.name("docs-new"), accounts)

    assert "not for the account" in fenced(installed.create(asked, "server", "--dry-run=server"))


def test_the_server_makes_no_binding_of_another_name(installed):
    fenced(installed.create(installed.binding(installed.name("docs-new"), name="x"), "server", "--dry-run=server"))


@pytest.mark.parametrize("role", ["cluster-admin", "admin", "view"])
def test_the_server_binds_no_other_role(installed, role):
    denied(installed.create(installed.binding(installed.name("docs-new"), role=role), "server", "--dry-run=server"))


@pytest.mark.promise("rbac.constrained")
def test_the_server_binds_itself_only_to_the_role_of_acting_as_the_circle(installed):
    namespace = installed.name("docs-new-2")
    done(installed.create(installed.namespace("docs-new-2")))
    try:
        asked = installed.acting_binding(namespace)
        done(installed.create(asked, "server", "--dry-run=server"))
        for wrong in (
            installed.acting_binding(namespace, ("circle-docs",)),
            installed.acting_binding(namespace, ("server", "circle-docs")),
            installed.acting_binding(namespace, role=installed.name("infra-circle")),
            installed.binding(namespace, ("server",)),
            installed.binding(namespace, ("circle-docs",), installed.name("infra-as-circle")),
            installed.acting_binding(installed.name("other")),
        ):
            fenced(installed.create(wrong, "server", "--dry-run=server"))
    finally:
        installed.run("delete", "namespace", namespace, "--wait=false", who="admin")
