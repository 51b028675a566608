"""What is judged is installed: rendered twice with the cluster's answers, and compared with what Helm stored."""

import pytest

from infra_mcp.errors import InfraError

pytestmark = [pytest.mark.anyio, pytest.mark.promise("helm.release")]


def _random(helm_space, **values):
    return helm_space.declared("site", "random", **values)


def _of(plan, kind, name="site"):
    [found] = [one for one in plan.changes if one.target.kind == kind and one.target.name == name]
    return found


@pytest.mark.trap("H8")
async def test_what_a_chart_looks_up_in_the_cluster_is_what_the_plan_shows(helm_space):
    helm_space.kubectl("create", "configmap", "source", "--from-literal=text=said-by-the-cluster")
    async with helm_space.connect() as driver:
        plan = await driver.plan(helm_space.context(), helm_space.change({}, _random(helm_space)))
    assert "said-by-the-cluster" in str(_of(plan, "ConfigMap").fields)


@pytest.mark.trap("H8")
async def test_a_password_that_is_random_each_time_is_no_other_plan_and_not_shown_and_none_once_it_is_kept(helm_space):
    first = _random(helm_space)
    async with helm_space.connect() as driver:
        share = helm_space.change({}, first)
        plans = [await driver.plan(helm_space.context(), share) for _ in range(2)]
        assert plans[0].changes == plans[1].changes
        assert any("differ each time they are rendered" in note for note in plans[0].notes)
        assert "[differs each time]" in str(_of(plans[0], "Secret").fields)
        await driver.apply(helm_space.context(), plans[1])
        await driver.verify(helm_space.context(), plans[1], 60)
        kept = helm_space.get("secret", "site")["data"]["password"]
        again = await driver.plan(helm_space.context(), share)
        assert again.writes == ()
        _, said = await helm_space.bring(driver, first, _random(helm_space, text="other"))
    assert "revision 2" in said
    assert helm_space.get("secret", "site")["data"]["password"] == kept


async def test_what_differs_each_time_anywhere_else_is_refused_with_its_field(helm_space):
    async with helm_space.connect() as driver:
        with pytest.raises(InfraError, match=r"configmap/site\.data\.wild has another value") as caught:
            await driver.plan(helm_space.context(), helm_space.change({}, _random(helm_space, wild=True)))
    assert caught.value.code == "build-refused"


@pytest.mark.trap("H8")
async def test_a_change_of_a_text_in_a_secret_is_seen_and_not_shown(helm_space):
    first, second = _random(helm_space), _random(helm_space, text="another-secret-text")
    async with helm_space.connect() as driver:
        await helm_space.bring(driver, {}, first)
        plan = await driver.plan(helm_space.context(), helm_space.change(first, second))
    changed = [str(one.path[-1]) for one in _of(plan, "Secret").fields]
    assert {"text"} <= set(changed)
    secret = _of(plan, "Secret")
    assert "another-secret-text" not in secret.model_dump_json()


@pytest.mark.trap("H8")
async def test_after_a_failed_upgrade_of_others_the_plan_shows_what_is_really_other(helm_space):
    first = helm_space.declared("site", "hooked")
    async with helm_space.connect() as driver:
        await helm_space.bring(driver, {}, first)
        chart = helm_space.chart("hooked")
        words = ("--set", "fail=post", "--set", "image=registry.example/charts/hooked:9.9.9")
        await helm_space.run_helm("upgrade", "site", chart, *words, check=False)
        assert (await helm_space.history("site"))[-1]["status"] == "failed"
        plan = await driver.plan(helm_space.context(), helm_space.change(first, first))
        shown = str(_of(plan, "apps/Deployment").fields)
        assert "9.9.9" in shown
        assert "2.0.0" in shown
        await driver.apply(helm_space.context(), plan)
        assert "deployed" in await driver.verify(helm_space.context(), plan, 60)


async def test_what_helm_installed_otherwise_than_it_was_judged_goes_to_an_operator(helm_space):
    helm_space.kubectl("create", "configmap", "source", "--from-literal=text=judged")
    async with helm_space.connect() as driver:
        plan = await driver.plan(helm_space.context(), helm_space.change({}, _random(helm_space)))
        helm_space.kubectl("patch", "configmap", "source", "--type=merge", "-p", '{"data":{"text":"another"}}')
        await driver.apply(helm_space.context(), plan)
        with pytest.raises(InfraError, match=r"otherwise than it was planned and judged") as caught:
            await driver.verify(helm_space.context(), plan, 60)
    assert caught.value.code == "cannot-observe"
    assert "configmap/site.data.source is another" in caught.value.what


@pytest.mark.trap("H9")
@pytest.mark.trap("H10")
async def test_dashes_in_a_value_end_no_document_and_nothing_of_the_folder_crds_is_applied(helm_space):
    async with helm_space.connect() as driver:
        plan, said = await helm_space.bring(driver, {}, helm_space.declared("all", "umbrella"))
    assert helm_space.get("configmap", "all-umbrella")["data"]["text"] == "before\n---\nafter\n"
    assert "deployed" in said
    assert any("files of the chart's folder crds are left to a cluster admin" in note for note in plan.notes)
    assert helm_space.kubectl("get", "configmap", "stray", "--ignore-not-found") == ""
    assert helm_space.kubectl("get", "crd", "things.charts.example", "--ignore-not-found") == ""
    assert {"stray", "things.charts.example"}.isdisjoint(one.target.name for one in plan.changes)
