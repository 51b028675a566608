"""Rollouts on a real API server with real controllers; how pods fare is said by the tag of their image."""

import subprocess
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import anyio
import pytest

from infra_mcp.clients.kube import Cluster, KubeError
from infra_mcp.drivers.manifests import verify
from infra_mcp.drivers.manifests.verify import rollout
from infra_mcp.errors import InfraError
from infra_mcp.model.plan import ObjectRef

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]
on_cluster = pytest.mark.cluster

REPOSITORY = "registry.example/docs/site"
LONG = 60.0  # seconds, for waits that are expected to end long before


@dataclass(frozen=True)
class Workload:
    """A workload in a namespace of its own, and how to change it as an admin."""

    cluster: Cluster
    ref: ObjectRef

    def image(self, tag):
        return f"{REPOSITORY}:{tag}"

    def body(self, tag, **spec):
        name = self.ref.name
        labels = {"app": name}
        pod = {"terminationGracePeriodSeconds": 0, "containers": [{"name": "web", "image": self.image(tag)}]}
        kind = {"StatefulSet": {"serviceName": name}, "Deployment": {}, "DaemonSet": {}}[self.ref.kind]
        count = {} if self.ref.kind == "DaemonSet" else {"replicas": 2}
        return {
            "apiVersion": "apps/v1",
            "kind": self.ref.kind,
            "metadata": {"name": name, "namespace": self.ref.namespace},
            "spec": {"selector": {"matchLabels": labels}, **count, **kind}
            | {"template": {"metadata": {"labels": labels}, "spec": pod}}
            | spec,
        }

    async def apply(self, tag, **spec):
        live, _ = await self.cluster.write(self.body(tag, **spec), as_=None)
        return live["metadata"]["uid"]

    def wait(self, uid, tag="1", grace=LONG, deadline=LONG):
        def expect(live):
            return live["spec"]["template"]["spec"]["containers"][0]["image"] == self.image(tag)

        return rollout(self.cluster, self.ref, uid, as_=None, expect=expect, grace=grace, deadline=deadline)

    async def fails(self, uid, tag, **times):
        with pytest.raises(InfraError) as caught:
            await self.wait(uid, tag, **times)
        return caught.value


@pytest.fixture
async def cluster(control_plane):
    async with Cluster.connect("test", control_plane.kubeconfig, control_plane.context) as connected:
        yield connected


@pytest.fixture
async def namespace(control_plane, cluster):
    name = f"verify-{uuid.uuid4().hex[:8]}"
    await cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, as_=None)
    account = ObjectRef(cluster="test", api_version="v1", kind="ServiceAccount", namespace=name, name="default")
    with anyio.fail_after(20):
        while await cluster.get(account, as_=None) is None:
            await anyio.lowlevel.checkpoint()
    yield name
    await kubectl(control_plane, "delete", "namespace", name, "--wait=false")


@pytest.fixture
def web(cluster, namespace):
    return Workload(
        cluster,
        ObjectRef(cluster="test", api_version="apps/v1", kind="Deployment", namespace=namespace, name="web"),
    )


async def kubectl(control_plane, *words):
    whom = ["--kubeconfig", str(control_plane.kubeconfig), "--context", control_plane.context]
    done = await anyio.run_process([str(control_plane.kubectl), *whom, *words], stdin=subprocess.DEVNULL)
    return done.stdout.decode()


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


@on_cluster
@pytest.mark.promise("verify.landed")
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
async def test_it_is_out_when_every_pod_of_the_new_version_is_ready(web, kind):
    web = replace(web, ref=web.ref.model_copy(update={"kind": kind}))
    await web.wait(await web.apply("1"), "1")
    live = await web.wait(await web.apply("2"), "2")

    pods = await web.cluster.list("v1", "Pod", web.ref.namespace, as_=None)
    images = {
        pod["spec"]["containers"][0]["image"] for pod in pods["items"] if "deletionTimestamp" not in pod["metadata"]
    }
    assert live["status"]["observedGeneration"] == live["metadata"]["generation"]
    assert images == {web.image("2")}


