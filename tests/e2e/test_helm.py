"""Releases of Helm through the one flow: from a file in git to pods and back."""

import pytest
import yaml
from drivers.helm.space import helm_4
from e2e.charts import Charts, recording_helm

pytestmark = [pytest.mark.cluster, pytest.mark.anyio, pytest.mark.promise("helm.release")]

CANARY = "kQ7vXhM2wRtY9pLs4nBd"  # what must be seen nowhere


@pytest.fixture
async def charts(cluster_setup, tmp_path, monkeypatch):
    monkeypatch.setenv("INFRA_MCP_HELM", str(helm_4()))
    async with Charts(cluster_setup, tmp_path) as scenario:
        yield scenario


async def test_a_deploy_of_an_app_that_helm_delivers_edits_its_release_lands_and_is_rolled_back_on_request(charts):
    first = await charts.tool("deploy", by="charts", app="web", version="1.1.0", wait_seconds=60)
    assert first.ok, first.text
    before = charts.manifest.read_text(encoding="utf-8")
    second = await charts.tool("deploy", by="charts", app="web", version="1.2.0", wait_seconds=60)
    assert second.ok
    assert "web:1.2.0   # bumped by release" in charts.manifest.read_text(encoding="utf-8")
    assert f"release {charts.namespace}/web is at revision 2" in second.text
    assert "image registry.example/charts/web:1.2.0" in second.text

    back = await charts.tool(
        "change", by="charts", action="rollback", arguments={"request": second.data["request"]}, wait_seconds=60
    )
    assert back.ok, back.text
    assert charts.manifest.read_text(encoding="utf-8") == before
    assert charts.revisions("web")[-1] == (3, "deployed")

    shown = (await charts.tool("status", by="charts", app="web")).data
    assert (shown["health"], shown["version"]) == ("Current", "1.1.0")
    [release] = shown["releases"]
    assert (release["revision"], release["status"]) == (3, "deployed")
    assert [one["revision"] for one in release["history"]] == [3, 2, 1]
    space = (await charts.tool("status", by="charts", namespace=charts.namespace)).data
    assert [one["name"] for one in space["releases"]] == ["web"]
    assert space["drift"] == []


async def test_a_setting_of_an_app_that_helm_delivers_is_configured_in_its_values(charts):
    await charts.tool("deploy", by="charts", app="web", version="1.1.0", wait_seconds=60)
    arguments = {"app": "web", "settings": {"greeting": "good morning"}}
    done = await charts.tool("change", by="charts", action="configure", arguments=arguments, wait_seconds=60)
    assert done.ok, done.text
    assert charts.live_object("configmap", "web", charts.namespace)["data"]["greeting"] == "good morning"
    assert yaml.safe_load(charts.manifest.read_text())["values"]["greeting"] == "good morning"


async def test_a_release_is_installed_upgraded_and_undone_by_its_own_action(charts):
    new = await charts.release(chart="./charts/hooked")
    assert new.ok, new.text
    assert "2 hooks succeeded" in new.text
    file = charts.manifest.with_name("site.yaml")
    assert yaml.safe_load(file.read_text()) == {"chart": "../../charts/hooked"}

    changed = await charts.release(values={"ttl": 30})
    assert changed.ok, changed.text
    assert yaml.safe_load(file.read_text()) == {"chart": "../../charts/hooked", "values": {"ttl": 30}}
    again = await charts.release(values={"ttl": 30})
    assert again.data["state"] == "unchanged", again.text
    assert charts.revisions() == [(1, "superseded"), (2, "deployed")]


@pytest.mark.promise("helm.hooks")
async def test_an_upgrade_whose_hook_fails_is_rolled_back_in_git_and_in_the_cluster(charts):
    await charts.release(chart="./charts/hooked")
    before = charts.manifest.with_name("site.yaml").read_text()
    failed = await charts.release(values={"fail": "post"})
    assert failed.data["code"] == "not-landed", failed.text
    assert "hook Job site-post failed" in failed.text
    assert charts.manifest.with_name("site.yaml").read_text() == before
    assert [status for _, status in charts.revisions()] == ["superseded", "failed", "deployed"]


