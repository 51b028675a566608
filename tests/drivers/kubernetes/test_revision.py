"""Which pods and warnings are about the revision in progress, told apart without a cluster."""

import pytest

from infra_mcp.clients.kube import KubeError
from infra_mcp.drivers.kubernetes.revision import look, selector

pytestmark = pytest.mark.anyio


class Listed:
    """Answers lists by kind, as a cluster would."""

    def __init__(self, **by_kind):
        self.by_kind = by_kind
        self.asked = []

    async def list(self, _api_version, kind, namespace, *, as_user, label_selector=None, field_selector=None):
        self.asked.append((kind, namespace, as_user, label_selector, field_selector))
        found = self.by_kind.get(kind, [])
        if isinstance(found, Exception):
            raise found
        return {"items": found, "metadata": {"resourceVersion": "1"}}


def thing(name, owner="top", *, hash_=None, revision=None, **rest):
    labels = {"controller-revision-hash": hash_} if hash_ else {}
    annotations = {"deployment.kubernetes.io/revision": revision} if revision else {}
    owners = [{"uid": owner}] if owner else []
    metadata = {"name": name, "uid": name, "labels": labels, "annotations": annotations, "ownerReferences": owners}
    return {"metadata": metadata, **rest}


def workload(kind, **status):
    fields = [
        {"manager": "infra-mcp", "time": "2026-01-01T10:00:00Z", "fieldsV1": {"f:spec": {"f:template": {}}}},
        {"manager": "kubectl-annotate", "time": "2026-01-01T11:00:00Z", "fieldsV1": {"f:metadata": {}}},
        {"manager": "kube-controller-manager", "time": "2026-01-01T11:00:00Z", "subresource": "status"},
    ]
    metadata = {
        "name": "web",
        "namespace": "docs-live",
        "uid": "top",
        "annotations": {"deployment.kubernetes.io/revision": "2"},
        "managedFields": fields,
    }
    return {"kind": kind, "metadata": metadata, "spec": {"selector": {"matchLabels": {"a": "b"}}}, "status": status}


def names(objects):
    return [one["metadata"]["name"] for one in objects]


def event(uid, when, **rest):
    return {"metadata": {"name": f"{uid}-{when}"}, "involvedObject": {"uid": uid}, "lastTimestamp": when, **rest}


async def test_a_deployments_pods_are_those_of_the_replica_set_of_its_own_revision():
    sets = [thing("old", revision="1"), thing("new", revision="2"), thing("foreign", owner="other", revision="2")]
    cluster = Listed(ReplicaSet=sets, Pod=[thing("a", "old"), thing("b", "new"), thing("c", "foreign")])
    seen = await look(cluster, workload("Deployment"), as_user="circle")

    assert (names(seen.pods), names(seen.replicasets)) == (["b"], ["new"])
    assert {asked[1:4] for asked in cluster.asked if asked[0] != "Event"} == {("docs-live", "circle", "a=b")}


async def test_a_stateful_sets_pods_are_those_of_its_update_revision():
    pods = [thing("a", hash_="r1"), thing("b", hash_="r2"), thing("c", owner="other", hash_="r2")]
    seen = await look(Listed(Pod=pods), workload("StatefulSet", updateRevision="r2"), as_user=None)

    assert names(seen.pods) == ["b"]


async def test_a_daemon_sets_pods_are_those_of_its_newest_revision():
    revisions = [thing("x", hash_="r9", revision=None) | {"revision": 9}, thing("y", hash_="r10") | {"revision": 10}]
    pods = [thing("a", hash_="r9"), thing("b", hash_="r10")]
    seen = await look(Listed(Pod=pods, ControllerRevision=revisions), workload("DaemonSet"), as_user=None)

    assert names(seen.pods) == ["b"]


async def test_warnings_are_about_these_pods_and_oldest_first():
    events = [
        event("b", "2026-01-01T10:00:05Z"),
        event("b", "2026-01-01T09:00:00Z"),
        event("a", "2026-01-01T10:00:06Z"),
    ]
    cluster = Listed(ReplicaSet=[thing("new", revision="2")], Pod=[thing("b", "new")], Event=events)
    seen = await look(cluster, workload("Deployment"), as_user=None)

    assert names(seen.events) == ["b-2026-01-01T09:00:00Z", "b-2026-01-01T10:00:05Z"]
    assert ("Event", "docs-live", None, None, "type=Warning") in cluster.asked


