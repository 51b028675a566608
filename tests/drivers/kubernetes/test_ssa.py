"""What server-side apply writes, removes and refuses, on the real API server with its controllers."""

import pytest
from drivers.kubernetes.deploys import ADOPT, MARK, asked, deploy, to

from infra_mcp.clients.kube import Cluster
from infra_mcp.drivers.kubernetes import ssa
from infra_mcp.drivers.kubernetes.adopt import extract
from infra_mcp.errors import InfraError
from infra_mcp.repository.partial import get_path

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]


async def test_a_create_is_ours_from_the_start_and_marked(cluster, ref, deployment):
    proposal = await ssa.propose(cluster, ref(), None, deployment(), as_user=None, adopt=ADOPT)
    made = await ssa.write(cluster, proposal, as_user=None, request="req-1")
    again, later = await deploy(cluster, ref(), "docs:2", adopt=())

    assert get_path(made, MARK) == (True, "req-1")
    assert get_path(proposal.dry, MARK) == (False, None)
    assert (again.force, get_path(later, MARK)) == (False, (True, "req-docs:2"))


@pytest.mark.promise("apply.write-on-drift")
async def test_an_object_that_is_so_already_is_neither_written_nor_asked_about(
    cluster, kubectl, ref, deployment, monkeypatch
):
    await kubectl("apply", "-f", "-", body=deployment("docs:2"))
    live = await cluster.get(ref(), as_user=None)

    async def never(*_args, **_kwargs):
        raise AssertionError

    monkeypatch.setattr(Cluster, "_apply", never)
    proposal = await ssa.propose(cluster, ref(), live, to("docs:2"), as_user=None, adopt=())

    assert proposal.unchanged
    assert await ssa.write(cluster, proposal, as_user=None, request="req-1") == live
    assert asked(await cluster.get(ref(), as_user=None)) == asked(live)


@pytest.mark.promise("apply.write-on-drift")
async def test_a_value_written_another_way_is_no_difference(cluster, ref, space):
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "docs", "namespace": space},
        "spec": {"hard": {"requests.cpu": "1500m"}},
    }
    at = ref("ResourceQuota", api_version="v1")
    proposal = await ssa.propose(cluster, at, None, quota, as_user=None, adopt=())
    await ssa.write(cluster, proposal, as_user=None, request="req-1")
    live = await cluster.get(at, as_user=None)
    same = await ssa.propose(cluster, at, live, {"spec": {"hard": {"requests.cpu": "1.5"}}}, as_user=None, adopt=())

    assert same.unchanged
    assert asked(await ssa.write(cluster, same, as_user=None, request="req-2")) == asked(live)
    assert asked(await cluster.get(at, as_user=None)) == asked(live)


async def test_saying_again_what_we_own_moves_nothing(cluster, ref, deployment):
    body = deployment()
    body["metadata"]["finalizers"] = ["infra-mcp.dev/test"]
    body["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "1", "memory": "1Gi"}}
    body["spec"]["template"]["spec"]["volumes"] = [{"name": "tmp", "emptyDir": {}}]
    proposal = await ssa.propose(cluster, ref(), None, body, as_user=None, adopt=())
    made = await ssa.write(cluster, proposal, as_user=None, request="req-1")
    live = await cluster.get(ref(), as_user=None)
    again, status = await cluster.write(extract(live), as_user=None)
    await cluster.write(extract(live) | {"metadata": extract(live)["metadata"] | {"finalizers": []}}, as_user=None)

    assert status == 200
    assert asked(again) == asked(made)


@pytest.mark.fault("l08")
async def test_what_we_own_is_removed_when_it_is_to_go_and_what_others_own_too_is_not(
    cluster, kubectl, ref, deployment
):
    await kubectl("apply", "-f", "-", body=deployment())
    ours = ("metadata", "labels", "ours")
    shared = ("metadata", "labels", "shared")
    live = await cluster.get(ref(), as_user=None)
    sets = {"metadata": {"labels": {"ours": "1", "shared": "1"}}}
    first = await ssa.propose(cluster, ref(), live, sets, as_user=None, adopt=())
    live = await ssa.write(cluster, first, as_user=None, request="req-1")
    await kubectl("label", "deploy/docs", "shared=1", "--overwrite", "--field-manager=other")
    await kubectl("label", "deploy/docs", "shared=2", "--overwrite", "--field-manager=other")
    live = await cluster.get(ref(), as_user=None)
    gone = await ssa.propose(cluster, ref(), live, {}, as_user=None, adopt=(), removes=[ours])
    written = await ssa.write(cluster, gone, as_user=None, request="req-2")

    assert written["metadata"]["labels"] == {"app": "docs", "shared": "2"}
    with pytest.raises(InfraError, match="other owns it too"):
        await ssa.propose(cluster, ref(), written, {}, as_user=None, adopt=(), removes=[shared])


async def test_an_atomic_list_is_not_replaced_by_parts_of_its_items(cluster, kubectl, ref, space):
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "docs", "namespace": space},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "a", "namespace": space}],
    }
    await kubectl("apply", "-f", "-", body=role)
    at = ref("RoleBinding", "docs", "rbac.authorization.k8s.io/v1")
    live = await cluster.get(at, as_user=None)
    with pytest.raises(InfraError, match=r"\.subjects is one value there"):
        await ssa.propose(cluster, at, live, {"subjects": [{"name": "a", "kind": "User"}]}, as_user=None, adopt=ADOPT)


async def test_the_servers_own_no_is_told_in_our_words(cluster, kubectl, ref, deployment):
    await kubectl("apply", "-f", "-", body=deployment())
    live = await cluster.get(ref(), as_user=None)
    nobody = f"system:serviceaccount:{ref().namespace}:nobody"
    cases = [
        ({"spec": {"replica": 1}}, None, "object-invalid", r"\.spec\.replica: field not declared"),
        ({"spec": {"selector": {"matchLabels": {"app": "x"}}}}, None, "object-invalid", "field is immutable"),
        (to("docs:2"), nobody, "cluster-denied", "cannot patch"),
    ]
    for sets, as_user, code, says in cases:
        with pytest.raises(InfraError, match=says) as refused:
            await ssa.propose(cluster, ref(), live, sets, as_user=as_user, adopt=ADOPT)

        assert refused.value.code == code
