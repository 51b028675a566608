"""What policy protects is changed by no action, whatever the way in, and nothing of it is committed."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from drivers.helm.space import helm_4
from e2e.charts import Charts
from e2e.granting import Granting, refused_by

pytestmark = [pytest.mark.anyio, pytest.mark.cluster, pytest.mark.promise("policy.protected")]

NEW = "registry.example/docs/site:0.13.4"


@dataclass
class Kept(Granting):
    """A scenario in which policy can protect an object."""

    kept: str = ""

    def apps(self, grace: str = "1s") -> str:
        """The app, and what is protected."""
        return super().apps(grace) + self.kept

    async def keep(self, lines: str) -> None:
        """Protect what these lines name, as an operator does at the running server."""
        self.kept = f'[[protected]]\nid = "kept"\nreason = "Ask Ann."\n{lines}\n'
        await self.accept_policy(self.apps())


@pytest.fixture
async def kept(cluster_setup, tmp_path, anyio_backend):  # noqa: ARG001 - the loop it runs on
    """The plain app."""
    async with Kept(cluster_setup, tmp_path) as made:
        yield made


async def test_no_action_changes_a_protected_workload_and_nothing_of_it_is_committed(kept):
    made = await kept.tool("deploy", app="docs", version="0.13.4")
    assert made.ok, made.text
    before = kept.live_object("deployment", "docs", kept.namespace)["metadata"]["resourceVersion"]
    await kept.keep(f'namespaces = ["{kept.namespace}"]\nkinds = ["apps/Deployment"]\nnames = ["docs"]')

    scale = {"name": "more", "action": "scale", "arguments": {"app": "docs", "replicas": 3}}
    space = {"name": "space", "action": "provision_namespace", "arguments": {"namespace": kept.fresh("late")}}
    for action, arguments in (
        ("deploy", {"app": "docs", "version": "0.13.3"}),
        ("scale", {"app": "docs", "replicas": 3}),
        ("configure", {"app": "docs", "settings": {"replicas": 3}}),
        ("restart", {"app": "docs"}),
        ("rollback", {"request": made.data["request"]}),
        ("change_set", {"steps": [space, scale]}),
    ):
        given = await refused_by(kept, kept.tool("change", action=action, arguments=arguments), "protected.kept")
        assert "Ask Ann." in given.text

    assert kept.live_object("deployment", "docs", kept.namespace)["metadata"]["resourceVersion"] == before
    assert kept.image() == NEW
    assert kept.live_object("namespace", kept.fresh("late")) is None


async def test_a_namespace_that_policy_protects_is_not_made(kept):
    space = kept.fresh("late")
    await kept.keep(f'namespaces = ["{space}"]')

    await refused_by(kept, kept.tool("provision_namespace", namespace=space), "protected.kept")

    assert kept.live_object("namespace", space) is None


async def test_a_chart_neither_changes_nor_prunes_a_protected_object(cluster_setup, tmp_path, monkeypatch):
    monkeypatch.setenv("INFRA_MCP_HELM", str(helm_4()))
    async with Charts(cluster_setup, tmp_path) as charts:
        folder = charts.repo / "charts" / "kept"
        (folder / "templates").mkdir(parents=True)
        (folder / "Chart.yaml").write_text("apiVersion: v2\nname: kept\nversion: 1.0.0\n", encoding="utf-8")

        def write(**objects):
            bodies = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": value}}
                      for name, value in objects.items()]  # fmt: skip
            text = "\n---\n".join(map(json.dumps, bodies))
            (folder / "templates" / "all.yaml").write_text(text, encoding="utf-8")
            charts.git("add", ".")
            charts.git("commit", "-q", "-m", "Chart")

        async def release():
            arguments = {"namespace": charts.namespace, "release": "site", "chart": "./charts/kept"}
            async with charts.peer("charts") as client:
                return await charts.call(client, "change", action="helm_release", arguments=arguments)

        write(kept="1", other="1")
        made = await release()
        assert made.ok, made.text
        entry = f'[[protected]]\nid = "kept"\nnamespaces = ["{charts.namespace}"]\nnames = ["kept"]\n'
        await charts.accept_policy(charts.apps() + entry)

        for objects in ({"kept": "2", "other": "1"}, {"other": "1"}):
            write(**objects)
            refused = await release()
            assert "(rule protected.kept)" in refused.text, refused.text
            assert charts.live_object("configmap", "kept", charts.namespace)["data"] == {"a": "1"}

        write(kept="1", other="2")
        beside = await release()

        assert beside.ok, beside.text
        assert charts.live_object("configmap", "other", charts.namespace)["data"] == {"a": "2"}
