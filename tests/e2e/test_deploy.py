"""An app that people wrote and scaled by hand, deployed, taken back, and fought over."""

import json

import pytest

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]


@pytest.mark.core
@pytest.mark.promise("plan.adopt")
@pytest.mark.promise("plan.one-hunk")
async def test_a_hand_applied_app_is_deployed_with_exactly_its_image_taken_over(scenario):
    scenario.kubectl("-n", scenario.namespace, "scale", "deployment/docs", "--replicas=5")
    before = scenario.manifest.read_text(encoding="utf-8")

    plan = await _plan(scenario, "0.13.4")
    made = await scenario.tool("deploy", app="docs", version="0.13.4")

    assert made.ok, made.text
    (one,) = plan["objects"]
    assert len(one["adopts"]) == 1
    assert 'containers[name="site"].image from kubectl' in one["adopts"][0]
    live = scenario.live_object("deployment", "docs", scenario.namespace)
    assert live["spec"]["replicas"] == 5
    assert scenario.image() == "registry.example/docs/site:0.13.4"
    after = scenario.manifest.read_text(encoding="utf-8")
    assert after == before.replace("site:0.13.3", "site:0.13.4")


@pytest.mark.promise("plan.diff")
async def test_a_plan_shows_the_change_and_names_drift_that_it_leaves_alone(scenario):
    scenario.kubectl("-n", scenario.namespace, "scale", "deployment/docs", "--replicas=5")

    plan = await _plan(scenario, "0.13.4")

    (one,) = plan["objects"]
    assert any("0.13.3" in change and "0.13.4" in change for change in one["changes"])
    assert any("replicas" in line for line in plan["drift"])


@pytest.mark.promise("plan.adopt")
async def test_the_second_deploy_takes_nothing_from_anyone(scenario):
    await scenario.tool("deploy", app="docs", version="0.13.4")

    plan = await _plan(scenario, "0.13.5")

    assert [one["adopts"] for one in plan["objects"]] == [[]]


@pytest.mark.core
@pytest.mark.promise("verify.rollback")
@pytest.mark.promise("verify.fail-fast")
async def test_an_image_that_cannot_be_pulled_is_rolled_back_in_cluster_and_git(scenario):
    await scenario.tool("deploy", app="docs", version="0.13.4")

    failed = await scenario.tool("deploy", app="docs", version="0.13.5-unpullable")

    assert not failed.ok
    assert failed.data["state"] == "rolled_back"
    assert "pull" in failed.text.lower()
    assert "Rolled back" in failed.text
    assert scenario.image() == "registry.example/docs/site:0.13.4"
    assert "site:0.13.4" in scenario.manifest.read_text(encoding="utf-8")
    subjects = scenario.git("log", "-2", "--format=%s").splitlines()
    assert subjects == [f"Roll back {failed.data['request']}", "Deploy docs 0.13.5-unpullable"]


@pytest.mark.promise("verify.rollback")
async def test_an_undo_restores_what_was_live_and_git_what_it_said(scenario):
    scenario.kubectl(
        "-n", scenario.namespace, "set", "image", "deployment/docs", "site=registry.example/docs/site:0.13.3-hot"
    )

    failed = await scenario.tool("deploy", app="docs", version="0.13.5-unpullable")

    assert failed.data["state"] == "rolled_back", failed.text
    assert scenario.image() == "registry.example/docs/site:0.13.3-hot"
    assert 'site:0.13.3"' in scenario.manifest.read_text(encoding="utf-8")


async def test_a_deploy_may_be_held_instead_of_rolled_back(scenario):
    failed = await scenario.tool("deploy", app="docs", version="0.13.5-unpullable", on_failure="hold")

    assert failed.data["state"] == "failed", failed.text
    assert scenario.image() == "registry.example/docs/site:0.13.5-unpullable"
    assert scenario.git("log", "-1", "--format=%s").strip() == "Deploy docs 0.13.5-unpullable"


@pytest.mark.promise("verify.fail-fast")
async def test_an_image_name_that_cannot_be_parsed_fails_without_grace(scenario):
    failed = await scenario.tool("deploy", app="docs", version="0.13.5-invalid")

    assert failed.data["state"] == "rolled_back"
    assert "InvalidImageName" in failed.text


@pytest.mark.promise("apply.no-force")
async def test_a_field_another_manager_holds_is_named_with_its_owner_and_left(scenario):
    claim = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "docs", "namespace": scenario.namespace},
        "spec": {"template": {"spec": {"containers": [{"name": "site", "image": "registry.example/docs/site:7"}]}}},
    }
    words = ("apply", "--server-side", "--force-conflicts", "--field-manager=image-updater", "-f", "-")
    scenario.kubectl(*words, stdin=json.dumps(claim))
    head = scenario.git("rev-parse", "HEAD")

    refused = await scenario.tool("deploy", app="docs", version="0.13.4")

    assert not refused.ok
    assert refused.data["error"]["code"] == "field-conflict"
    assert "image-updater" in refused.text
    assert "image" in refused.text
    assert scenario.image() == "registry.example/docs/site:7"
    assert scenario.git("rev-parse", "HEAD") == head


@pytest.mark.promise("git.ff-only")
@pytest.mark.promise("plan.users-tree")
async def test_uncommitted_edits_of_the_same_file_stop_the_deploy_and_are_named(scenario):
    edited = scenario.manifest.read_text(encoding="utf-8") + "# a thought\n"
    scenario.manifest.write_text(edited, encoding="utf-8")

    refused = await scenario.tool("deploy", app="docs", version="0.13.4")

    assert not refused.ok
    assert refused.data["error"]["code"] == "checkout-refused"
    assert "docs-site.yaml" in refused.text
    assert scenario.manifest.read_text(encoding="utf-8") == edited
    assert scenario.image() == "registry.example/docs/site:0.13.3"


@pytest.mark.promise("undo.as-left")
async def test_an_undo_leaves_what_someone_else_changed_and_says_who_must_look(scenario):
    """The other writer takes the image while the rollout is failing."""
    async with scenario.peer() as client:
        asked = await client.call_tool("deploy", {"app": "docs", "version": "0.13.5-notready", "wait_seconds": 0})
        assert not asked.is_error
        await scenario.reached("verifying")
        scenario.kubectl(
            "-n", scenario.namespace, "set", "image", "deployment/docs", "site=registry.example/docs/site:0.13.9"
        )
    (row,) = await scenario.settled()

    assert row["state"] == "needs_operator", row["receipt"]
    assert scenario.image() == "registry.example/docs/site:0.13.9"


async def _plan(scenario, version):
    shown = await scenario.tool("deploy", app="docs", version=version, dry_run=True)
    assert shown.ok, shown.text
    return shown.data["plan"]
