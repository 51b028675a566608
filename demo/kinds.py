"""The act over several systems: a namespace, a Helm release in it, its DNS record, and a Terraform value."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from peer import Peer
from stage import Failed
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
ZONE = """\
$ORIGIN docs.example.
$TTL 300
@       IN SOA ns1.docs.example. hostmaster.docs.example. 2026113001 3600 600 86400 300
@       IN NS  ns1.docs.example.
ns1     IN A   127.0.0.1
www     IN A   10.0.0.10   ; the site
"""
COREFILE = """\
docs.example:{port} {{
  bind 127.0.0.1
  file {zone} {{
    reload 1s
  }}
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

[[tree.roots]]
path = "dns"
delivery = "dns"

[workspaces.network]
path = "terraform/network"
backend = "local"

[zones."docs.example"]
backend = "coredns"
file = "dns/docs.example.zone"
publish = "{zone}"
servers = ["127.0.0.1:{port}"]
private = true
"""
GRANTS = """\
actions = ["provision_namespace", "deploy", "scale", "helm_release", "dns_record", "terraform_apply", "change_set"]
helm = ["docs-*"]
zones = ["docs.example"]
records = ["search"]
workspaces = ["network"]
"""


def _files(demo: Demo) -> dict[str, str]:
    main = NETWORK.format(state=demo.home / "network.tfstate")
    return CHART | {
        "dns/docs.example.zone": ZONE,
        "terraform/network/main.tf": main,
        "terraform/network/terraform.tfvars": 'allowed = ["docs"] # who may call search\n',
    }


def _program(demo: Demo, name: str) -> Path | None:
    """A program that is on this machine."""
    found = json.loads(demo.infra("tools", "--json", quiet=True, shown=""))
    return next((Path(one["path"]) for one in found if one["name"] == name and one.get("path")), None)


@contextmanager
def _name_server(demo: Demo) -> Iterator[tuple[Path, int]]:
    """CoreDNS on loopback with a zone; the zone's file and the port."""
    program = _program(demo, "coredns")
    if program is None:
        raise Failed("CoreDNS is not here: `infra-mcp tools get coredns` gets it")
    zone, corefile, port = demo.home / "docs.example.zone", demo.home / "Corefile", _free_port()
    zone.write_text(ZONE, encoding="utf-8")
    corefile.write_text(COREFILE.format(zone=zone, port=port), encoding="utf-8")
    with (demo.home / "coredns.log").open("w") as log, subprocess.Popen(
        [program, "-conf", corefile], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=demo.stage.env
    ) as server:  # fmt: skip
        try:
            yield zone, port
        finally:
            server.terminate()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def several(demo: Demo, docs: Peer) -> None:
    """Make several things under one request, and see what is left when a step of another one fails."""
    with _name_server(demo) as (zone, port):
        await _several(demo, docs, zone, port)


async def _several(demo: Demo, docs: Peer, zone: Path, port: int) -> None:
    stage, tofu = demo.stage, _program(demo, "tofu")
    stage.step("Several systems at once: a namespace, a Helm release in it, its DNS record, and a value of Terraform")
    commit_files(stage, demo.repo, _files(demo), "A chart for search, and the network")
    policy = demo.repo / "infra.toml"
    before = 'actions = ["provision_namespace", "deploy"]\npull_secrets = ["X"]\nimages'
    text = policy.read_text(encoding="utf-8").replace(before, f'{GRANTS}pull_secrets = ["X"]\nimages', 1)
    policy.write_text(text + RIGHTS.format(zone=zone, port=port), encoding="utf-8")
    stage.tell("A person grants docs Helm in its namespaces, a name of a zone and a workspace, and applies the rights.")
    demo.git("commit", "-q", "-a", "-m", "docs may use Helm, a zone and the network")
    demo.infra("policy", "accept", "--yes")
    rendered = demo.infra("rbac", "render", "--namespaces", "docs-live", quiet=True, shown="")
    demo.kube("apply", "--server-side", "-f", "-", stdin=rendered, quiet=True,
              shown="infra-mcp rbac render --namespaces docs-live | kubectl apply --server-side -f -")  # fmt: skip
    steps = [
        _step("space", "provision_namespace", namespace="docs-search"),
        _step("search", "helm_release", namespace="docs-search", release="search", chart="./charts/search"),
        _step("name", "dns_record", zone="docs.example", name="search", type="A", values=["10.0.0.20"]),
    ]
    if tofu is None:
        stage.tell("OpenTofu is not here, so its step is left out. `infra-mcp tools get tofu` gets it.")
    else:
        steps.append(
            _step("network", "terraform_apply", workspace="network", variables={"allowed": ["docs", "search"]})
        )
    ok, told, _ = await docs.call("change", action="change_set", arguments={"steps": steps})
    so = ok and "docs-search up" in told and "answered so by" in told
    demo.must(so, "each step landed, and is confirmed in one answer")
    demo.git("log", f"-{len(steps)}", "--format=%h %s")
    demo.kube("-n", "docs-search", "get", "deployment,service")

    stage.tell("And one whose last step fails: what was updated is undone in reverse, what was created is kept.")
    steps = [
        _step("more", "helm_release", namespace="docs-search", release="search", values={"replicas": 3}),
        _step("drafts", "provision_namespace", namespace="docs-drafts"),
        _step("guide", "deploy", app="guide", version="2.2.0-unpullable", environment="staging"),
    ]
    ok, told, _ = await docs.call("change", action="change_set", arguments={"steps": steps})
    demo.must(not ok and "Step guide" in told and "docs-drafts" in told, "the failed step is named, and what is kept")
    out = demo.kube("-n", "docs-search", "get", "deployment/search")
    demo.must("1/1" in out, "search has one replica again")


def _step(named: str, action: str, /, **arguments: object) -> dict[str, object]:
    return {"name": named, "action": action, "arguments": arguments}
