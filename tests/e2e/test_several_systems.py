"""A change over several systems: a later step waits for what an earlier one makes, and is undone with the others."""

import json

import pytest
from e2e.test_change_set import ask, step
from e2e.test_helm import charts  # noqa: F401 - a fixture

pytestmark = [pytest.mark.anyio, pytest.mark.cluster, pytest.mark.promise("seam.parts")]


async def test_a_release_is_installed_in_the_namespace_that_the_step_before_makes(charts):  # noqa: F811 - the fixture
    name = charts.fresh("made", circle="charts")
    install = {"chart": "./charts/web", "values": {"image": "registry.example/charts/web:1.0.0"}}

    made = await ask(
        charts,
        step("space", "provision_namespace", namespace=name),
        step("site", "helm_release", namespace=name, release="site", **install),
        by="charts",
        wait_seconds=60,
    )

    assert made.ok, made.text
    assert f"namespace {name} up" in made.text
    assert f"release {name}/site is at revision 1" in made.text
    assert charts.live_object("secret", "sh.helm.release.v1.site.v1", name) is not None


async def test_an_upgrade_is_rolled_back_when_a_later_step_fails_and_a_new_namespace_stays(charts):  # noqa: F811
    first = await charts.tool("deploy", by="charts", app="web", version="1.1.0", wait_seconds=60)
    assert first.ok, first.text
    before, name = charts.manifest.read_text(encoding="utf-8"), charts.fresh("kept", circle="charts")

    failed = await ask(
        charts,
        step("upgrade", "deploy", app="web", version="1.2.0"),
        step("space", "provision_namespace", namespace=name),
        step("bad", "helm_release", namespace=name, release="bad", chart="./charts/web",
             values={"image": "registry.example/charts/web:1.0.0-unpullable"}),
        by="charts",
        wait_seconds=60,
    )  # fmt: skip

    assert not failed.ok
    assert "Step bad: " in failed.text
    assert f"namespace/{name}" in failed.text.partition("What was made is kept")[2]
    assert charts.manifest.read_text(encoding="utf-8") == before
    live = json.dumps(charts.live_object("deployment", "web", charts.namespace))
    assert "registry.example/charts/web:1.1.0" in live
