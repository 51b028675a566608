"""The little world of the demo: a cluster, an infra repository with one hand-written app, a narrow service account."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
from pathlib import Path

from stage import Stage

__all__ = [
    "APP",
    "CIRCLES",
    "FLUX",
    "GUIDE",
    "commit_files",
    "write_kubeconfig",
    "write_repository",
    "write_source_secret",
]

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

# A checkout of a repository that Flux delivers, and no one here has a cluster for.
FLUX = {
    "clusters/home/media.yaml": """\
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata:
  name: media
  namespace: flux-system
spec:
  path: ./apps/media
""",
    "apps/media/reel.yaml": """\
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata:
  name: reel
  namespace: media
spec:
  chartRef:
    kind: OCIRepository
    name: reel
  values:
    image:
      repository: registry.example/reel
      tag: v10.8.1   # the last one before the new player
""",
}

# An app that kustomize builds: a base, staging that goes first, and production.
GUIDE = {
    "k8s/guide/base/kustomization.yaml": "resources: [guide.yaml]\n",
    "k8s/guide/base/guide.yaml": """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: guide
spec:
  selector:
    matchLabels: {app: guide}
  template:
    metadata:
      labels: {app: guide}
    spec:
      containers:
        - name: guide
          image: registry.example/docs/guide:2.0.0
          resources:
            requests: {cpu: 50m, memory: 64Mi}
""",
}
for _name, _replicas in (("staging", 1), ("production", 3)):
    GUIDE |= {
        f"k8s/guide/{_name}/namespace.yaml": f"apiVersion: v1\nkind: Namespace\nmetadata:\n  name: guide-{_name}\n",
        f"k8s/guide/{_name}/kustomization.yaml": f"""\
namespace: guide-{_name}
resources: [namespace.yaml, ../base]
images:
  - name: registry.example/docs/guide
    newTag: 2.0.4   # by release
replicas:
  - name: guide
    count: {_replicas}
""",
    }

CIRCLES = """
# ---- written by the demo: two circles, one pull secret, two apps ------------------------------------------------
[[tree.roots]]
path = "k8s/guide"

[circles.docs]
namespaces = ["docs-*", "guide-*"]
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

[apps.guide]
owner = "docs"
image = "registry.example/docs/guide:{version}"

[apps.guide.environments.staging]
at = "k8s/guide/staging"
namespace = "guide-staging"

[apps.guide.environments.production]
at = "k8s/guide/production"
namespace = "guide-production"

[[rules]]
id = "production-needs-a-yes"
match = { apps = ["guide"], environments = ["production"] }
require = { approvals = 1, by = "operator" }
reason = "readers are there"

[[rules]]
id = "previews-need-a-yes"
match = { namespaces = ["*-preview"] }
require = { approvals = 1, by = "operator" }
reason = "previews cost money"
"""


def write_repository(stage: Stage, repo: Path) -> None:
    """An existing infra repository, in a layout of its own."""
    readme = "# infra\n\nWhat runs where. `kubectl apply -f` by hand, so far.\n"
    commit_files(stage, repo, {"README.md": readme, "k8s/teams/docs-site.yaml": APP}, "The docs site as it runs")


def commit_files(stage: Stage, repo: Path, files: dict[str, str], message: str) -> None:
    """Write files and commit them, as a person does; in a new repository where there is none."""
    for path, text in files.items():
        (repo / path).parent.mkdir(parents=True, exist_ok=True)
        (repo / path).write_text(text, encoding="utf-8")
    begin = [
        ["init", "-q", "-b", "main"],
        ["config", "user.name", "Pat"],
        ["config", "user.email", "pat@example.invalid"],
    ]
    for words in [*([] if (repo / ".git").exists() else begin), ["add", "--", *files], ["commit", "-q", "-m", message]]:
        subprocess.run(["git", "-C", str(repo), *words], check=True, env=stage.env, stdin=subprocess.DEVNULL)


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
