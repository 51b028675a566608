"""What the API server was measured to do, so that a version that does otherwise is noticed here first."""

import subprocess
import sys

import anyio
import pytest

from infra_mcp.clients.kube import Cluster, KubeError
from infra_mcp.clients.kube.credentials import load

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]


def test_nothing_heavy_is_imported_before_a_cluster_is_connected_to():
    code = (
        "import sys, infra_mcp.clients.kube, infra_mcp.drivers.kubernetes.ssa;"
        "print([m for m in ('kubernetes', 'aiohttp') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def versioned(body: dict, **metadata: str) -> dict:
    return body | {"metadata": body["metadata"] | metadata}


async def refused(call) -> KubeError:
    with pytest.raises(KubeError) as caught:
        await call
    return caught.value


@pytest.mark.promise("apply.cas")
async def test_a_create_never_changes_an_existing_object(cluster, space, ref, config_map):
    body = versioned(config_map(space, a="1"), resourceVersion="1")
    _, status = await cluster.write(body, as_user=None)
    before = await cluster.get(ref("ConfigMap", "it", space), as_user=None)
    error = await refused(cluster.write(versioned(config_map(space, a="2"), resourceVersion="1"), as_user=None))
    dry = await refused(cluster.dry_run(versioned(config_map(space, a="2"), resourceVersion="1"), as_user=None))

    assert status == 201
    assert error.is_version_conflict
    assert dry.is_version_conflict
    assert await cluster.get(ref("ConfigMap", "it", space), as_user=None) == before
    assert [e["operation"] for e in before["metadata"]["managedFields"]] == ["Apply"]


@pytest.mark.promise("apply.cas")
async def test_an_update_never_brings_a_deleted_object_back(cluster, space, ref, config_map):
    made, _ = await cluster.write(config_map(space), as_user=None)
    await cluster._transport.request("DELETE", f"/api/v1/namespaces/{space}/configmaps/it")
    version, uid = made["metadata"]["resourceVersion"], made["metadata"]["uid"]
    error = await refused(cluster.write(versioned(config_map(space), resourceVersion=version, uid=uid), as_user=None))

    assert error.is_version_conflict
    assert "uid mismatch" in error.message
    assert await cluster.get(ref("ConfigMap", "it", space), as_user=None) is None
    # Why the uid is sent: without it the same write creates the object again.
    _, status = await cluster.write(versioned(config_map(space), resourceVersion=version), as_user=None)
    assert status == 201


@pytest.mark.promise("apply.cas")
async def test_an_update_of_an_object_that_has_changed_does_nothing(cluster, space, ref, config_map):
    made, _ = await cluster.write(config_map(space, a="1"), as_user=None)
    moved, _ = await cluster.write(config_map(space, a="2"), as_user=None)
    about = made["metadata"]
    body = versioned(config_map(space, a="3"), resourceVersion=about["resourceVersion"], uid=about["uid"])
    error = await refused(cluster.write(body, as_user=None))

    assert error.is_version_conflict
    assert await cluster.get(ref("ConfigMap", "it", space), as_user=None) == moved


@pytest.mark.promise("apply.cas")
async def test_an_update_of_another_object_of_the_same_name_changes_nothing(cluster, space, ref, config_map):
    made, _ = await cluster.write(config_map(space), as_user=None)
    await cluster._transport.request("DELETE", f"/api/v1/namespaces/{space}/configmaps/it")
    other, _ = await cluster.write(config_map(space), as_user=None)
    body = versioned(
        config_map(space, a="2"), resourceVersion=other["metadata"]["resourceVersion"], uid=made["metadata"]["uid"]
    )
    error = await refused(cluster.write(body, as_user=None))

    assert error.status == 422
    assert error.is_version_conflict
    assert await cluster.get(ref("ConfigMap", "it", space), as_user=None) == other


async def test_a_post_refuses_an_existing_object(cluster, space):
    error = await refused(
        cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}}, as_user=None)
    )

    assert (error.status, error.reason) == (409, "AlreadyExists")
    assert error.translate(space).code == "exists"


async def test_a_dry_run_writes_nothing(cluster, space, ref, config_map):
    assert (await cluster.dry_run(config_map(space), as_user=None))["data"] == {"a": "1"}
    assert await cluster.get(ref("ConfigMap", "it", space), as_user=None) is None


