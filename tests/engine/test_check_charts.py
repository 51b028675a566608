"""Charts of the repository in a pull request: rendered where a Helm is there, without a cluster, and bounded."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from pull_requests import PullRequest

from infra_mcp.binaries.catalogue import TOOLS
from infra_mcp.binaries.find import cached, find
from infra_mcp.engine.check import check
from infra_mcp.errors import InfraError

pytestmark = [pytest.mark.anyio, pytest.mark.promise("ci.headless")]

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
POLICY = '[circles.shop]\nnamespaces = ["shop"]\nimages = ["registry.example/*"]\nlimits = { replicas = 9 }\n'
APPLICATION = (
    "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: shop, namespace: argocd}\n"
    "spec: {source: {repoURL: 'https://git.example/infra', path: charts/shop, helm: {valueFiles: [values-prod.yaml]}}, "
    "destination: {namespace: shop}}\n"
)
TEMPLATE = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  replicas: {{ .Values.replicas }}
  template: {spec: {hostNetwork: {{ .Values.host }}, containers: [{name: web, image: "registry.example/shop:1.0"}]}}
"""
BASE = {
    "infra.toml": POLICY,
    "argo/shop.yaml": APPLICATION,
    "charts/shop/Chart.yaml": "apiVersion: v2\nname: shop\nversion: 1.0.0\n",
    "charts/shop/values.yaml": "replicas: 1\nhost: false\n",
    "charts/shop/values-prod.yaml": "replicas: 2\n",
    "charts/shop/templates/web.yaml": TEMPLATE,
}
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: x}}\ndata: {{x: {}}}\n"


@pytest.fixture
def helm(monkeypatch):
    """A Helm 4 on this machine."""
    found = cached(TOOLS["helm"])
    if found is None:
        try:
            found = find("helm")
        except InfraError:
            pytest.skip("There is no Helm. Get it once: infra-mcp tools get helm")
    monkeypatch.setenv("INFRA_MCP_HELM", str(found.path))


@pytest.fixture
def checked(tmp_path):
    """Checks a pull request on the base above."""

    async def run(head, links=None):
        made = PullRequest(tmp_path / "infra", BASE, head, links)
        return await check(made.repo, "main..head", circle=None, now=NOW, seconds=60)

    return run


@pytest.mark.usefixtures("helm")
async def test_a_chart_is_rendered_with_its_values_and_people_are_asked_all_the_same(checked):
    found = await checked({"charts/shop/values-prod.yaml": "replicas: 3\n"})

    (rendered,) = [one for one in found["reach"] if one["renderer"].startswith("helm v")]
    assert rendered["by"] == "Application shop/shop, rendered without a cluster"
    (changed,) = [one for one in found["objects"] if one["target"] == "shop/deployment/shop"]
    assert "-  replicas: 2" in changed["diff"]
    assert "+  replicas: 3" in changed["diff"]
    assert [one["rule"] for one in found["findings"]] == ["effect.unrendered"]


@pytest.mark.usefixtures("helm")
async def test_what_a_template_brings_is_judged_by_the_guardrails(checked):
    found = await checked({"charts/shop/values-prod.yaml": "replicas: 2\nhost: true\n"})

    assert found["decision"] == "refuse"
    assert "pods.host-network" in [one["rule"] for one in found["findings"]]


async def test_without_a_helm_it_says_so_and_people_are_asked(checked, monkeypatch):
    monkeypatch.setenv("INFRA_MCP_HELM", "no-such-helm")

    found = await checked({"charts/shop/values-prod.yaml": "replicas: 3\n"})

    assert [one["rule"] for one in found["findings"]] == ["effect.unrendered"]
    assert any("was not rendered: There is no executable no-such-helm" in one for one in found["notes"]), found["notes"]


@pytest.mark.usefixtures("helm")
@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("lookup", '{{ (lookup "v1" "Secret" "kube-system" "").items | toJson | quote }}'),
        ("a file of the machine", '{{ .Files.Get "/etc/passwd" | quote }}'),
        ("a file above the chart", '{{ .Files.Get "../../../etc/passwd" | quote }}'),
        ("the environment", '{{ env "HOME" | quote }}'),
        ("a name that is looked up", '{{ getHostByName "localhost" | quote }}'),
        ("something random", "{{ randAlphaNum 8 | quote }}"),
        ("a template without end", '{{ define "x" }}{{ include "x" . }}{{ end }}{{ include "x" . }}'),
        ("very much memory", "{{ range until 100000000 }}{{ repeat 100000 . }}{{ end }}"),
    ],
)
async def test_a_hostile_template_reads_nothing_and_ends(checked, name, head):
    found = await checked({f"charts/shop/templates/{name.replace(' ', '-')}.yaml": CONFIG.format(head)})

    assert [one["rule"] for one in found["findings"]][-1] == "effect.unrendered"
    assert "root:x:" not in str(found)
    assert "127.0.0.1" not in str(found)
    shown = [one["diff"] for one in found["objects"] if one["target"] == "shop/configmap/x"]
    assert all('x: ""' in one or "null" in one for one in shown), shown


class Listener:
    """A server on this machine that a chart could make Helm ask; it keeps what it was asked."""

    def __init__(self) -> None:
        self.asked = asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.mark.usefixtures("helm")
async def test_a_schema_makes_helm_fetch_nothing(checked):
    listener = Listener()
    url = f"http://127.0.0.1:{listener.server.server_port}/schema"
    head = {"charts/shop/values.schema.json": f'{{"$ref": "{url}"}}', "charts/shop/values-prod.yaml": "replicas: 3\n"}

    found = await checked(head)
    listener.server.shutdown()
    listener.server.server_close()

    assert listener.asked == []
    assert "shop/deployment/shop" in [one["target"] for one in found["objects"]]


@pytest.mark.usefixtures("helm")
async def test_a_link_in_a_chart_leads_out_of_no_repository(checked):
    found = await checked({"charts/shop/values-prod.yaml": "replicas: 3\n"}, {"charts/shop/x.txt": "/etc/passwd"})

    assert "root:x:" not in str(found)
    assert {"effect.unrendered", "files.link"} <= {one["rule"] for one in found["findings"]}
    assert any("leads to no file of this repository" in one for one in found["notes"])