@pytest.mark.parametrize(
    "when",
    [
        {"lastTimestamp": "2026-01-01T10:00:01Z"},
        {"lastTimestamp": None, "eventTime": "2026-01-01T10:00:00.000001Z"},
        {"lastTimestamp": None, "series": {"lastObservedTime": "2026-01-01T10:30:00.5Z"}},
    ],
)
async def test_warnings_about_the_workload_itself_count_since_it_was_last_changed(when):
    late = event("top", "late") | when
    cluster = Listed(Event=[event("top", "2026-01-01T10:00:00Z"), late])
    seen = await look(cluster, workload("StatefulSet", updateRevision="r2"), as_user=None)

    assert names(seen.events) == ["top-late"]


async def test_what_may_not_be_read_is_taken_as_not_there():
    cluster = Listed(Pod=KubeError(403, "Forbidden", "no"), ReplicaSet=[thing("new", revision="2")])

    assert (await look(cluster, workload("Deployment"), as_user="circle")).pods == []


async def test_a_cluster_that_cannot_be_asked_is_told():
    with pytest.raises(KubeError):
        await look(Listed(Pod=KubeError(503, "ServiceUnavailable", "no")), workload("Deployment"), as_user=None)


def test_a_selector_is_written_as_a_query_takes_it():
    expressions = [
        {"key": "tier", "operator": "In", "values": ["a", "b"]},
        {"key": "track", "operator": "NotIn", "values": ["canary"]},
        {"key": "app", "operator": "Exists"},
        {"key": "old", "operator": "DoesNotExist"},
    ]
    spec = {"selector": {"matchLabels": {"z": "1", "a": "2"}, "matchExpressions": expressions}}

    assert selector({"spec": spec}) == "a=2,z=1,tier in (a,b),track notin (canary),app,!old"


def ready(pod):
    return pod | {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}


def leaving(pod):
    return pod | {"metadata": pod["metadata"] | {"deletionTimestamp": "2026-01-01T10:00:00Z"}}


OLD, STUCK, GOING = ready(thing("old", hash_="r1")), thing("stuck", hash_="r1"), leaving(thing("going", hash_="r1"))


@pytest.mark.fault("f03")
@pytest.mark.parametrize(
    ("kind", "spec", "blockers"),
    [
        ("StatefulSet", {}, ["stuck", "going"]),
        ("StatefulSet", {"podManagementPolicy": "OrderedReady"}, ["stuck", "going"]),
        ("StatefulSet", {"podManagementPolicy": "Parallel"}, ["going"]),
        ("DaemonSet", {}, ["going"]),
    ],
)
async def test_pods_of_other_revisions_that_are_waited_for_are_told_with_their_warnings(kind, spec, blockers):
    live = workload(kind, updateRevision="r2")
    live["spec"] |= spec
    revisions = [thing("y", hash_="r2") | {"revision": 2}]
    pods = [ready(thing("new", hash_="r2")), OLD, STUCK, GOING, thing("foreign", owner="other", hash_="r1")]
    events = [event(name, "2026-01-01T09:00:00Z") for name in ("old", "stuck", "going")]
    seen = await look(Listed(Pod=pods, ControllerRevision=revisions, Event=events), live, as_user=None)

    assert (names(seen.pods), names(seen.blockers)) == (["new"], blockers)
    assert names(seen.events) == [f"{name}-2026-01-01T09:00:00Z" for name in blockers]


@pytest.mark.fault("f02")
async def test_ready_counts_the_pods_of_the_revision_that_stay_and_is_unknown_where_pods_may_not_be_read():
    pods = [ready(thing("a", hash_="r2")), thing("b", hash_="r2"), leaving(ready(thing("c", hash_="r2"))), OLD]
    live = workload("StatefulSet", updateRevision="r2")

    assert (await look(Listed(Pod=pods), live, as_user=None)).ready == 1
    assert (await look(Listed(Pod=KubeError(403, "Forbidden", "no")), live, as_user="circle")).ready is None


@pytest.mark.fault("f01")
@pytest.mark.parametrize(("when", "told"), [("2026-01-01T09:59:59Z", []), ("2026-01-01T10:00:01Z", ["new"])])
async def test_a_replica_set_that_is_used_again_is_judged_by_what_came_after_the_change(when, told):
    failure = {"type": "ReplicaFailure", "status": "True", "lastTransitionTime": when}
    replicaset = thing("new", revision="2") | {"status": {"conditions": [failure]}}
    seen = await look(Listed(ReplicaSet=[replicaset], Event=[event("new", when)]), workload("Deployment"), as_user=None)

    assert names(seen.replicasets) == told
    assert [one["involvedObject"]["uid"] for one in seen.events] == told
