"""What people do beside the flow, and what is not there: said before the commit, or put right by the next change."""

from functools import partial

import anyio
import pytest
import yaml
from clients.helm.parts import packed
from clients.helm.servers import chart_server
from drivers.helm.space import CHARTS, helm_4
from e2e.charts import Charts

pytestmark = [pytest.mark.cluster, pytest.mark.anyio, pytest.mark.promise("helm.release")]


_WEB = {path: (CHARTS / "web" / path).read_text("utf-8") for path in ("values.yaml", "templates/all.yaml")}


class Odd(Charts):
    """A release whose chart a repository of charts has, and one that another circle declares without Helm's grant."""

    charts_at = "http://127.0.0.1:1/charts"

    def apps(self, grace="1s"):
        front = f'[apps.front]\nowner = "shop"\nfile = "helm/{self.shop}/front.yaml"\n'
        front += 'image = "registry.example/shop/front:{version}"\n'
        return f'{super().apps(grace)}{front}\n[helm]\nrepositories = ["{self.charts_at}"]\n'

    @property
    def shop(self):
        return self.fresh("front", circle="shop")

    def write_files(self):
        super().write_files()
        self.declare("far", chart="web", repository=self.charts_at, version="1.0.0")
        folder = self.repo / "helm" / self.shop
        folder.mkdir()
        about = {"chart": "../../charts/web", "values": {"image": "registry.example/shop/front:1.0.0"}}
        (folder / "front.yaml").write_text(yaml.safe_dump(about), encoding="utf-8")

    def declare(self, name, **about):
        self.manifest.with_name(f"{name}.yaml").write_text(yaml.safe_dump(about), encoding="utf-8")

    @property
    def head(self):
        return self.git("rev-parse", "HEAD")


@pytest.fixture
async def odd(cluster_setup, tmp_path, monkeypatch):
    monkeypatch.setenv("INFRA_MCP_HELM", str(helm_4()))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with chart_server() as server:
        for version in ("1.0.0", "1.1.0"):
            server.put("web", version, packed("web", version, _WEB))
        made = Odd(cluster_setup, tmp_path)
        made.charts_at = server.http
        async with made as scenario:
            yield scenario


async def _deploy(scenario, version, **more):
    return await scenario.tool(
        "deploy", **{"by": "charts", "app": "web", "version": version, "wait_seconds": 60} | more
    )


async def test_a_chart_version_moves_in_git_and_one_that_is_not_there_is_said_before_the_commit(odd):
    first = await odd.release("far")
    assert first.ok, first.text
    more = await odd.release("far", version="1.1.0")
    assert more.ok, more.text
    assert "(chart web 1.1.0)" in more.text
    assert yaml.safe_load(odd.manifest.with_name("far.yaml").read_text())["version"] == "1.1.0"

    head = odd.head
    gone = await odd.release("far", version="9.9.9")
    assert gone.data["code"] == "chart-unavailable", gone.text
    assert "chart web 9.9.9" in gone.text
    strange = await odd.release("new", chart="web", repository="https://elsewhere.example", version="1.0.0")
    assert "helm.repositories" in strange.text, strange.text
    missing = await odd.release("new", chart="./charts/none")
    assert missing.data["code"] == "manifest-invalid", missing.text
    nowhere = await odd.release("new", chart="./charts/web", namespace=f"{odd.namespace}-none")
    assert nowhere.data["code"] == "not-in-cluster", nowhere.text
    assert "provision_namespace" in nowhere.text
    assert odd.head == head


async def test_a_circle_without_a_grant_for_helm_deploys_nothing_that_helm_delivers(odd):
    head = odd.head
    said = await _deploy(odd, "1.1.0", by="shop", app="front")
    assert said.data["code"] == "policy-denied", said.text
    assert "circles.shop.helm" in said.text
    assert odd.head == head
    assert odd.live_object("deployment", "front", odd.shop) is None


async def test_a_release_that_somebody_upgraded_or_uninstalled_by_hand_is_brought_to_what_git_says(odd):
    assert (await _deploy(odd, "1.1.0")).ok
    odd.helm("upgrade", "web", str(CHARTS / "web"), "--reuse-values", "--set", "replicas=3,greeting=bye")

    plan = await _deploy(odd, "1.2.0", dry_run=True)
    assert "values.replicas" in plan.text, plan.text
    again = await _deploy(odd, "1.2.0")
    assert again.ok, again.text
    assert "at revision 3" in again.text
    assert odd.live_object("configmap", "web", odd.namespace)["data"]["greeting"] == "hello"
    assert odd.live_object("deployment", "web", odd.namespace)["spec"]["replicas"] == 1

    odd.kubectl("-n", odd.namespace, "delete", "secrets", "-l", "owner=helm,name=web")
    held = await _deploy(odd, "1.3.0")
    assert held.ok, held.text
    assert "at revision 1" in held.text, "its objects say whose they are, so Helm installs over them"

    odd.kubectl("-n", odd.namespace, "delete", "deployment,configmap", "web")
    fresh = await _deploy(odd, "1.4.0")
    assert fresh.ok, fresh.text


async def test_an_object_that_no_release_has_is_not_taken_and_the_message_says_how_helm_may_take_it(odd):
    odd.kubectl("-n", odd.namespace, "create", "configmap", "site", "--from-literal=a=b")
    head = odd.head
    said = await odd.release("site", chart="./charts/web")
    assert said.data["code"] == "exists", said.text
    assert odd.head == head
    odd.kubectl("-n", odd.namespace, "label", "configmap", "site", "app.kubernetes.io/managed-by=Helm")
    owner = ("meta.helm.sh/release-name=site", f"meta.helm.sh/release-namespace={odd.namespace}")
    odd.kubectl("-n", odd.namespace, "annotate", "configmap", "site", *owner)
    taken = await odd.release("site", chart="./charts/web")
    assert taken.ok, taken.text


@pytest.mark.promise("helm.safe-args")
async def test_a_password_in_the_address_of_a_repository_is_refused_and_repeated_nowhere(odd):
    secret = "kQ7vXhM2wRtY9pLs4nBd"
    address = f"https://robot:{secret}@charts.example"
    said = [await odd.release("new", chart="web", repository=address, version="1.0.0")]
    odd.declare("far", chart="web", repository=address, version="1.0.0")
    odd.git("commit", "-qam", "Somebody puts a password into git")
    said.append(await odd.release("far", values={"greeting": "hi"}))

    assert [one.ok for one in said] == [False, False]
    assert [one.text for one in said if secret in f"{one.text}{one.data}"] == []
    ledger = b"".join(path.read_bytes() for path in odd.settings.state_dir.rglob("*") if path.is_file())
    assert secret.encode() not in ledger


async def test_two_requests_for_one_release_at_once_both_land_one_after_the_other(odd):
    assert (await odd.release("far")).ok
    said = []

    async def ask(**values):
        said.append(await odd.release("far", values=values))

    async with anyio.create_task_group() as group:
        group.start_soon(partial(ask, greeting="good morning"))
        group.start_soon(partial(ask, replicas=2))
    assert [one.ok for one in said] == [True, True], [one.text for one in said]
    assert odd.live_object("configmap", "far", odd.namespace)["data"]["greeting"] == "good morning"
    assert odd.live_object("deployment", "far", odd.namespace)["spec"]["replicas"] == 2
    assert odd.revisions("far") == [(1, "superseded"), (2, "superseded"), (3, "deployed")]
