"""Hooks: shown in the plan, awaited, and named when they fail."""

import pytest

from infra_mcp.errors import InfraError

pytestmark = [pytest.mark.anyio, pytest.mark.promise("helm.hooks")]


def _runs(plan):
    return {change.target.name for change in plan.changes if change.operation == "run"}


def _hooked(helm_space, **values):
    return helm_space.declared("site", "hooked", **values)


async def test_hooks_are_shown_as_what_runs_with_their_images_and_the_ack_counts_them(helm_space):
    async with helm_space.connect() as driver:
        plan, said = await helm_space.bring(driver, {}, _hooked(helm_space))
        assert _runs(plan) == {"site-pre", "site-post"}
        hooks = [change for change in plan.changes if change.operation == "run"]
        assert {change.images for change in hooks} == {("registry.example/charts/hooked:2.0.0",)}
        assert all(change.by and change.traits is not None and change.fields for change in hooks)
        assert "2 hooks succeeded" in said
        upgrade = await driver.plan(helm_space.context(), helm_space.change({}, _hooked(helm_space, ttl=1)))
        assert _runs(upgrade) == {"site-pre", "site-post"}


@pytest.mark.trap("H11")
async def test_a_chart_s_tests_are_never_run_and_never_said_to_have_passed(helm_space):
    async with helm_space.connect() as driver:
        plan, said = await helm_space.bring(driver, {}, _hooked(helm_space))
    assert "1 tests of the chart are not run" in plan.notes
    assert "test" not in said
    assert helm_space.kubectl("get", "job", "site-tests", "--ignore-not-found") == ""


@pytest.mark.parametrize("point", ["pre", "post"])
async def test_a_hook_that_fails_is_named_with_how_it_ended_and_the_upgrade_is_rolled_back(helm_space, point):
    good, bad = _hooked(helm_space), _hooked(helm_space, fail=point)
    async with helm_space.connect() as driver:
        await helm_space.bring(driver, {}, good)
        plan = await driver.plan(helm_space.context(), helm_space.change(good, bad))
        with pytest.raises(InfraError) as caught:
            await driver.apply(helm_space.context(), plan)
        assert caught.value.code == "not-landed"
        assert f"hook Job site-{point} failed" in caught.value.what
        assert "active longer than specified deadline" in caught.value.what

        undone = await driver.undo(helm_space.context(), plan.writes)
        assert undone.restored == (f"{helm_space.name}/release/site",)
        assert await driver.settled(helm_space.context(), plan.writes, 60)
    statuses = [one["status"] for one in await helm_space.history("site")]
    assert statuses[-2:] == ["failed", "deployed"]


@pytest.mark.parametrize("point", ["render", "object"])
async def test_what_cannot_be_rendered_or_is_no_valid_object_is_found_by_the_plan(helm_space, point):
    async with helm_space.connect() as driver:
        with pytest.raises(InfraError) as caught:
            await driver.plan(helm_space.context(), helm_space.change({}, _hooked(helm_space, fail=point)))
    code = {"render": "build-failed", "object": "object-invalid"}[point]
    word = {"render": "this chart does not render", "object": "99999"}[point]
    assert caught.value.code == code
    assert word in caught.value.what
    assert helm_space.kubectl("get", "secrets", "-l", "owner=helm", "-o", "name") == ""


@pytest.mark.promise("helm.release")
@pytest.mark.trap("H4")
async def test_a_rollout_that_fails_ends_the_wait_with_its_cause(helm_space):
    good, bad = _hooked(helm_space), _hooked(helm_space, fail="rollout")
    async with helm_space.connect() as driver:
        await helm_space.bring(driver, {}, good)
        plan = await driver.plan(helm_space.context(), helm_space.change(good, bad))
        await driver.apply(helm_space.context(), plan)
        with pytest.raises(InfraError) as caught:
            await driver.verify(helm_space.context(), plan, 60)
    assert caught.value.code == "not-landed"
    assert "site" in caught.value.what


@pytest.mark.trap("H5")
@pytest.mark.parametrize("ttl", [600, 0])
async def test_a_job_of_the_release_that_fails_has_not_landed_also_where_it_is_deleted_at_once(helm_space, ttl):
    good, bad = _hooked(helm_space), _hooked(helm_space, job=True, fail="job", ttl=ttl)
    async with helm_space.connect() as driver:
        await helm_space.bring(driver, {}, good)
        plan = await driver.plan(helm_space.context(), helm_space.change(good, bad))
        await driver.apply(helm_space.context(), plan)
        with pytest.raises(InfraError, match="has not succeeded") as caught:
            await driver.verify(helm_space.context(), plan, 60)
        assert "DeadlineExceeded" in caught.value.what
        fine = _hooked(helm_space, job=True, ttl=ttl)
        _, said = await helm_space.bring(driver, bad, fine)
    assert "deployed" in said
