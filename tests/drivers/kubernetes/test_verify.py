"""Rollouts on a real API server with real controllers; how pods fare is said by the tag of their image."""

from dataclasses import replace

import anyio
import pytest
from drivers.kubernetes.workload import LONG, kubectl

from infra_mcp.drivers.kubernetes import verify
from infra_mcp.drivers.kubernetes.health import condition

pytestmark = [pytest.mark.anyio, pytest.mark.cluster, pytest.mark.timeout(120)]


@pytest.mark.promise("verify.landed")
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
async def test_it_is_out_when_every_pod_of_the_new_version_is_ready(web, kind):
    web = replace(web, ref=web.ref.model_copy(update={"kind": kind}))
    await web.wait(await web.apply("1"), "1")
    live = await web.wait(await web.apply("2"), "2")

    pods = await web.cluster.list("v1", "Pod", web.ref.namespace, as_user=None)
    images = {
        pod["spec"]["containers"][0]["image"] for pod in pods["items"] if "deletionTimestamp" not in pod["metadata"]
    }
    assert live["status"]["observedGeneration"] == live["metadata"]["generation"]
    assert images == {web.image("2")}


@pytest.mark.promise("verify.landed")
async def test_pods_that_take_a_while_are_waited_for(web):
    live = await web.wait(await web.apply("1-slow"), "1-slow", grace=0.0)

    assert live["status"]["readyReplicas"] == 2


@pytest.mark.promise("verify.landed")
async def test_what_is_out_already_is_out_at_once(web):
    uid = await web.apply("1")
    await web.wait(uid)

    assert (await web.wait(uid, deadline=5.0))["metadata"]["uid"] == uid


@pytest.mark.promise("verify.fail-fast")
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
@pytest.mark.parametrize("tag", ["2-unpullable", "2-invalid"])
async def test_what_cannot_succeed_fails_at_once_with_its_cause(web, kind, tag):
    web = replace(web, ref=web.ref.model_copy(update={"kind": kind}))
    await web.wait(await web.apply("1"), "1")
    with anyio.fail_after(LONG / 2):
        error = await web.fails(await web.apply(tag), tag)

    assert error.code == "not-landed"
    assert web.image(tag) in error.what


@pytest.mark.promise("verify.fail-fast")
async def test_what_may_pass_gets_its_grace_and_then_lands(web):
    live = await web.wait(await web.apply("1-latepull"), "1-latepull")

    assert live["status"]["readyReplicas"] == 2


@pytest.mark.promise("verify.fail-fast")
@pytest.mark.parametrize("tag", ["1-latepull", "1-slow"])
async def test_only_a_cause_uses_up_the_grace_and_mere_waiting_does_not(web, tag):
    uid = await web.apply(tag)
    if tag == "1-slow":
        assert await web.wait(uid, tag, grace=0.0)
    else:
        assert "cannot be pulled" in (await web.fails(uid, tag, grace=0.0)).what


@pytest.mark.promise("verify.fail-fast")
@pytest.mark.parametrize("tag", ["1-crash", "1-exits"])
async def test_a_crash_loop_fails_after_the_grace_and_long_before_the_deadline(web, tag):
    with anyio.fail_after(LONG / 2):
        error = await web.fails(await web.apply(tag), tag, grace=1.0)

    assert error.code == "not-landed"
    assert "crashes again and again: exit code 1" in error.what


@pytest.mark.promise("verify.fail-fast")
async def test_pods_that_never_get_ready_fail_at_the_deadline_and_are_named(web):
    error = await web.fails(await web.apply("1-notready"), "1-notready", grace=0.0, deadline=4.0)

    assert error.code == "not-landed"
    assert "not within 4 s" in error.what
    assert "of its pods are not ready" in error.what
    assert "statuscode: 503" in error.what


@pytest.mark.promise("verify.fail-fast")
async def test_pods_that_admission_refuses_fail_at_once(web, control_plane):
    await kubectl(
        control_plane, "label", "namespace", web.ref.namespace, "pod-security.kubernetes.io/enforce=restricted"
    )
    error = await web.fails(await web.apply("1"), "1")

    assert "violates PodSecurity" in error.what


async def test_pods_over_a_quota_are_a_cause_that_may_pass(web, control_plane):
    await kubectl(control_plane, "create", "quota", "q", "--hard=pods=1", "-n", web.ref.namespace)
    error = await web.fails(await web.apply("1"), "1", grace=2.0)

    assert "exceeded quota" in error.what


