"""When a cause has lasted long enough to end a rollout, told without a cluster."""

import pytest

from infra_mcp.clients.kube import KubeError
from infra_mcp.drivers.kubernetes import verify
from infra_mcp.model.plan import ObjectRef

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
