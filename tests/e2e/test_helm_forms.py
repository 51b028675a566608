"""Each form in which a repository declares releases, through the one flow: what lands, and what the files then say."""

import os

import anyio
import pytest
from drivers.helm.space import CHARTS, helm_4
from e2e.charts import Charts

pytestmark = [pytest.mark.cluster, pytest.mark.anyio, pytest.mark.promise("helm.release")]

HELMFILE = """\
# Delivered by infra-mcp; read as it stands.
repositories:
  - name: unused
    url: https://charts.example

releases:
  - name: docs            # the team's site
    namespace: {namespace}
    chart: ../charts/web
    values:
      - values/docs.yaml
      - greeting: 'hello'   # over the file
  - name: blog
    namespace: {namespace}
    chart: ../charts/web
    values: [values/blog.yaml]
"""
VALUES = """\
# Of {name} alone.
image: "registry.example/charts/{name}:1.0.0"   # bumped by release
replicas: 1
"""
UMBRELLA = """\
# values of {environment}
part:
  image: registry.example/charts/part:{version}   # bumped by release
"""
POLICY = """\
[apps.docs]
owner = "charts"
file = "helm/helmfile.yaml"
image = "registry.example/charts/docs:{{version}}"
grace = "1s"
settings.greeting.at = "helm/helmfile.yaml#releases[name=docs].values[1].greeting"
settings.greeting.type = "string"
[apps.shop]
owner = "charts"
image = "registry.example/charts/part:{{version}}"
grace = "1s"
settings.note.at = "helm/shop/values-staging.yaml#part.note"
settings.note.type = "string"
[apps.shop.environments.staging]
at = ["helm/shop/values-staging.yaml"]
namespace = "{namespace}"
[apps.shop.environments.production]
at = ["helm/shop/values-production.yaml"]
namespace = "{namespace}-live"
"""


class Forms(Charts):
    """A helmfile with two releases, and an umbrella chart with values for two environments, below the root `helm`."""

    def apps(self, grace="1s"):
        return super().apps(grace) + POLICY.format(namespace=self.namespace)

    def write_files(self):
        super().write_files()
        root = self.repo / "helm"
        (root / "values").mkdir()
        (root / "helmfile.yaml").write_text(HELMFILE.format(namespace=self.namespace), encoding="utf-8")
        for name in ("docs", "blog"):
            (root / "values" / f"{name}.yaml").write_text(VALUES.format(name=name), encoding="utf-8")
        for path in (CHARTS / "umbrella").rglob("*"):
            if path.is_file():
                to = root / "shop" / path.relative_to(CHARTS / "umbrella")
                to.parent.mkdir(parents=True, exist_ok=True)
                to.write_bytes(path.read_bytes())
        (root / "shop" / "crds" / "notes.yaml").unlink()
        for environment, version in (("staging", "1.1.0"), ("production", "1.0.0")):
            text = UMBRELLA.format(environment=environment, version=version)
            (root / "shop" / f"values-{environment}.yaml").write_text(text, encoding="utf-8")

    def text(self, path):
        return (self.repo / path).read_text(encoding="utf-8")

    def image_of(self, name):
        found = self.live_object("deployment", name, self.namespace)
        return found and found["spec"]["template"]["spec"]["containers"][0]["image"]

    def touched(self):
        return self.git("show", "--format=", "--name-only", "HEAD").split()


@pytest.fixture
async def forms(cluster_setup, tmp_path, monkeypatch):
    monkeypatch.setenv("INFRA_MCP_HELM", str(helm_4()))
    async with Forms(cluster_setup, tmp_path) as scenario:
        yield scenario


async def _change(scenario, action, **arguments):
    return await scenario.tool("change", by="charts", action=action, arguments=arguments, wait_seconds=120)