async def test_a_missing_namespace_is_not_found_in_a_dry_run_too(cluster, config_map):
    error = await refused(cluster.dry_run(config_map("no-such-namespace"), as_user=None))

    assert (error.status, error.translate(None).code) == (404, "not-found")


async def test_unknown_fields_and_wrong_types_are_the_callers_error_although_the_server_answers_500(
    cluster, space, config_map
):
    for body in (config_map(space) | {"dta": {}}, config_map(space) | {"data": ["a"]}):
        error = await refused(cluster.dry_run(body, as_user=None))

        assert error.status == 500
        assert error.translate(None).code == "object-invalid"


@pytest.mark.promise("secrets.nowhere")
async def test_a_secrets_value_is_in_no_error_about_it(cluster, space):
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "it", "namespace": space}}
    for data in ({"data": {"a": 31415926}}, {"data": {"a": "not base64 hunter2!"}}, {"stringData": {"a": ["hunter2"]}}):
        error = await refused(cluster.dry_run(body | data, as_user=None))

        texts = f"{error!r} {error.causes} {error.translate(None)}"
        assert not any(value in texts for value in ("hunter2", "31415926"))
        assert error.translate(None).code == "object-invalid"


async def test_a_list_is_complete_over_pages_and_its_items_have_their_kind(cluster, space, config_map, monkeypatch):
    monkeypatch.setattr("infra_mcp.clients.kube.cluster.PAGE", 3)
    async with anyio.create_task_group() as group:
        for n in range(7):
            group.start_soon(lambda n=n: cluster.write(config_map(space, f"n{n}"), as_user=None))
    listed = await cluster.list("v1", "ConfigMap", space, as_user=None)
    names = [item["metadata"]["name"] for item in listed["items"] if item["metadata"]["name"].startswith("n")]
    one = await cluster.list("v1", "ConfigMap", space, as_user=None, field_selector="metadata.name=n3")

    assert names == [f"n{n}" for n in range(7)]
    assert {(item["apiVersion"], item["kind"]) for item in listed["items"]} == {("v1", "ConfigMap")}
    assert int(listed["metadata"]["resourceVersion"]) > 0
    assert [item["metadata"]["name"] for item in one["items"]] == ["n3"]


async def test_an_expired_page_lists_everything_again(broken, proxy, fault, space, config_map, monkeypatch):
    monkeypatch.setattr("infra_mcp.clients.kube.cluster.PAGE", 1)
    for n in range(3):
        await broken.write(config_map(space, f"n{n}"), as_user=None)
    proxy.faults = [fault("continue=", status=410, body={"reason": "Expired"})]
    listed = await broken.list("v1", "ConfigMap", space, as_user=None)
    names = [item["metadata"]["name"] for item in listed["items"]]

    assert [name for name in names if name.startswith("n")] == ["n0", "n1", "n2"]
    assert len(names) == len(set(names))


async def test_an_action_denied_to_a_service_account_is_not_done_as_the_server(cluster, space, ref, config_map):
    nobody = f"system:serviceaccount:{space}:nobody"
    for call in (
        cluster.get(ref("ConfigMap", "it", space), as_user=nobody),
        cluster.list("v1", "ConfigMap", space, as_user=nobody),
        cluster.dry_run(config_map(space), as_user=nobody),
        cluster.write(config_map(space), as_user=nobody),
        cluster.create(config_map(space), as_user=nobody),
    ):
        error = await refused(call)

        assert error.translate("x").code == "cluster-denied"
    assert await cluster.get(ref("ConfigMap", "it", space), as_user=None) is None


async def test_an_object_of_another_cluster_is_refused(cluster, ref):
    elsewhere = ref("Namespace", "default").model_copy(update={"cluster": "other"})
    with pytest.raises(ValueError, match="cluster other"):
        await cluster.get(elsewhere, as_user=None)


async def test_a_cancelled_caller_closes_the_connections_of_every_login(control_plane):
    with anyio.CancelScope() as scope:
        async with Cluster.connect("test", control_plane.kubeconfig, control_plane.context) as cluster:
            await cluster.check()
            former = await load(control_plane.kubeconfig, control_plane.context)
            await former.rest.request("GET", f"{former.host}/readyz")
            cluster._transport._retired.append(former.rest)
            scope.cancel()
            await anyio.lowlevel.checkpoint()

    assert [rest.pool_manager.closed for rest in (former.rest, cluster._transport._login.rest)] == [True, True]
