"""What `rbac render` prints, applied to a real API server: what each identity can do there, and what it cannot."""

import base64
import json
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra_mcp.policy.policy import load
from infra_mcp.policy.rbac import render, to_yaml

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

RBAC = "rbac.authorization.k8s.io"
CONFIG = base64.b64encode(b'{"auths":{"registry.example":{"auth":"bm9ib2R5OmhlcmU="}}}').decode()
LEFT = ("infra", "infra-secrets", "docs-new", "docs-old", "shop-old", "other")


@dataclass(frozen=True)
class Installed:
    """A policy installed under names of its own, and kubectl as whoever is to be tried."""

    kubectl: Path
    admin: Path
    server: Path
    mark: str
    manifests: str

    def name(self, rest: str) -> str:
        return f"{self.mark}-{rest}"

    def run(self, *words, who="server", body=None):
        """kubectl as the admin, as the server, or as the server acting as a circle."""
        argv = [self.kubectl, "--kubeconfig", self.admin if who == "admin" else self.server, *words]
        argv += ["--as", f"system:serviceaccount:{self.name('infra')}:{who}"] if who.startswith("circle-") else []
        text = body if isinstance(body, str) else json.dumps(body)
        return subprocess.run(
            list(map(str, argv)), input=text, capture_output=True, text=True, encoding="utf-8", check=False
        )

    def create(self, body, who="server", *words):
        return self.run("create", "-f", "-", *words, who=who, body=body)

    def apply(self, body, who, *words):
        return self.run("apply", "--server-side", "--field-manager=infra-mcp", "-f", "-", *words, who=who, body=body)

    def namespace(self, rest, circle="docs", annotations=None, **labels):
        marked = ({"infra-mcp.dev/circle": circle} if circle else {}) | labels
        metadata = {"name": self.name(rest), "labels": marked, "annotations": annotations or {}}
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}

    def binding(self, namespace, accounts=("circle-docs",), role=None, name="infra-mcp-circle"):
        return {
            "apiVersion": f"{RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": name, "namespace": namespace},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role or self.name("infra-circle")},
            "subjects": [{"kind": "ServiceAccount", "name": a, "namespace": self.name("infra")} for a in accounts],
        }

    def inside(self, kind, name, namespace="docs-new", api="v1", **rest):
        return {
            "apiVersion": api,
            "kind": kind,
            "metadata": {"name": name, "namespace": self.name(namespace)},
            **rest,
        }

    def secret(self, name, namespace="docs-new", kind="kubernetes.io/dockerconfigjson"):
        data = {".dockerconfigjson": CONFIG} if kind.endswith("json") else {}
        body = self.inside("Secret", name, namespace, type=kind, data=data)
        body["metadata"]["annotations"] = {"kubernetes.io/service-account.name": "default"}  # for that type only
        return body


def done(result):
    assert result.returncode == 0, result.stderr
    return result.stdout


def fenced(result):
    """Refused by an admission policy, as against RBAC."""
    assert result.returncode
    assert "ValidatingAdmissionPolicy" in result.stderr, result.stderr
    return result.stderr


def denied(result):
    """Refused by RBAC."""
    assert result.returncode
    assert "forbidden: User" in result.stderr or "is attempting to grant" in result.stderr, result.stderr
    assert "ValidatingAdmissionPolicy" not in result.stderr


def kubeconfig_of(control_plane):
    view = [control_plane.kubectl, "--kubeconfig", control_plane.kubeconfig, "--context", control_plane.context]
    argv = [*map(str, view), "config", "view", "--minify", "--flatten", "-o", "json"]
    return json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)


@pytest.fixture(scope="module")
def installed(control_plane, policy_text, tmp_path_factory):
    home, mark = tmp_path_factory.mktemp("fences"), f"t{uuid.uuid4().hex[:8]}"
    text = policy_text.replace('"kwok-infra"', f'"c"\nservice_accounts = "{mark}-infra"')
    for word in ('"docs-*', '"shop-*', '"infra-secrets/'):
        text = text.replace(word, f'"{mark}-{word[1:]}')
    text = text.replace(
        'pull_secrets = ["X"]', 'pull_secrets = ["X"]\nlabels = ["team", "app.kubernetes.io/n*", "o.k"]', 1
    )
    policy = load(text)
    manifests = to_yaml(render(policy, "sandbox", [f"{mark}-shop-old"]))
    one = Installed(control_plane.kubectl, home / "admin", home / "server", mark, manifests)

    config = kubeconfig_of(control_plane)
    one.admin.write_text(json.dumps(config), encoding="utf-8")
    try:
        for rest in ("infra-secrets", "docs-old", "shop-old", "other"):
            done(one.run("create", "namespace", one.name(rest), who="admin"))
        done(one.run("apply", "-f", "-", who="admin", body=manifests))
        for name in ("registry-x", "registry-y", "unrelated"):
            done(one.create(one.secret(name, "infra-secrets"), "admin"))
        token = done(one.run("create", "token", "server", "-n", one.name("infra"), who="admin")).strip()
        # Only the token: a client certificate beside it would win, and that is an admin's.
        config["users"] = [{"name": config["contexts"][0]["context"]["user"], "user": {"token": token}}]
        one.server.write_text(json.dumps(config), encoding="utf-8")
        until_in_force(one)
        # What every request does first: the two writes of the server's own.
        done(one.create(one.namespace("docs-new")))
        done(one.create(one.binding(one.name("docs-new"))))
        yield one
    finally:
        one.run("delete", "-f", "-", "--wait=false", "--ignore-not-found", who="admin", body=manifests)
        one.run("delete", "namespace", "--wait=false", "--ignore-not-found", *map(one.name, LEFT), who="admin")


def until_in_force(one):
    """An admission policy takes a moment to be in force; all four are asked, and nothing is written."""
    deadline = time.monotonic() + 30
    waiting = [
        lambda: one.create(one.namespace("other-probe"), "server", "--dry-run=server"),
        lambda: one.create(one.binding(one.name("other")), "server", "--dry-run=server"),
        lambda: one.create(one.secret("registry-x-copy", "shop-old"), "circle-shop", "--dry-run=server"),
        lambda: one.create(one.namespace("other-probe"), "admin", "--dry-run=server"),
    ]
    while waiting and time.monotonic() < deadline:
        waiting = [ask for ask in waiting if "ValidatingAdmissionPolicy" not in ask().stderr]
    assert not waiting, "the admission policies did not come into force"


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
        "create configmap x",
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
