"""The objects of `rbac render`, applied to a real API server under names of their own, and kubectl as each identity."""

import base64
import json
import subprocess
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra_mcp.policy.policy import load
from infra_mcp.policy.rbac import render, to_yaml

RBAC = "rbac.authorization.k8s.io"
CONFIG = base64.b64encode(b'{"auths":{"registry.example":{"auth":"bm9ib2R5OmhlcmU="}}}').decode()
LEFT = ("infra", "infra-secrets", "docs-new", "docs-old", "shop-old", "other")


@dataclass(frozen=True)
class Installed:
    """A policy installed under names of its own, and kubectl as each identity."""

    kubectl: Path
    admin: Path
    server: Path
    mark: str
    manifests: str
    text: str  # of infra.toml

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

    def acting_binding(self, namespace, accounts=("server",), role=None):
        return self.binding(namespace, accounts, role or self.name("infra-as-circle"), "infra-mcp-server")

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


@contextmanager
def install(control_plane, policy_text, home, *, plain=False):
    mark = f"t{uuid.uuid4().hex[:8]}"
    text = policy_text.replace('"kwok-infra"', f'"c"\nservice_accounts = "{mark}-infra"')
    for word in ('"docs-*', '"shop-*', '"charts-*', '"infra-secrets/'):
        text = text.replace(word, f'"{mark}-{word[1:]}')
    text = text.replace(
        'pull_secrets = ["X"]', 'pull_secrets = ["X"]\nlabels = ["team", "app.kubernetes.io/n*", "o.k"]', 1
    )
    policy = load(text)
    manifests = to_yaml(render(policy, "sandbox", [f"{mark}-shop-old"], plain=plain), plain=plain)
    one = Installed(control_plane.kubectl, home / "admin", home / "server", mark, manifests, text)

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
        # What every request does first: the writes of the server's own.
        done(one.create(one.namespace("docs-new")))
        done(one.create(one.binding(one.name("docs-new"))))
        done(one.create(one.acting_binding(one.name("docs-new"))))
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
