"""docs/install.md, command by command, on the sandbox; the server as a process with the token of its ServiceAccount.

There is no kubelet, so `in_pod` runs its command beside that process, and the port is not forwarded.
"""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from e2e.cluster_setup import suffix
from server_process import start_server

from infra_mcp.settings import Settings

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
POLICY = """\
[tree]
branch = "main"
new = "{{root}}/{{namespace}}/{{kind}}-{{name}}.yaml"
[[tree.roots]]
path = "k8s"
[clusters.prod]
context = "in-cluster"
service_accounts = "{own}"
[circles.docs]
namespaces = ["{prefix}-*"]
actions = ["provision_namespace"]
"""
GONE = ("clusterrole", "clusterrolebinding", "validatingadmissionpolicy", "validatingadmissionpolicybinding")


def commands(heading):
    """The commands of a section that can be run here: its `sh` blocks."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)[1]
    return "\n".join(re.findall(r"^```sh\n(.*?)^```", section, re.DOTALL | re.MULTILINE))


@dataclass
class Site:
    """The machine of the admin who installs it."""

    home: Path
    kubectl: Path
    admin: Path
    context: str
    name: str = field(default_factory=suffix)
    more: dict[str, str] = field(default_factory=dict)

    @property
    def own(self):
        return f"infra-{self.name}"

    @property
    def settings(self):
        return Settings(
            repo=self.home / "infra", state_dir=self.home / "state", kubeconfig=self.home / "pod" / "config"
        )

    def section(self, heading):
        """Run the commands of a section; what they printed."""
        words = _IN_POD + commands(heading).replace("docs-first", f"docs-{self.name}-a")
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", words],
            cwd=self.home, env=self._environment(), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False, timeout=150,
        )  # fmt: skip
        assert ran.returncode == 0, f"{heading}: {ran.stdout}\n{ran.stderr}"
        return ran.stdout

    def get(self, *words):
        """An object as JSON, as the admin; None where there is none."""
        argv = [self.kubectl, "--kubeconfig", self.admin, "--context", self.context, "get", *words, "-o", "json"]
        ran = subprocess.run(list(map(str, argv)), capture_output=True, text=True, check=False, timeout=60)
        assert ran.returncode == 0 or "NotFound" in ran.stderr, ran.stderr
        return json.loads(ran.stdout) if ran.returncode == 0 else None

    def _environment(self):
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("INFRA_MCP_", "KUBECONFIG"))}
        path = os.pathsep.join([str(self.home / "bin"), str(self.kubectl.parent), kept["PATH"]])
        pod = {"POD_STATE": str(self.settings.state_dir), "POD_KUBECONFIG": str(self.settings.kubeconfig)}
        asked = {"CONTEXT": self.context, "OWN": self.own, "CHECKOUT": str(self.settings.repo), "INFRA_MCP": str(ROOT)}
        asked |= {"REPOSITORY": "ssh://git@git.example/infra.git", "IMAGE": "registry.example/infra-mcp:1.0"}
        place = {"DATA": str(self.home), "KUBECONFIG": str(self.admin), "PYTHONPATH": str(ROOT)}
        return kept | asked | place | pod | {"PATH": path} | self.more


_IN_POD = """\
in_pod() {
  env -u INFRA_MCP_URL -u INFRA_MCP_TOKEN INFRA_MCP_REPO="$CHECKOUT" INFRA_MCP_STATE="$POD_STATE" \\
    INFRA_MCP_KUBECONFIG="$POD_KUBECONFIG" "$@"
}
"""


@pytest.fixture
def site(tmp_path, control_plane):
    made = Site(tmp_path, control_plane.kubectl, control_plane.kubeconfig, control_plane.context)
    repo = made.settings.repo
    (repo / "k8s").mkdir(parents=True)
    (repo / "k8s" / ".gitkeep").touch()
    text = POLICY.format(own=made.own, prefix=f"docs-{made.name}")
    (repo / "infra.toml").write_text(text, encoding="utf-8")
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], [*who, "commit", "-qm", "start"]):
        subprocess.run(["git", "-C", repo, *words], check=True, stdin=subprocess.DEVNULL)
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "infra-mcp"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m infra_mcp.cli.main "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    yield made
    argv = [made.kubectl, "--kubeconfig", made.admin, "--context", made.context, "delete", "--ignore-not-found"]
    if (tmp_path / "rbac.yaml").exists():
        subprocess.run([*argv, "--wait=false", "-f", tmp_path / "rbac.yaml"], check=False, capture_output=True)
    subprocess.run([*argv, "--wait=false", "namespace", f"docs-{made.name}-a"], check=False, capture_output=True)


def as_the_pod(site):
    """The pod's kubeconfig and token, with this machine's address of the API server instead of the cluster's own."""
    pod = site.settings.kubeconfig.parent
    pod.mkdir()
    argv = [site.kubectl, "--kubeconfig", site.admin, "--context", site.context]
    made = subprocess.run([*argv, "-n", site.own, "create", "token", "server"], check=True, capture_output=True)
    token = pod / "token"
    token.touch(mode=0o600)
    token.write_bytes(made.stdout)
    view = subprocess.run([*argv, "config", "view", "--minify", "--raw", "-o", "json"], check=True, capture_output=True)
    config = yaml.safe_load((ROOT / "manifests" / "base" / "kubeconfig.yaml").read_text(encoding="utf-8"))
    real = json.loads(view.stdout)["clusters"][0]["cluster"]
    if "certificate-authority" in real:
        real["certificate-authority"] = str((site.admin.parent / real["certificate-authority"]).resolve())
    config["clusters"][0]["cluster"] = real
    config["users"][0]["user"]["tokenFile"] = str(token)
    site.settings.kubeconfig.touch(mode=0o600)
    site.settings.kubeconfig.write_text(json.dumps(config), encoding="utf-8")


