"""A scenario whose app Helm delivers: charts and a declared release in the repository, and a namespace for Helm."""

import json
import os
import subprocess

from drivers.helm.space import CHARTS
from e2e.scenario import Scenario

__all__ = ["POLICY", "Charts", "recording_helm"]

POLICY = """\
[[tree.roots]]
path = "helm"
delivery = "helm"

[apps.web]
owner = "charts"
file = "helm/{namespace}/web.yaml"
image = "registry.example/charts/web:{{version}}"
grace = "1s"
timeout = "60s"
settings.greeting.at = "helm/{namespace}/web.yaml#values.greeting"
settings.greeting.type = "string"
[apps.web.environments.live]
at = ["helm/{namespace}/web.yaml"]
namespace = "{namespace}"
"""

_RELEASE = """\
# The site, as people declare it.
chart: ../../charts/web
values:
  image: registry.example/charts/web:1.0.0   # bumped by release
  greeting: hello
"""


class Charts(Scenario):
    """A repository with a release of Helm, and a namespace that the circle may use Helm in."""

    peers = ("charts", "shop")

    def apps(self, grace="1s"):
        return POLICY.format(namespace=self.namespace).replace('"1s"', f'"{grace}"')

    @property
    def namespace(self):
        return f"charts-{self.name}"

    @property
    def manifest(self):
        return self.repo / "helm" / self.namespace / "web.yaml"

    def write_files(self):
        self.manifest.parent.mkdir(parents=True)
        self.manifest.write_text(_RELEASE, encoding="utf-8")
        for path in CHARTS.rglob("*"):
            if path.is_file():
                to = self.repo / "charts" / path.relative_to(CHARTS)
                to.parent.mkdir(parents=True, exist_ok=True)
                to.write_bytes(path.read_bytes())

    def roll_out(self):
        self.cluster_setup.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}])
        self.cluster_setup.apply(self.cluster_setup.bindings(self.namespace))

    async def release(self, release="site", **arguments):
        """A release through the action `helm_release`."""
        about = {"namespace": self.namespace, "release": release} | arguments
        return await self.tool("change", by="charts", action="helm_release", arguments=about, wait_seconds=120)

    def helm(self, *words):
        """Helm as a person uses it; its answer as JSON."""
        argv = [os.environ["INFRA_MCP_HELM"], *words, "-n", self.namespace, "-o", "json"]
        argv += ["--kubeconfig", str(self.cluster_setup.kubeconfig), "--kube-context", self.cluster_setup.context]
        return json.loads(subprocess.run(argv, capture_output=True, check=True, timeout=60).stdout)

    def revisions(self, release="site"):
        return [(one["revision"], one["status"]) for one in self.helm("history", release)]


def recording_helm(real, folder):
    """A program that writes down how it is started, and then is Helm; the program, and where it writes."""
    record, made = folder / "started", folder / "recording-helm"
    text = f'#!/bin/bash\n{{ printf "%s\\0" "$@"; env -0; }} >> {record}\nexec -a "$0" {real} "$@"\n'
    made.write_text(text.replace("env -0", "/usr/bin/env -0"), encoding="utf-8")
    made.chmod(0o755)
    return made, record
