"""Compare-and-swap on the real API server: what others do between plan and write is never written over."""

import pytest
from drivers.kubernetes.deploys import ADOPT, IMAGE, asked, to

from infra_mcp.drivers.kubernetes import ssa
from infra_mcp.drivers.kubernetes.diff import changes
from infra_mcp.errors import InfraError, Moved
from infra_mcp.model.effect import show_path
from infra_mcp.repository.partial import get_path

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]


@pytest.mark.promise("apply.no-force")
@pytest.mark.promise("apply.cas")
async def test_what_someone_takes_after_the_plan_is_not_taken_back(cluster, kubectl, ref, deployment):
    await kubectl("apply", "-f", "-", body=deployment())
    live = await cluster.get(ref(), as_user=None)
    proposal = await ssa.propose(cluster, ref(), live, to("docs:2"), as_user=None, adopt=ADOPT)
    assert proposal.force
    await kubectl(
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager",
        "terraform",
        "-f",
        "-",
        body=deployment("docs:9"),
    )
    with pytest.raises((InfraError, Moved)):
        await ssa.write(cluster, proposal, as_user=None, request="req-1")

    assert get_path(await cluster.get(ref(), as_user=None), IMAGE) == (True, "docs:9")


@pytest.mark.promise("apply.cas")
async def test_a_value_that_moved_after_the_plan_is_planned_again(cluster, kubectl, ref, deployment):
    await kubectl("apply", "-f", "-", body=deployment())
    live = await cluster.get(ref(), as_user=None)
    proposal = await ssa.propose(cluster, ref(), live, to("docs:2"), as_user=None, adopt=ADOPT)
    await kubectl("set", "image", "deploy/docs", "web=docs:9")
    with pytest.raises(Moved):
        await ssa.write(cluster, proposal, as_user=None, request="req-1")

    assert get_path(await cluster.get(ref(), as_user=None), IMAGE) == (True, "docs:9")


@pytest.mark.promise("apply.cas")
@pytest.mark.promise("plan.stale")
async def test_a_status_that_moved_after_the_plan_does_not_stop_the_write(cluster, kubectl, ref, deployment):
    await kubectl("apply", "-f", "-", body=deployment())
    live = await cluster.get(ref(), as_user=None)
    proposal = await ssa.propose(cluster, ref(), live, to("docs:2"), as_user=None, adopt=ADOPT)
    await kubectl("annotate", "deploy/docs", "note=moved")
    await kubectl("scale", "deploy/docs", "--replicas=4")
    written = await ssa.write(cluster, proposal, as_user=None, request="req-1")

    assert get_path(written, IMAGE) == (True, "docs:2")
    assert written["metadata"]["annotations"]["note"] == "moved"
    assert written["spec"]["replicas"] == 4


async def test_an_object_that_moves_while_it_is_planned_is_read_again(cluster, kubectl, ref, deployment):
    await kubectl("apply", "-f", "-", body=deployment())
    stale = await cluster.get(ref(), as_user=None)
    await kubectl("annotate", "deploy/docs", "note=moved")
    proposal = await ssa.propose(cluster, ref(), stale, to("docs:2"), as_user=None, adopt=ADOPT)

    assert proposal.live["metadata"]["annotations"]["note"] == "moved"
    assert [show_path(c.path) for c in changes(proposal.live, proposal.dry)] == [proposal.takes[0].field]
    await kubectl("set", "image", "deploy/docs", "web=docs:9")
    with pytest.raises(Moved):
        await ssa.propose(cluster, ref(), stale, to("docs:2"), as_user=None, adopt=ADOPT)


@pytest.mark.promise("apply.cas")
@pytest.mark.parametrize("then", ["gone", "another"])
async def test_an_object_deleted_after_the_plan_stays_deleted(cluster, kubectl, ref, deployment, then):
    await kubectl("apply", "-f", "-", body=deployment())
    live = await cluster.get(ref(), as_user=None)
    proposal = await ssa.propose(cluster, ref(), live, to("docs:2"), as_user=None, adopt=ADOPT)
    await kubectl("delete", "deploy/docs", "--cascade=orphan")
    if then == "another":
        await kubectl("apply", "-f", "-", body=deployment())
    with pytest.raises(Moved):
        await ssa.write(cluster, proposal, as_user=None, request="req-1")
    with pytest.raises(Moved):
        await ssa.propose(cluster, ref(), live, to("docs:2"), as_user=None, adopt=ADOPT)
    now = await cluster.get(ref(), as_user=None)

    assert now is None if then == "gone" else get_path(now, IMAGE) == (True, "docs:1")


@pytest.mark.promise("apply.cas")
async def test_a_create_that_meets_an_object_changes_nothing(cluster, kubectl, ref, deployment):
    proposal = await ssa.propose(cluster, ref(), None, deployment("docs:2"), as_user=None, adopt=ADOPT)
    await kubectl("apply", "-f", "-", body=deployment())
    live = await cluster.get(ref(), as_user=None)
    with pytest.raises(InfraError, match="created by someone else") as refused:
        await ssa.write(cluster, proposal, as_user=None, request="req-1")
    with pytest.raises(Moved):
        await ssa.propose(cluster, ref(), None, deployment("docs:2"), as_user=None, adopt=ADOPT)

    assert refused.value.code == "exists"
    assert asked(await cluster.get(ref(), as_user=None)) == asked(live)


@pytest.mark.promise("apply.cas")
async def test_a_create_leaves_an_object_alone_that_shares_no_field_with_it(cluster, kubectl, ref, space):
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "docs", "namespace": space},
        "data": {"a": "1"},
    }
    at = ref("ConfigMap", api_version="v1")
    proposal = await ssa.propose(cluster, at, None, body, as_user=None, adopt=ADOPT)
    await kubectl("create", "configmap", "docs", "--from-literal=b=2")
    live = await cluster.get(at, as_user=None)
    with pytest.raises(InfraError, match="created by someone else"):
        await ssa.write(cluster, proposal, as_user=None, request="req-1")
    with pytest.raises(Moved):
        await ssa.propose(cluster, at, None, body, as_user=None, adopt=ADOPT)

    assert await cluster.get(at, as_user=None) == live