@on_cluster
@pytest.mark.promise("verify.landed")
async def test_pods_that_take_a_while_are_waited_for(web):
    live = await web.wait(await web.apply("1-slow"), "1-slow", grace=0.0)

    assert live["status"]["readyReplicas"] == 2


@on_cluster
@pytest.mark.promise("verify.landed")
async def test_what_is_out_already_is_out_at_once(web):
    uid = await web.apply("1")
    await web.wait(uid)

    assert (await web.wait(uid, deadline=5.0))["metadata"]["uid"] == uid


@on_cluster
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


@on_cluster
@pytest.mark.promise("verify.fail-fast")
async def test_what_may_pass_gets_its_grace_and_then_lands(web):
    live = await web.wait(await web.apply("1-latepull"), "1-latepull")

    assert live["status"]["readyReplicas"] == 2


@on_cluster
@pytest.mark.promise("verify.fail-fast")
@pytest.mark.parametrize("tag", ["1-latepull", "1-slow"])
async def test_only_a_cause_uses_up_the_grace_and_mere_waiting_does_not(web, tag):
    uid = await web.apply(tag)
    if tag == "1-slow":
        assert await web.wait(uid, tag, grace=0.0)
    else:
        assert "cannot be pulled" in (await web.fails(uid, tag, grace=0.0)).what


@on_cluster
@pytest.mark.promise("verify.fail-fast")
@pytest.mark.parametrize("tag", ["1-crash", "1-exits"])
async def test_a_crash_loop_fails_after_the_grace_and_long_before_the_deadline(web, tag):
    with anyio.fail_after(LONG / 2):
        error = await web.fails(await web.apply(tag), tag, grace=1.0)

    assert error.code == "not-landed"
    assert "crashes again and again: exit code 1" in error.what


@on_cluster
@pytest.mark.promise("verify.fail-fast")
async def test_pods_that_never_get_ready_fail_at_the_deadline_and_are_named(web):
    error = await web.fails(await web.apply("1-notready"), "1-notready", grace=0.0, deadline=4.0)

    assert error.code == "not-landed"
    assert "not within 4 s" in error.what
    assert "of its pods are not ready" in error.what
    assert "statuscode: 503" in error.what


@on_cluster
@pytest.mark.promise("verify.fail-fast")
async def test_pods_that_admission_refuses_fail_at_once(web, control_plane):
    await kubectl(
        control_plane, "label", "namespace", web.ref.namespace, "pod-security.kubernetes.io/enforce=restricted"
    )
    error = await web.fails(await web.apply("1"), "1")

    assert "violates PodSecurity" in error.what


@on_cluster
async def test_pods_over_a_quota_are_a_cause_that_may_pass(web, control_plane):
    await kubectl(control_plane, "create", "quota", "q", "--hard=pods=1", "-n", web.ref.namespace)
    error = await web.fails(await web.apply("1"), "1", grace=2.0)

    assert "exceeded quota" in error.what


@on_cluster
async def test_a_pod_that_no_node_takes_is_told(web):
    body = web.body("1")
    template = body["spec"]["template"]
    template["spec"]["nodeSelector"] = {"no": "node"}
    error = await web.fails(await web.apply("1", template=template), "1", grace=0.0)

    assert "no node takes pod" in error.what


@on_cluster
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
async def test_pods_of_the_version_before_are_no_cause(web, kind):
    web = replace(web, ref=web.ref.model_copy(update={"kind": kind}))
    together = {"podManagementPolicy": "Parallel"} if kind == "StatefulSet" else {}
    await web.fails(await web.apply("1-unpullable", **together), "1-unpullable")
    live = await web.wait(await web.apply("2-slow", **together), "2-slow", grace=0.0)

    assert live["status"]["updatedReplicas"] == 2


