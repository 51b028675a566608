"""Fields and objects that others hold: shown before they are taken, and refused where Helm would refuse them."""

import json

import pytest

from infra_mcp.clients.kube import Cluster
from infra_mcp.errors import InfraError, Moved

pytestmark = [pytest.mark.anyio, pytest.mark.promise("helm.release")]


def _deployment(plan, name="web"):
    [found] = [one for one in plan.changes if one.target.kind == "apps/Deployment" and one.target.name == name]
    return found


@pytest.mark.trap("H2")
async def test_a_field_that_kubectl_scaled_is_shown_as_taken_and_the_upgrade_lands(helm_space):
    first, second = helm_space.declared(replicas=1), helm_space.declared(replicas=2)
    async with helm_space.connect() as driver:
        await helm_space.bring(driver, {}, first)
        helm_space.kubectl("scale", "deployment/web", "--replicas=3")
        plan = await driver.plan(helm_space.context(), helm_space.change(first, second))
        [take] = _deployment(plan).takes
        assert (take.field, take.manager) == (".spec.replicas", "kubectl")
        await driver.apply(helm_space.context(), plan)
        assert "2 of 2 replicas ready" in await driver.verify(helm_space.context(), plan, 60)


@pytest.mark.trap("H2")
async def test_helm_takes_nothing_from_itself_whichever_helm_wrote_it_before(helm_space):
    first, second = helm_space.declared(), helm_space.declared(image="registry.example/charts/web:1.1.0", replicas=2)
    await helm_space.run_helm("install", "web", helm_space.chart("web"))
    async with helm_space.connect() as driver:
        plan, said = await helm_space.bring(driver, first, second)
        assert [one for one in plan.changes if one.takes] == []
        assert "2 of 2 replicas ready" in said
        back, _ = await helm_space.bring(driver, second, first)
        assert [one for one in back.changes if one.takes] == []


async def test_what_a_controller_writes_while_a_release_is_compared_is_no_change_of_it(helm_space, monkeypatch):
    first, raced, dry_run = helm_space.declared(), [], Cluster.dry_run

    async def late(self, body, *args, **how):
        if body["kind"] == "Deployment" and not raced:
            raced.append("example.org/seen=now")
            helm_space.kubectl("annotate", "--overwrite", "deployment", "web", *raced)
        return await dry_run(self, body, *args, **how)

    async with helm_space.connect() as driver:
        await helm_space.bring(driver, {}, first)
        monkeypatch.setattr(Cluster, "dry_run", late)
        plan = await driver.plan(helm_space.context(), helm_space.change(first, first))

    assert raced
    assert {one.operation for one in plan.changes} == {"unchanged"}


@pytest.mark.trap("H3")
async def test_a_field_that_a_person_edited_back_is_what_the_chart_says_again_without_replacing_the_object(helm_space):
    first, second = helm_space.declared(greeting="hello"), helm_space.declared(greeting="goodbye")
    async with helm_space.connect() as driver:
        await helm_space.bring(driver, {}, first)
        before = {kind: helm_space.get(kind, "web")["metadata"]["uid"] for kind in ("deployment", "configmap")}
        helm_space.kubectl("patch", "configmap", "web", "--type=merge", "-p", '{"data":{"greeting":"by-hand"}}')
        plan, _ = await helm_space.bring(driver, first, second)
    assert {one.manager for change in plan.changes for one in change.takes} == {"kubectl-patch"}
    assert helm_space.get("configmap", "web")["data"]["greeting"] == "goodbye"
    assert {kind: helm_space.get(kind, "web")["metadata"]["uid"] for kind in before} == before


async def test_an_object_of_nobody_is_not_taken_and_one_of_another_release_neither(helm_space):
    async with helm_space.connect() as driver:
        helm_space.kubectl("create", "configmap", "web", "--from-literal=a=b")
        with pytest.raises(InfraError, match="exists and cannot be imported") as caught:
            await driver.plan(helm_space.context(), helm_space.change({}, helm_space.declared()))
        assert caught.value.code == "exists"
        assert "let Helm take it" in caught.value.next_step
        helm_space.kubectl("label", "configmap", "web", "app.kubernetes.io/managed-by=Helm")
        about = ("meta.helm.sh/release-name=other", f"meta.helm.sh/release-namespace={helm_space.name}")
        helm_space.kubectl("annotate", "configmap", "web", *about)
        with pytest.raises(InfraError, match="exists and cannot be imported") as caught:
            await driver.plan(helm_space.context(), helm_space.change({}, helm_space.declared()))
        assert caught.value.code == "owned-elsewhere"
        helm_space.kubectl("annotate", "--overwrite", "configmap", "web", "meta.helm.sh/release-name=web")
        _, said = await helm_space.bring(driver, {}, helm_space.declared())
    assert "deployed" in said


@pytest.mark.parametrize("keep", [False, True])
async def test_an_object_that_is_rendered_no_longer_is_a_deletion_of_the_plan_and_gone_or_kept_as_the_chart_says(
    helm_space, keep
):
    first = helm_space.declared("site", "random", keep=keep)
    second = helm_space.declared("site", "random", keep=keep, drop=True)
    async with helm_space.connect() as driver:
        await helm_space.bring(driver, {}, first)
        plan, _ = await helm_space.bring(driver, first, second)
        deleted = [one.target.name for one in plan.changes if one.operation == "delete"]
        assert deleted == ([] if keep else ["site-extra"])
        found = helm_space.kubectl("get", "configmap", "site-extra", "--ignore-not-found", "-o", "name")
        assert bool(found) == keep


async def test_what_the_identity_of_helm_may_not_write_is_found_by_the_plan(helm_space):
    chart = {
        "charts/wide/Chart.yaml": "apiVersion: v2\nname: wide\nversion: 1.0.0\n",
        "charts/wide/templates/a.yaml": json.dumps(
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "wide"}}
        ),
    }
    async with helm_space.connect() as driver:
        with pytest.raises(InfraError) as caught:
            await driver.plan(helm_space.context(), helm_space.change(chart, helm_space.declared("wide", "wide")))
    assert caught.value.code == "cluster-denied"


async def test_an_object_that_somebody_changed_after_the_plan_stops_the_upgrade_before_it_writes(helm_space):
    first, second = helm_space.declared(), helm_space.declared(greeting="goodbye")
    async with helm_space.connect() as driver:
        await helm_space.bring(driver, {}, first)
        plan = await driver.plan(helm_space.context(), helm_space.change(first, second))
        helm_space.kubectl("patch", "configmap", "web", "--type=merge", "-p", '{"data":{"more":"by-hand"}}')
        with pytest.raises(Moved, match="configmap/web"):
            await driver.apply(helm_space.context(), plan)
    assert len(await helm_space.history()) == 1
