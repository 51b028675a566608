"""What others do to an object while its rollout is waited for, and what may not or cannot be seen of it."""

from contextlib import asynccontextmanager

import anyio
import pytest
from drivers.kubernetes.workload import LONG, kubectl

from infra_mcp.clients.kube import Cluster, KubeError
from infra_mcp.drivers.kubernetes import verify
from infra_mcp.drivers.kubernetes.verify import rollout
from infra_mcp.errors import InfraError

pytestmark = [pytest.mark.anyio, pytest.mark.cluster, pytest.mark.timeout(120)]


@asynccontextmanager
async def waiting(wait):
    """A wait that goes on beside what the test does; its error is told at the end."""
    ended = anyio.Event()
    found = []

    async def run():
        try:
            found.append(await wait)
        except InfraError as error:
            found.append(error)
        ended.set()

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        yield found
        with anyio.fail_after(LONG):
            await ended.wait()


@pytest.mark.promise("verify.replaced")
async def test_an_object_deleted_and_created_again_is_noticed(web, control_plane):
    uid = await web.apply("1-notready")
    async with waiting(web.wait(uid, "1-notready")) as found:
        await kubectl(control_plane, "delete", "deployment", "web", "-n", web.ref.namespace)
        other = await web.apply("1")

    assert other != uid
    assert found[0].code == "object-moved"


@pytest.mark.promise("verify.replaced")
async def test_an_object_replaced_before_the_watch_began_is_noticed_though_it_is_healthy(web):
    await web.wait(await web.apply("1"))
    error = await web.fails("00000000-0000-0000-0000-000000000000", "1")

    assert error.code == "object-moved"
    assert "created again" in error.what


@pytest.mark.promise("verify.replaced")
async def test_an_object_that_is_gone_is_noticed(web):
    error = await web.fails("00000000-0000-0000-0000-000000000000", "1")

    assert (error.code, error.what) == ("object-moved", f"{web.ref} was deleted by someone else meanwhile.")


@pytest.mark.promise("verify.landed")
async def test_another_image_set_meanwhile_is_not_taken_for_ours(web, control_plane):
    uid = await web.apply("1-notready")
    async with waiting(web.wait(uid, "1-notready")) as found:
        await kubectl(control_plane, "set", "image", "deployment/web", f"web={web.image('9')}", "-n", web.ref.namespace)

    assert found[0].code == "object-moved"


async def test_without_the_right_to_see_pods_the_workload_itself_decides(web, control_plane):
    place = ["-n", web.ref.namespace]
    await kubectl(control_plane, "create", "serviceaccount", "narrow", *place)
    reads = ["--verb=get,list,watch", "--resource=deployments.apps"]
    await kubectl(control_plane, "create", "role", "narrow", *reads, *place)
    who = f"--serviceaccount={web.ref.namespace}:narrow"
    await kubectl(control_plane, "create", "rolebinding", "narrow", "--role=narrow", who, *place)
    uid = await web.apply("1")
    found = await rollout(
        web.cluster,
        web.ref,
        uid,
        as_user=f"system:serviceaccount:{web.ref.namespace}:narrow",
        expect=lambda _: True,
        grace=0.0,
        deadline=LONG,
    )

    assert found.live["status"]["readyReplicas"] == found.ready == 2


@pytest.mark.fault("w14")
async def test_without_the_right_to_see_the_workload_it_is_denied(web, monkeypatch):
    monkeypatch.setattr(verify, "DENIED_FOR", 1.0)
    uid = await web.apply("1")
    as_user = f"system:serviceaccount:{web.ref.namespace}:default"
    with pytest.raises(InfraError) as caught:
        await rollout(web.cluster, web.ref, uid, as_user=as_user, expect=lambda _: True, grace=0.0, deadline=LONG)

    assert caught.value.code == "cluster-denied"


async def test_a_cluster_that_stops_answering_is_told_as_such_at_the_deadline(web, monkeypatch):
    async def silent(*_, **__):
        raise KubeError(0, "Unreachable", "no answer")

    uid = await web.apply("1")
    monkeypatch.setattr(Cluster, "get", silent)

    assert (await web.fails(uid, "1", deadline=1.0)).code == "cluster-unreachable"


async def test_an_answer_missed_while_looking_at_pods_is_asked_for_again(web, monkeypatch):
    uid = await web.apply("1")
    asked = []
    real = verify.look

    async def once(*args, **keywords):
        asked.append(args)
        if len(asked) == 1:
            raise KubeError(503, "ServiceUnavailable", "try again")
        return await real(*args, **keywords)

    monkeypatch.setattr(verify, "look", once)

    assert (await web.wait(uid))["metadata"]["uid"] == uid
    assert len(asked) > 1