async def test_a_pod_that_no_node_takes_is_told(web):
    body = web.body("1")
    template = body["spec"]["template"]
    template["spec"]["nodeSelector"] = {"no": "node"}
    error = await web.fails(await web.apply("1", template=template), "1", grace=0.0)

    assert "no node takes pod" in error.what


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
async def test_pods_of_the_version_before_are_no_cause(web, kind):
    web = replace(web, ref=web.ref.model_copy(update={"kind": kind}))
    together = {"podManagementPolicy": "Parallel"} if kind == "StatefulSet" else {}
    await web.fails(await web.apply("1-unpullable", **together), "1-unpullable")
    live = await web.wait(await web.apply("2-slow", **together), "2-slow", grace=0.0)

    assert live["status"]["updatedReplicas"] == 2


async def test_a_paused_deployment_fails_at_once(web):
    await web.wait(await web.apply("1"))

    assert "paused" in (await web.fails(await web.apply("2", paused=True), "2")).what


async def test_pods_that_nobody_replaces_are_not_out(web):
    web = replace(web, ref=web.ref.model_copy(update={"kind": "StatefulSet"}))
    by_hand = {"updateStrategy": {"type": "OnDelete"}}
    await web.wait(await web.apply("1", **by_hand))

    assert "OnDelete" in (await web.fails(await web.apply("2", **by_hand), "2")).what


@pytest.mark.promise("verify.fail-fast")
async def test_a_container_that_crashes_before_it_counts_as_available_is_noticed(web):
    error = await web.fails(await web.apply("1-latecrash", minReadySeconds=30), "1-latecrash", grace=1.0)

    assert "crashes again and again" in error.what


@pytest.mark.promise("verify.landed")
@pytest.mark.parametrize("restarted", [False, True])
async def test_pods_that_were_started_again_have_to_stay_up_before_it_is_out(
    web, control_plane, monkeypatch, restarted
):
    uid = await web.apply("1")
    await web.wait(uid)
    if restarted:
        status = (
            '{"status":{"containerStatuses":[{"name":"web","image":"i","imageID":"i","ready":true,"restartCount":1,'
        )
        status += '"state":{"running":{}},"lastState":{"terminated":{"exitCode":1}}}]}}'
        place = ["-n", web.ref.namespace]
        names = await kubectl(control_plane, "get", "pods", "-o", "name", *place)
        for name in names.split():
            await kubectl(control_plane, "patch", name, "--subresource=status", "-p", status, *place)
    looked = []
    real = verify.look

    async def counted(*args, **keywords):
        looked.append(args)
        return await real(*args, **keywords)

    monkeypatch.setattr(verify, "look", counted)

    assert (await web.wait(uid, grace=1.5))["metadata"]["uid"] == uid
    assert (len(looked) > 1) is restarted


async def test_cancelling_the_wait_ends_it(web):
    uid = await web.apply("1-notready")
    with anyio.move_on_after(0.5) as scope:
        await web.wait(uid, "1-notready")

    assert scope.cancelled_caught


async def progress(web):
    live = await web.cluster.get(web.ref, as_user=None)
    return condition(live, "Progressing").get("reason")


@pytest.mark.fault("f01")
async def test_a_progress_deadline_that_passed_before_the_write_is_no_verdict_about_it(web):
    spec = {"replicas": 1, "progressDeadlineSeconds": 1}
    await web.wait(await web.apply("1", **spec))
    await web.apply("1-notready", **spec)
    with anyio.fail_after(LONG):
        while await progress(web) != "ProgressDeadlineExceeded":
            await anyio.lowlevel.checkpoint()
    live = await web.wait(await web.apply("1", **spec))

    assert live["status"]["readyReplicas"] == 1


@pytest.mark.fault("f01")
async def test_a_progress_deadline_that_passes_after_the_write_ends_the_wait(web):
    error = await web.fails(await web.apply("1-notready", progressDeadlineSeconds=1), "1-notready")

    assert "progress deadline" in error.what


@pytest.mark.fault("f01")
async def test_a_version_that_admission_refused_before_is_not_judged_by_that_refusal(web, control_plane):
    await web.wait(await web.apply("1"))
    level = f"namespace {web.ref.namespace} pod-security.kubernetes.io/enforce"
    await kubectl(control_plane, "label", *f"{level}=restricted".split())
    await web.fails(await web.apply("2-slow"), "2-slow")
    await web.apply("1")
    await kubectl(control_plane, "label", *f"{level}-".split())
    live = await web.wait(await web.apply("2-slow"), "2-slow")

    assert live["status"]["updatedReplicas"] == 2