@pytest.mark.promise("rbac.narrow")
def test_the_page_installs_upgrades_and_removes_a_server_that_makes_a_change_as_its_own_account(site):
    site.section("Rights")
    site.section("The pod")
    pod = site.get("deployment", "infra-mcp", "-n", site.own)["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "server"
    assert {one["image"] for one in pod["containers"] + pod["initContainers"]} == {"registry.example/infra-mcp:1.0"}

    as_the_pod(site)
    with start_server(site.settings) as server:
        site.more = {"INFRA_MCP_URL": server.url}
        said = site.section("First start")
        assert "The cluster has what infra.toml renders." in said
        made = site.get("namespace", f"docs-{site.name}-a")
        assert made["metadata"]["labels"]["infra-mcp.dev/circle"] == "docs"
        assert "infra-mcp.dev/request" in made["metadata"]["annotations"]  # which only the server's account may set

        site.more = {}
        assert "The cluster has what infra.toml renders." in site.section("Upgrade")
    assert (site.home / "before-upgrade").exists()
    pod = site.get("deployment", "infra-mcp", "-n", site.own)["spec"]["template"]["spec"]
    assert {one["image"] for one in pod["containers"]} == {"registry.example/infra-mcp:1.1"}

    site.section("Removal")
    left = [f"{kind} {one['metadata']['name']}" for kind in GONE for one in site.get(kind)["items"]]
    assert not [one for one in left if site.own in one]
    assert site.get("namespace", site.own) is None
    assert site.get("rolebindings", "-n", f"docs-{site.name}-a")["items"] == []
    assert site.get("namespace", f"docs-{site.name}-a") is not None


def test_the_pod_runs_closed(kubectl):
    """Also what the API server's admission of pods, which the test above meets, does not ask for."""
    built = subprocess.run([kubectl, "kustomize", ROOT / "manifests" / "base"], capture_output=True, check=True).stdout
    objects = {one["kind"]: one for one in yaml.safe_load_all(built)}
    pod = objects["Deployment"]["spec"]["template"]["spec"]

    assert pod["securityContext"]["runAsNonRoot"] is True
    for one in pod["containers"] + pod["initContainers"]:
        assert one["securityContext"]["readOnlyRootFilesystem"] is True
        assert one["resources"]["limits"]["memory"]
    assert objects["NetworkPolicy"]["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in objects["NetworkPolicy"]["spec"]
    assert "Service" not in objects
    assert {"healthz", "readyz"} <= set(re.findall(r"127\.0\.0\.1:8420/(\w+)", built.decode()))
