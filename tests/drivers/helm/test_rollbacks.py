"""A return to the former revision: what a failed one dropped is there again, once, and what fails is said."""

import pytest

pytestmark = [pytest.mark.anyio, pytest.mark.promise("helm.release")]


@pytest.mark.trap("H6")
async def test_a_failed_revision_that_dropped_one_object_and_had_another_rejected_is_left_behind(helm_space):
    first = helm_space.declared("site", "random")
    chart = helm_space.chart("random")
    async with helm_space.connect() as driver:
        await helm_space.bring(driver, {}, first)
        # As another Helm left it: one object deleted, one that the API server refuses.
        await helm_space.run_helm("upgrade", "site", chart, "--set", "drop=true", "--set", "broken=true", check=False)
        assert (await helm_space.history("site"))[-1]["status"] == "failed"
        helm_space.kubectl("delete", "configmap", "site-extra", "--ignore-not-found")
        plan, said = await helm_space.bring(driver, first, helm_space.declared("site", "random", text="mended"))
        assert "revision 3" in said
        assert helm_space.get("configmap", "site-extra")["data"]["text"] == "mended"
        undone = await driver.undo(helm_space.context(), plan.writes)
        assert undone.skipped == ()
        await driver.settled(helm_space.context(), plan.writes, 60)
    assert helm_space.get("configmap", "site-extra")["data"]["text"] == "plain"


@pytest.mark.trap("H6")
async def test_what_an_upgrade_of_ours_deleted_before_it_failed_comes_back_with_the_rollback(helm_space):
    first, second = helm_space.declared(password="before"), helm_space.declared(image="registry.example/charts/web:2")
    async with helm_space.connect() as driver:
        await helm_space.bring(driver, {}, first)
        plan = await driver.plan(helm_space.context(), helm_space.change(first, second))
        assert [one.target.kind for one in plan.changes if one.operation == "delete"] == ["Secret"]
        await driver.apply(helm_space.context(), plan)
        assert helm_space.kubectl("get", "secret", "web", "--ignore-not-found") == ""
        undone = await driver.undo(helm_space.context(), plan.writes)
        assert undone.restored == (f"{helm_space.name}/release/web",)
        await driver.settled(helm_space.context(), plan.writes, 60)
    assert helm_space.get("secret", "web")["data"]


@pytest.mark.trap("H7")
async def test_a_rollback_happens_once_and_one_that_fails_is_said_with_its_reason_and_not_tried_for_ever(helm_space):
    first = helm_space.declared("site", "hooked", fail="back")
    async with helm_space.connect() as driver:
        await helm_space.bring(driver, {}, first)
        plan, _ = await helm_space.bring(driver, first, helm_space.declared("site", "hooked", fail="back", ttl=5))
        undone = await driver.undo(helm_space.context(), plan.writes)
        assert undone.restored == ()
        assert "could not be rolled back to revision 1" in undone.skipped[0]
    assert len(await helm_space.history("site")) == 3


@pytest.mark.trap("H7")
async def test_an_undo_that_is_asked_for_again_makes_no_other_revision(helm_space):
    first, second = helm_space.declared(), helm_space.declared(greeting="goodbye")
    async with helm_space.connect() as driver:
        await helm_space.bring(driver, {}, first)
        plan, _ = await helm_space.bring(driver, first, second)
        for _ in range(3):
            undone = await driver.undo(helm_space.context(), plan.writes)
            assert undone.restored == (f"{helm_space.name}/release/web",)
    assert [one["revision"] for one in await helm_space.history()] == [1, 2, 3]


async def test_a_release_that_others_upgraded_since_is_left_as_it_is(helm_space):
    first, second = helm_space.declared(), helm_space.declared(greeting="goodbye")
    async with helm_space.connect() as driver:
        await helm_space.bring(driver, {}, first)
        plan, _ = await helm_space.bring(driver, first, second)
        await helm_space.run_helm("upgrade", "web", helm_space.chart("web"), "--set", "greeting=by-others")
        undone = await driver.undo(helm_space.context(), plan.writes)
        assert "which others made since" in undone.skipped[0]
    assert helm_space.get("configmap", "web")["data"]["greeting"] == "by-others"