async def test_an_install_that_fails_is_held_for_a_person_and_nothing_is_uninstalled(charts):
    failed = await charts.release(chart="./charts/hooked", values={"fail": "post"})
    assert failed.data["code"] == "not-landed", failed.text
    assert charts.revisions() == [(1, "failed")]
    assert charts.live_object("deployment", "site", charts.namespace) is not None
    assert charts.manifest.with_name("site.yaml").exists()


@pytest.mark.promise("helm.safe-args")
@pytest.mark.parametrize(
    "values",
    [
        {"greeting": '{{ .Files.Get "x" }}'},
        {"greeting": "$(rm -rf /)"},
        {"auth.password": CANARY},
        {"a": {"token": CANARY}},
    ],
)
async def test_a_value_that_would_be_interpreted_or_is_a_secret_is_refused_and_written_nowhere(charts, values):
    before = charts.git("rev-parse", "HEAD")
    said = await charts.release(chart="./charts/web", values=values)
    assert not said.ok
    assert said.data["code"] == "invalid-argument"
    assert charts.git("rev-parse", "HEAD") == before
    assert CANARY not in said.text
    assert CANARY.encode() not in _ledger(charts)


@pytest.mark.promise("helm.safe-args")
async def test_another_circle_and_another_namespace_get_no_release(charts):
    about = {"namespace": charts.namespace, "release": "site", "chart": "./charts/web"}
    other = await charts.tool("change", by="shop", action="helm_release", arguments=about)
    assert other.data["code"] == "policy-denied"
    beyond = await charts.tool("change", by="charts", action="helm_release", arguments=about | {"namespace": "shop-a"})
    assert beyond.data["code"] == "policy-denied"
    assert (await charts.tool("status", by="shop", namespace=charts.namespace)).data["code"] == "not-found"


@pytest.mark.promise("helm.safe-args")
@pytest.mark.parametrize("fails", ["", "post"])
async def test_a_secret_in_values_is_in_no_answer_ledger_log_argument_environment_or_file_of_ours(
    cluster_setup, tmp_path, fails
):
    (tmp_path / "tmp").mkdir()
    program, record = recording_helm(helm_4(), tmp_path)
    async with Charts(cluster_setup, tmp_path, serve=False) as charts:
        await charts.start(env={"INFRA_MCP_HELM": str(program), "TMPDIR": str(tmp_path / "tmp")})
        secret = charts.repo / "helm" / "values" / "site.yaml"
        secret.parent.mkdir()
        secret.write_text(f"password: {CANARY}\nfail: '{fails}'\n")
        about = {"chart": "../../charts/hooked", "valuesFiles": ["../values/site.yaml"]}
        charts.manifest.with_name("site.yaml").write_text(yaml.safe_dump(about))
        charts.git("add", ".")
        charts.git("commit", "-qm", "A release with a password")
        said = [await charts.release(values={"ttl": 9}), await charts.release(values={"ttl": 10})]
        ids = [one.data["request"] for one in said]
        said += [await charts.tool("get_request", by="charts", request_id=request) for request in ids]
        said.append(await charts.tool("status", by="charts", namespace=charts.namespace))
        assert said[0].ok == (not fails), said[0].text
        live = charts.live_object("secret", "site", charts.namespace)
        assert live is not None
        found = "".join(f"{one.text}{one.data}" for one in said)
        commits = charts.git("log", "-p", "-2", "--format=%B", "--", "helm/" + charts.namespace)
        places = {"answers": found, "log": charts.log, "started": record.read_text("utf-8", "replace"), "git": commits}
        assert [name for name, text in places.items() if CANARY in text] == []
        assert CANARY.encode() not in _ledger(charts)
        left = [path for path in tmp_path.rglob("*") if "infra-mcp-helm-" in path.name]
        assert left == []


def _ledger(charts):
    folder = charts.settings.state_dir
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
