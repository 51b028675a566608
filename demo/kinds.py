"""The act over several systems: a namespace, a Helm release in it, and a Terraform value, under one request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from peer import Peer
from world import commit_files

if TYPE_CHECKING:
    from run import Demo

__all__ = ["several"]

CHART = {
    "charts/search/Chart.yaml": "apiVersion: v2\nname: search\nversion: 1.0.0\n",
    "charts/search/values.yaml": "image: registry.example/docs/search:1.4.0\nreplicas: 1\n",
    "charts/search/templates/search.yaml": """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
spec:
  replicas: {{ .Values.replicas }}
  selector:
    matchLabels: {app: {{ .Release.Name }}}
  template:
    metadata:
      labels: {app: {{ .Release.Name }}}
    spec:
      containers:
        - name: search
          image: {{ .Values.image }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ .Release.Name }}
spec:
  selector: {app: {{ .Release.Name }}}
  ports:
    - port: 80
      targetPort: 8080
""",
}
NETWORK = """\
terraform {{
  backend "local" {{
    path = "{state}"
  }}
}}

variable "allowed" {{
  type = list(string)
}}

resource "terraform_data" "firewall" {{
  input = var.allowed
}}
"""
RIGHTS = """
# ---- written by the demo: what lies in other systems, and who may change it -------------------------------------
[[tree.roots]]
path = "helm"
delivery = "helm"

[[tree.roots]]
path = "terraform"
delivery = "terraform"

[workspaces.network]
path = "terraform/network"
backend = "local"
"""
GRANTS = """\
actions = ["provision_namespace", "deploy", "scale", "helm_release", "terraform_apply", "change_set"]
helm = ["docs-*"]
workspaces = ["network"]
"""


def _files(demo: Demo) -> dict[str, str]:
    main = NETWORK.format(state=demo.home / "network.tfstate")
    return CHART | {
        "terraform/network/main.tf": main,
        "terraform/network/terraform.tfvars": 'allowed = ["docs"] # who may call search\n',
    }


def _program(demo: Demo) -> Path | None:
    """OpenTofu, or Terraform, where it is on this machine."""
    found = json.loads(demo.infra("tools", "--json", quiet=True, shown=""))
    return next((Path(one["path"]) for one in found if one["name"] == "tofu" and one.get("path")), None)


async def several(demo: Demo, docs: Peer) -> None:
    """Make several things under one request, and see what is left when a step of another one fails."""
    stage, tofu = demo.stage, _program(demo)
    stage.step("Several systems at once: a namespace, a Helm release in it, and a value of Terraform")
    commit_files(stage, demo.repo, _files(demo), "A chart for search, and the network")
    policy = demo.repo / "infra.toml"
    before = 'actions = ["provision_namespace", "deploy"]\npull_secrets = ["X"]\nimages'
    text = policy.read_text(encoding="utf-8").replace(before, f'{GRANTS}pull_secrets = ["X"]\nimages', 1)
    policy.write_text(text + RIGHTS, encoding="utf-8")
    stage.tell("A person grants docs Helm in its namespaces and the workspace network, and applies Helm's rights.")
    demo.git("commit", "-q", "-a", "-m", "docs may use Helm and the network")
    demo.infra("policy", "accept", "--yes")
    rendered = demo.infra("rbac", "render", "--namespaces", "docs-live", quiet=True, shown="")
    demo.kube("apply", "--server-side", "-f", "-", stdin=rendered, quiet=True,
              shown="infra-mcp rbac render --namespaces docs-live | kubectl apply --server-side -f -")  # fmt: skip
    steps = [
        _step("space", "provision_namespace", namespace="docs-search"),
        _step("search", "helm_release", namespace="docs-search", release="search", chart="./charts/search"),
    ]
    if tofu is None:
        stage.tell("OpenTofu is not here, so its step is left out. `infra-mcp tools get tofu` gets it.")
    else:
        steps.append(
            _step("network", "terraform_apply", workspace="network", variables={"allowed": ["docs", "search"]})
        )
    ok, told, _ = await docs.call("change", action="change_set", arguments={"steps": steps})
    demo.must(ok and "docs-search up" in told and "search" in told, "each step landed, and is confirmed in one answer")
    demo.git("log", f"-{len(steps)}", "--format=%h %s")
    demo.kube("-n", "docs-search", "get", "deployment,service")

    stage.tell("And one whose last step fails: what was updated is undone in reverse, what was created is kept.")
    steps = [
        _step("more", "helm_release", namespace="docs-search", release="search", values={"replicas": 3}),
        _step("drafts", "provision_namespace", namespace="docs-drafts"),
        _step("docs", "deploy", app="docs", version="0.13.9-unpullable"),
    ]
    ok, told, _ = await docs.call("change", action="change_set", arguments={"steps": steps})
    demo.must(not ok and "Step docs" in told and "docs-drafts" in told, "the failed step is named, and what is kept")
    out = demo.kube("-n", "docs-search", "get", "deployment/search")
    demo.must("1/1" in out, "search has one replica again")


def _step(name: str, action: str, **arguments: object) -> dict[str, object]:
    return {"name": name, "action": action, "arguments": arguments}