async def test_a_release_of_a_helmfile_is_deployed_configured_and_rolled_back_where_its_values_stand(forms):
    before = {path: forms.text(path) for path in ("helm/helmfile.yaml", "helm/values/docs.yaml")}

    first = await forms.tool("deploy", by="charts", app="docs", version="1.1.0", wait_seconds=60)
    assert first.ok, first.text
    assert forms.text("helm/values/docs.yaml") == before["helm/values/docs.yaml"].replace("1.0.0", "1.1.0")
    assert forms.touched() == ["helm/values/docs.yaml"]
    assert forms.image_of("docs") == "registry.example/charts/docs:1.1.0"
    assert forms.image_of("blog") is None, "the other release of the helmfile is not this change's"

    second = await _change(forms, "configure", app="docs", settings={"greeting": "good morning"})
    assert second.ok, second.text
    wanted = before["helm/helmfile.yaml"].replace("'hello'   #", "'good morning'   #")
    assert forms.text("helm/helmfile.yaml") == wanted
    assert forms.live_object("configmap", "docs", forms.namespace)["data"]["greeting"] == "good morning"

    third = await _change(forms, "helm_release", namespace=forms.namespace, release="docs", values={"replicas": 2})
    assert third.ok, third.text
    assert "replicas: 2\n" in forms.text("helm/values/docs.yaml")
    assert forms.revisions("docs") == [(1, "superseded"), (2, "superseded"), (3, "deployed")]

    for request in (third, second):
        back = await _change(forms, "rollback", request=request.data["request"])
        assert back.ok, back.text
    assert forms.text("helm/helmfile.yaml") == before["helm/helmfile.yaml"]
    assert forms.text("helm/values/docs.yaml") == before["helm/values/docs.yaml"].replace("1.0.0", "1.1.0")
    assert forms.live_object("configmap", "docs", forms.namespace)["data"]["greeting"] == "hello"
    assert forms.revisions("docs")[-1] == (5, "deployed")


async def test_a_chart_with_values_by_environment_is_a_release_in_the_namespace_of_each_environment(forms):
    paths = ("helm/shop/values.yaml", "helm/shop/values-staging.yaml", "helm/shop/values-production.yaml")
    before = {path: forms.text(path) for path in paths}
    deploy = {"app": "shop", "version": "1.2.0", "environment": "staging"}

    first = await forms.tool("deploy", by="charts", wait_seconds=60, **deploy)
    assert first.ok, first.text
    assert forms.text(paths[1]) == before[paths[1]].replace("1.1.0", "1.2.0")
    assert forms.touched() == [paths[1]]
    assert forms.image_of("shop-part") == "registry.example/charts/part:1.2.0"
    assert f"release {forms.namespace}/shop is at revision 1" in first.text

    values = {"part.replicas": 2}
    second = await _change(forms, "helm_release", namespace=forms.namespace, release="shop", values=values)
    assert second.ok, second.text
    assert forms.text(paths[1]).endswith("  replicas: 2\n")

    for request in (second, first):
        back = await _change(forms, "rollback", request=request.data["request"])
        assert back.ok, back.text
    assert forms.image_of("shop-part") == "registry.example/charts/part:1.1.0"
    assert {path: forms.text(path) for path in paths} == before


async def test_the_chart_that_helm_create_makes_is_installed_upgraded_and_undone(forms):
    await anyio.run_process([os.environ["INFRA_MCP_HELM"], "create", "start"], cwd=forms.repo / "charts")
    forms.git("add", ".")
    forms.git("commit", "-qm", "helm create")
    image = {"image.repository": "registry.example/charts/start", "image.tag": "1.0.0"}

    new = await forms.release("start", chart="./charts/start", values=image)
    assert new.ok, new.text
    live = forms.live_object("deployment", "start", forms.namespace)
    assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example/charts/start:1.0.0"

    more = await forms.release("start", values={"replicaCount": 2, "image.tag": "1.1.0"})
    assert more.ok, more.text
    assert "2 of 2 replicas ready" in more.text
    back = await _change(forms, "rollback", request=more.data["request"])
    assert back.ok, back.text
    assert forms.revisions("start")[-1] == (3, "deployed")
