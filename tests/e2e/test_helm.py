"""Releases of Helm through the one flow: from a file in git to pods and back."""

import pytest
from drivers.helm.space import CHARTS, helm_4
from e2e.scenario import Scenario

pytestmark = [pytest.mark.cluster, pytest.mark.anyio, pytest.mark.promise("helm.release")]

_POLICY = """\
[[tree.roots]]
path = "helm"
delivery = "helm"

[apps.web]
owner = "charts"
file = "helm/{namespace}/web.yaml"
image = "registry.example/charts/web:{{version}}"
grace = "1s"
timeout = "60s"
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


@pytest.fixture
async def charts(cluster_setup, tmp_path, monkeypatch):
    monkeypatch.setenv("INFRA_MCP_HELM", str(helm_4()))
    scenario = Charts(cluster_setup, tmp_path)
    scenario.policy = _POLICY.format(namespace=scenario.namespace)
    async with scenario:
        yield scenario


async def test_a_deploy_of_an_app_that_helm_delivers_edits_its_release_and_lands(charts):
    first = await charts.tool("deploy", by="charts", app="web", version="1.1.0", wait_seconds=60)
    assert first.ok, first.text
    second = await charts.tool("deploy", by="charts", app="web", version="1.2.0", wait_seconds=60)
    assert second.ok