@on_cluster
async def test_a_paused_deployment_fails_at_once(web):
    await web.wait(await web.apply("1"))

    assert "paused" in (await web.fails(await web.apply("2", paused=True), "2")).what


@on_cluster
async def test_pods_that_nobody_replaces_are_not_out(web):
    web = replace(web, ref=web.ref.model_copy(update={"kind": "StatefulSet"}))
    by_hand = {"updateStrategy": {"type": "OnDelete"}}
    await web.wait(await web.apply("1", **by_hand))

    assert "OnDelete" in (await web.fails(await web.apply("2", **by_hand), "2")).what


@on_cluster
@pytest.mark.promise("verify.replaced")
async def test_an_object_deleted_and_created_again_is_noticed(web, control_plane):
    uid = await web.apply("1-notready")
    async with waiting(web.wait(uid, "1-notready")) as found:
        await kubectl(control_plane, "delete", "deployment", "web", "-n", web.ref.namespace)
        other = await web.apply("1")

    assert other != uid
    assert found[0].code == "object-moved"


@on_cluster
@pytest.mark.promise("verify.replaced")
async def test_an_object_replaced_before_the_watch_began_is_noticed_though_it_is_healthy(web):
    await web.wait(await web.apply("1"))
    error = await web.fails("00000000-0000-0000-0000-000000000000", "1")

    assert error.code == "object-moved"
    assert "created again" in error.what


@on_cluster
@pytest.mark.promise("verify.replaced")
async def test_an_object_that_is_gone_is_noticed(web):
    error = await web.fails("00000000-0000-0000-0000-000000000000", "1")

    assert (error.code, error.what) == ("object-moved", f"{web.ref} was deleted by someone else meanwhile.")


@on_cluster
@pytest.mark.promise("verify.landed")
async def test_another_image_set_meanwhile_is_not_taken_for_ours(web, control_plane):
    uid = await web.apply("1-notready")
    async with waiting(web.wait(uid, "1-notready")) as found:
        await kubectl(control_plane, "set", "image", "deployment/web", f"web={web.image('9')}", "-n", web.ref.namespace)

    assert found[0].code == "object-moved"


@on_cluster
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
        as_=f"system:serviceaccount:{web.ref.namespace}:narrow",
        expect=lambda _: True,
        grace=0.0,
        deadline=LONG,
    )

    assert found["status"]["readyReplicas"] == 2


@on_cluster
async def test_without_the_right_to_see_the_workload_it_is_denied(web):
    uid = await web.apply("1")
    as_ = f"system:serviceaccount:{web.ref.namespace}:default"
    with pytest.raises(InfraError) as caught:
        await rollout(web.cluster, web.ref, uid, as_=as_, expect=lambda _: True, grace=0.0, deadline=LONG)

    assert caught.value.code == "cluster-denied"


@on_cluster
async def test_a_cluster_that_stops_answering_is_told_as_such_at_the_deadline(web, monkeypatch):
    async def silent(*_, **__):
        raise KubeError(0, "Unreachable", "no answer")

    uid = await web.apply("1")
    monkeypatch.setattr(Cluster, "get", silent)

    assert (await web.fails(uid, "1", deadline=1.0)).code == "cluster-unreachable"


@on_cluster
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


@on_cluster
@pytest.mark.promise("verify.fail-fast")
async def test_a_container_that_crashes_before_it_counts_as_available_is_noticed(web):
    error = await web.fails(await web.apply("1-latecrash", minReadySeconds=30), "1-latecrash", grace=1.0)

    assert "crashes again and again" in error.what


@on_cluster
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


@on_cluster
async def test_cancelling_the_wait_ends_it(web):
    uid = await web.apply("1-notready")
    with anyio.move_on_after(0.5) as scope:
        await web.wait(uid, "1-notready")

    assert scope.cancelled_caught


class Pods:
    """Lists what it is given, as a cluster would."""

    def __init__(self):
        self.found = {}

    async def list(self, _api_version, kind, _namespace, **_):
        return {"items": self.found.get(kind, []), "metadata": {"resourceVersion": "1"}}


