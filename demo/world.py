"""The little world of the demo: a cluster, an infra repository with one hand-written app, a narrow service account."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
from pathlib import Path

from stage import Stage

__all__ = ["APP", "CIRCLES", "write_kubeconfig", "write_repository", "write_source_secret"]

APP = """\
# The docs site. Written by hand long ago; ask the docs team before you touch the probes.
apiVersion: v1
kind: Namespace
metadata:
  name: docs-live
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: docs
  namespace: docs-live
  labels: {app: docs}
spec:
  replicas: 2            # the autoscaler of the old cluster never went below two
  selector:
    matchLabels: {app: docs}
  template:
    metadata:
      labels: {app: docs}
    spec:
      containers:
        - name: site
          image: "registry.example/docs/site:0.13.3"   # bumped by release
          ports:
            - containerPort: 8080
          resources:
            requests: {cpu: 50m, memory: 64Mi}
---
apiVersion: v1
kind: Service
metadata:
  name: docs
  namespace: docs-live
spec:
  selector: {app: docs}
  ports:
    - port: 80
      targetPort: 8080
"""

CIRCLES = """
# ---- written by the demo: two circles, one pull secret, one app -------------------------------------------------
[circles.docs]
namespaces = ["docs-*"]
actions = ["provision_namespace", "deploy"]
pull_secrets = ["X"]
images = ["registry.example/docs/*"]
limits = { replicas = 10, cpu = "20", memory = "40Gi" }

# What a session that attends as infra may do for others, within what they may do themselves.
[attend]
namespaces = ["docs-*"]
actions = ["provision_namespace"]
pull_secrets = ["X"]

[circles.shop]
namespaces = ["shop-*"]
actions = ["provision_namespace"]

[pull_secrets.X]
from = "infra-secrets/registry-x"

[apps.docs]
owner = "docs"
workload = "docs-live/deployment/docs"
image = "registry.example/docs/site:{version}"
deploy_on = "release/{version} merged, ready to deploy"
grace = "1s"
timeout = "60s"

[[rules]]
id = "previews-need-a-yes"
match = { namespaces = ["*-preview"] }
require = { approvals = 1, by = "operator" }
reason = "previews cost money"
"""


def write_repository(stage: Stage, repo: Path) -> None:
    """An existing infra repository, in a layout of its own."""
    (repo / "k8s" / "teams").mkdir(parents=True)
    (repo / "k8s" / "teams" / "docs-site.yaml").write_text(APP, encoding="utf-8")
    (repo / "README.md").write_text(
        "# infra\n\nWhat runs where. `kubectl apply -f` by hand, so far.\n", encoding="utf-8"
    )
    for argv in (
        ("git", "init", "-q", "-b", "main", str(repo)),
        ("git", "-C", str(repo), "config", "user.name", "Pat"),
        ("git", "-C", str(repo), "config", "user.email", "pat@example.invalid"),
        ("git", "-C", str(repo), "add", "."),
        ("git", "-C", str(repo), "commit", "-q", "-m", "The docs site as it runs"),
    ):
        subprocess.run(argv, check=True, env=stage.env, stdin=subprocess.DEVNULL)


def write_source_secret(stage: Stage, kubectl: Path) -> None:
    """The registry credential that policy calls X, made up here."""
    login = base64.b64encode(f"robot:{secrets.token_urlsafe(16)}".encode()).decode()
    config = json.dumps({"auths": {"registry.example": {"auth": login}}})
    manifest = {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "infra-secrets"}},
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "registry-x", "namespace": "infra-secrets"},
                "type": "kubernetes.io/dockerconfigjson",
                "stringData": {".dockerconfigjson": config},
            },
        ],
    }
    stage.run(
        kubectl, "apply", "--server-side", "-f", "-", stdin=json.dumps(manifest),
        shown="kubectl apply --server-side -f registry-x.yaml   # the credential that policy will call X",
    )  # fmt: skip


def write_kubeconfig(stage: Stage, kubectl: Path, admin: Path, context: str, target: Path) -> None:
    """A kubeconfig with the server's own token: a service account that can do next to nothing by itself."""
    token = stage.run(
        kubectl, "-n", "infra-mcp", "create", "token", "server", "--duration", "12h", quiet=True,
        shown="kubectl -n infra-mcp create token server   # into the kubeconfig the server gets",
    ).strip()  # fmt: skip
    view = ("config", "view", "--raw", "--minify", "--context", context, "-o", "json")
    argv = [str(kubectl), "--kubeconfig", str(admin), *view]
    found = subprocess.run(argv, check=True, capture_output=True, stdin=subprocess.DEVNULL, env=stage.env)
    config = json.loads(found.stdout)
    config["users"] = [{"name": "infra-mcp", "user": {"token": token}}]
    config["contexts"] = [{"name": context, "context": {"cluster": config["clusters"][0]["name"], "user": "infra-mcp"}}]
    config["current-context"] = ""
    target.touch(mode=0o600)
    target.write_text(json.dumps(config), encoding="utf-8")
