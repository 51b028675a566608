"""When a cause has lasted long enough to end a rollout, told without a cluster."""

import pytest

from infra_mcp.clients.kube import KubeError
from infra_mcp.drivers.kubernetes import verify
from infra_mcp.model.object_ref import ObjectRef

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


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


def sets(pods, kind, names, ready=True):
    """Pods of the workload's newest revision."""
    conditions = [{"type": "Ready", "status": str(ready)}]
    labels = {"controller-revision-hash": "r2"}
    owner = {"uid": "s" if kind == "Deployment" else "u"}
    pods.found["Pod"] = [
        {
            "metadata": {"name": name, "uid": name, "labels": labels, "ownerReferences": [owner]},
            "status": {"conditions": conditions},
        }
        for name in names
    ]


OUT = {
    "Deployment": {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}
    | {"conditions": [{"type": "Available", "status": "True"}]},
    "StatefulSet": {"replicas": 1, "readyReplicas": 1, "currentReplicas": 1, "updatedReplicas": 1}
    | {"currentRevision": "r2", "updateRevision": "r2"},
}


@pytest.mark.fault("f02")
@pytest.mark.parametrize("kind", OUT)
async def test_it_is_out_when_its_new_pods_are_ready_whatever_its_controller_counts(pods, judge, now, kind):
    view = view_of(seen(kind, **OUT[kind]))
    sets(pods, kind, ["a"], ready=False)

    assert await judge.look(view) is None
    assert "not within 5 s" in judge.too_late(view, 5.0).what
    sets(pods, kind, ["a"])
    now[0] = 1.0
    assert (await judge.look(view)).ready == 1


@pytest.mark.fault("f02")
@pytest.mark.parametrize(
    ("partition", "updated", "blocked"), [(2, 0, True), (5, 0, True), (1, 1, False), (2, 2, False)]
)
async def test_a_partition_that_keeps_all_pods_ends_the_wait(pods, judge, partition, updated, blocked):
    strategy = {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}}
    counts = {"replicas": 2, "readyReplicas": 2, "updatedReplicas": updated, "updateRevision": "r2"}
    sets(pods, "StatefulSet", ["a", "b"][:updated])
    found = await judge.look(view_of(seen("StatefulSet", spec={"replicas": 2} | strategy, **counts)))

    if blocked:
        assert f"partition {partition} keeps" in found.what
    else:
        assert found.ready == updated


@pytest.mark.fault("f01")
async def test_a_condition_of_before_the_write_ends_the_wait_when_pods_say_so_too(pods, judge, now):
    old = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    live = seen(conditions=[old | {"lastUpdateTime": "2026-01-01T10:00:00Z"}])
    fields = {"f:spec": {"f:template": {}}}
    live["metadata"]["managedFields"] = [{"manager": "m", "time": "2026-01-01T11:00:00Z", "fieldsV1": fields}]
    for now[0], state in ((0.0, {"state": {"running": {}}}), (20.0, STALLED)):
        pods.found["Pod"] = [container(**state)]
        assert await judge.look(view_of(live)) is None
    now[0] = 40.0

    assert "cannot be pulled" in (await judge.look(view_of(live))).what