def seen(kind="Deployment", generation=1, revision="1", spec=None, **status):
    metadata = {"name": "web", "namespace": "a", "uid": "u", "generation": generation}
    metadata["annotations"] = {"deployment.kubernetes.io/revision": revision}
    body = {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": {"replicas": 1} | (spec or {})}
    return body | {"status": {"observedGeneration": 1} | status}


def view_of(live):
    view = verify._View()
    view.live = live
    view.ailing = True
    return view


@pytest.fixture
def pods():
    made = Pods()
    owner = {"name": "web-1", "uid": "s", "ownerReferences": [{"uid": "u"}]}
    made.found["ReplicaSet"] = [{"metadata": owner | {"annotations": {"deployment.kubernetes.io/revision": "1"}}}]
    return made


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
def judge(pods, now):
    ref = ObjectRef(cluster="test", api_version="apps/v1", kind="Deployment", namespace="a", name="web")
    return verify._Judge(pods, ref, "u", None, lambda _: True, 10.0, lambda: now[0])


def container(**state):
    found = {"name": "web", "image": "i", "ready": False, "restartCount": 0} | state
    metadata = {"name": "web-1-a", "uid": "p", "ownerReferences": [{"uid": "s"}]}
    return {"metadata": metadata, "status": {"phase": "Running", "containerStatuses": [found]}}


CRASHED = {"restartCount": 5, "state": {"terminated": {"exitCode": 1}}}
STALLED = {"state": {"waiting": {"reason": "ErrImagePull", "message": "i/o timeout"}}}


@pytest.mark.promise("verify.fail-fast")
async def test_a_crash_loop_goes_on_while_its_container_happens_to_run(pods, judge, now):
    told = []
    for now[0], state in ((0.0, CRASHED), (6.0, {"state": {"running": {}}, "ready": True}), (11.0, CRASHED)):
        pods.found["Pod"] = [container(**state)]
        told.append(await judge.look(view_of(seen())))

    assert told[:2] == [None, None]
    assert told[2].code == "not-landed"


@pytest.mark.promise("verify.fail-fast")
async def test_another_cause_that_passed_gets_its_grace_anew(pods, judge, now):
    for now[0], state in ((0.0, STALLED), (6.0, {"state": {"running": {}}}), (11.0, STALLED)):
        pods.found["Pod"] = [container(**state)]
        assert await judge.look(view_of(seen())) is None
    now[0] = 21.0

    assert (await judge.look(view_of(seen()))).code == "not-landed"


async def test_nothing_is_read_from_pods_until_the_controller_has_seen_the_change(pods, judge):
    pods.found["Pod"] = [container(state={"waiting": {"reason": "InvalidImageName"}})]

    assert await judge.look(view_of(seen(generation=2))) is None
    assert (await judge.look(view_of(seen(generation=1)))).code == "not-landed"


async def test_what_was_not_asked_again_does_not_pass_for_an_answer(pods, judge, now, monkeypatch):
    async def silent(*_, **__):
        raise KubeError(0, "Unreachable", "no answer")

    view, now[0] = view_of(seen()), 5.0
    monkeypatch.setattr(pods, "list", silent)
    for now[0] in (5.0, 5.1):  # the second look is too soon to ask again
        assert await judge.look(view) is None

    assert judge.too_late(view, 6.0).code == "cluster-unreachable"


async def test_nothing_is_read_from_a_status_of_the_version_before(judge):
    by_hand = {"updateStrategy": {"type": "OnDelete"}}
    half = {"replicas": 2, "readyReplicas": 2, "updatedReplicas": 1}

    assert await judge.look(view_of(seen("StatefulSet", 2, spec=by_hand, **half))) is None
    assert "OnDelete" in (await judge.look(view_of(seen("StatefulSet", 1, spec=by_hand, **half)))).what
