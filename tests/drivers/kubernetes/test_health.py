from datetime import UTC, datetime

import pytest

from infra_mcp.drivers.kubernetes.health import Health, status

NOW = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)


def make(kind, seen=None, spec=None, generation=2, **metadata):
    apis = {"Job": "batch/v1", "CustomResourceDefinition": "apiextensions.k8s.io/v1", "Widget": "example.com/v1"}
    core = {"Pod", "Service", "PersistentVolumeClaim", "ConfigMap", "Secret", "Namespace", "ServiceAccount"}
    api = apis.get(kind, "v1" if kind in core else "apps/v1")
    metadata = {"name": "x", "generation": generation} | metadata
    return {"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec or {}, "status": seen or {}}


def conditions(*pairs):
    return [{"type": kind, "status": status_, "reason": reason} for kind, status_, reason in pairs]


OUT = conditions(("Progressing", "True", "NewReplicaSetAvailable"), ("Available", "True", ""))


def deployment(wanted=3, there=3, updated=3, ready=3, available=3, conds=OUT, deadline=600):
    counts = {"replicas": there, "updatedReplicas": updated, "readyReplicas": ready, "availableReplicas": available}
    spec = {"replicas": wanted, "progressDeadlineSeconds": deadline}
    return make("Deployment", counts | {"observedGeneration": 2, "conditions": conds}, spec)


@pytest.mark.parametrize(
    ("obj", "state"),
    [
        (deployment(), "Current"),
        (deployment(wanted=0, there=0, updated=0, ready=0, available=0), "Current"),
        (deployment(there=2), "InProgress"),
        (deployment(updated=1), "InProgress"),
        (deployment(there=4), "InProgress"),
        (deployment(available=2), "InProgress"),
        (deployment(ready=2), "InProgress"),
        (deployment(conds=OUT[:1]), "InProgress"),
        (deployment(conds=OUT[1:]), "InProgress"),
        (deployment(conds=OUT[1:], deadline=None), "Current"),
        (deployment(conds=OUT[1:], deadline=2**31 - 1), "Current"),
        (deployment(conds=conditions(("Progressing", "False", "ProgressDeadlineExceeded"))), "Failed"),
        (deployment(conds=[*conditions(("Progressing", "True", "ReplicaSetUpdated")), OUT[1]]), "InProgress"),
    ],
)
def test_a_deployment_is_current_when_all_new_replicas_are_there_and_no_old_one(obj, state):
    assert status(obj).state == state


def test_what_the_controller_has_not_seen_is_in_progress_whatever_its_numbers_say():
    late = deployment()
    late["metadata"]["generation"] = 3

    assert status(late) == Health("InProgress", "its controller has not seen the change yet")


@pytest.mark.parametrize("kind", ["Deployment", "Namespace", "ConfigMap", "Widget"])
def test_what_is_being_deleted_is_terminating_before_all_else(kind):
    obj = make(kind, {"conditions": conditions(("Stalled", "True", ""))}, deletionTimestamp="2026-01-01T00:00:00Z")

    assert status(obj).state == "Terminating"


COUNTED = dict.fromkeys(("replicas", "fullyLabeledReplicas", "availableReplicas", "readyReplicas"), 1)
REVISED = {"currentRevision": "b", "updateRevision": "b"}


def stateful(seen, strategy=None, wanted=2):
    base = {"observedGeneration": 2, "replicas": 2, "readyReplicas": 2, "currentReplicas": 2, "updatedReplicas": 2}
    return make("StatefulSet", base | REVISED | seen, {"replicas": wanted, "updateStrategy": strategy or {}})


def daemon(**seen):
    names = ("desired", "current", "updated")
    base = {f"{name}NumberScheduled": 2 for name in names} | {"numberAvailable": 2, "numberReady": 2}
    return make("DaemonSet", base | {"observedGeneration": 2} | seen)


PARTITION = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}


@pytest.mark.parametrize(
    ("obj", "state"),
    [
        (stateful({}), "Current"),
        (stateful({"updateRevision": "c", "updatedReplicas": 1}), "InProgress"),
        (stateful({"readyReplicas": 1}), "InProgress"),
        (stateful({"replicas": 1}), "InProgress"),
        (stateful({"replicas": 3}), "InProgress"),
        (stateful({"currentReplicas": 1}), "InProgress"),
        (stateful({"updateRevision": "c", "updatedReplicas": 1}, PARTITION), "Current"),
        (stateful({"updateRevision": "c", "updatedReplicas": 0}, PARTITION), "InProgress"),
        (stateful({"updateRevision": "c", "updatedReplicas": 0}, {"type": "OnDelete"}), "Current"),
        (stateful({"readyReplicas": 1}, {"type": "OnDelete"}), "InProgress"),
        (daemon(), "Current"),
        (daemon(updatedNumberScheduled=1), "InProgress"),
        (daemon(currentNumberScheduled=1), "InProgress"),
        (daemon(numberAvailable=1), "InProgress"),
        (daemon(numberReady=1), "InProgress"),
        (make("DaemonSet", {}), "InProgress"),
        (make("StatefulSet", {}, {"replicas": 0}), "InProgress"),
        (make("Deployment", {"conditions": OUT}, {"replicas": 0}), "InProgress"),
        (make("ReplicaSet", {"replicas": 1}, {"replicas": 1}), "InProgress"),
        (
            make("ReplicaSet", COUNTED),
            "Current",
        ),
        (make("ReplicaSet", {"conditions": conditions(("ReplicaFailure", "True", "FailedCreate"))}), "InProgress"),
        (make("Job", {}), "InProgress"),
        (make("Job", {"startTime": "2026-01-01T00:00:00Z"}), "Current"),
        (make("Job", {"conditions": conditions(("Complete", "True", ""))}), "Current"),
        (make("Job", {"conditions": conditions(("Suspended", "True", ""))}), "Current"),
        (make("Job", {"conditions": conditions(("Failed", "True", "BackoffLimitExceeded"))}), "Failed"),
        (make("Pod", {"phase": "Succeeded"}), "Current"),
        (make("Pod", {"phase": "Failed"}), "Current"),
        (make("Pod", {"phase": "Running", "conditions": conditions(("Ready", "True", ""))}), "Current"),
        (make("Pod", {"phase": "Running"}), "InProgress"),
        (make("Pod", {"phase": "Pending"}), "InProgress"),
        (
            make(
                "Pod",
                {"phase": "Running", "containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]},
            ),
            "Failed",
        ),
        (make("PersistentVolumeClaim", {"phase": "Bound"}), "Current"),
        (make("PersistentVolumeClaim", {"phase": "Pending"}), "InProgress"),
        (make("Service", spec={"type": "ClusterIP"}), "Current"),
        (make("Service", spec={"type": "LoadBalancer"}), "InProgress"),
        (make("Service", spec={"type": "LoadBalancer", "clusterIP": "10.0.0.1"}), "Current"),
        (make("CustomResourceDefinition"), "InProgress"),
        (make("CustomResourceDefinition", {"conditions": conditions(("Established", "True", ""))}), "Current"),
        (
            make("CustomResourceDefinition", {"conditions": conditions(("Established", "False", "Installing"))}),
            "InProgress",
        ),
        (make("CustomResourceDefinition", {"conditions": conditions(("Established", "False", "Broken"))}), "Failed"),
        (make("CustomResourceDefinition", {"conditions": conditions(("NamesAccepted", "False", "Taken"))}), "Failed"),
        (make("ConfigMap", {"conditions": conditions(("Ready", "False", ""))}), "Current"),
        (make("ServiceAccount"), "Current"),
        (make("Namespace", {"phase": "Active"}), "Current"),
        (make("Widget"), "Current"),
        (make("Widget", {"conditions": conditions(("Ready", "True", ""))}), "Current"),
        (make("Widget", {"conditions": conditions(("Ready", "False", ""))}), "InProgress"),
        (make("Widget", {"conditions": conditions(("Ready", "Unknown", ""))}), "InProgress"),
        (make("Widget", {"conditions": conditions(("Reconciling", "True", ""))}), "InProgress"),
        (make("Widget", {"conditions": conditions(("Stalled", "True", ""))}), "Failed"),
    ],
)
def test_each_kind_has_its_own_rule(obj, state):
    assert status(obj).state == state


@pytest.mark.parametrize(
    ("since", "state"), [("2026-01-01T12:00:20Z", "InProgress"), ("2026-01-01T12:00:10Z", "Failed")]
)
def test_a_pod_that_no_node_takes_fails_after_fifteen_seconds(since, state):
    placed = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "lastTransitionTime": since}
    pod = make("Pod", {"phase": "Pending", "conditions": [placed]})

    assert status(pod, NOW).state == state
    assert status(pod).state == "InProgress"


WRITTEN = "2026-01-01T12:00:00Z"
TEMPLATE = {"f:spec": {"f:template": {"f:spec": {}}}}


def entry(time, fields=TEMPLATE, **more):
    return {"manager": "m", "operation": "Apply", "time": time, "fieldsV1": fields, **more}


@pytest.mark.fault("f01")
@pytest.mark.parametrize(
    ("since", "entries", "state"),
    [
        ("2026-01-01T11:59:00Z", [entry(WRITTEN)], "Current"),
        (WRITTEN, [entry(WRITTEN)], "Current"),  # of the same second: no deadline is shorter than one
        ("2026-01-01T12:00:01Z", [entry(WRITTEN)], "Failed"),
        ("2026-01-01T11:59:00Z", [entry("2026-01-01T11:00:00Z"), entry(WRITTEN)], "Current"),
        # what came later and is no change of the pod template begins nothing
        ("2026-01-01T12:01:00Z", [entry(WRITTEN), entry("2026-01-01T13:00:00Z", {"f:metadata": {}})], "Failed"),
        (
            "2026-01-01T12:01:00Z",
            [entry(WRITTEN), entry("2026-01-01T13:00:00Z", {"f:spec": {"f:replicas": {}}})],
            "Failed",
        ),
        ("2026-01-01T12:01:00Z", [entry(WRITTEN), entry("2026-01-01T13:00:00Z", subresource="status")], "Failed"),
        ("2026-01-01T11:59:00Z", [], "Failed"),
        (None, [entry(WRITTEN)], "Failed"),
    ],
)
def test_a_progress_deadline_counts_when_it_passed_after_the_last_change_of_the_pods(since, entries, state):
    late = conditions(("Progressing", "False", "ProgressDeadlineExceeded"))[0] | {"lastUpdateTime": since}
    obj = deployment(conds=[late, OUT[1]], deadline=None)
    obj["metadata"]["managedFields"] = entries

    assert status(obj).state == state


@pytest.mark.fault("f01")
@pytest.mark.parametrize(("observed", "state"), [(1, "Current"), (2, "Failed"), (None, "Failed")])
def test_a_stall_of_another_generation_is_none_of_this_one(observed, state):
    stalled = conditions(("Stalled", "True", ""))[0] | ({"observedGeneration": observed} if observed else {})

    assert status(make("Widget", {"conditions": [stalled]})).state == state


@pytest.mark.fault("f02")
@pytest.mark.parametrize(("updated", "partition"), [(0, 2), (0, 5), (1, 1)])
def test_a_partition_that_keeps_old_pods_is_remarked(updated, partition):
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}
    found = status(stateful({"updateRevision": "c", "updatedReplicas": updated}, strategy))

    assert found == Health("Current", f"{updated} of 2 replicas are updated: its partition is {partition}")


@pytest.mark.fault("f04")
@pytest.mark.parametrize(
    "obj",
    [
        deployment(wanted=0, there=0, updated=0, ready=0, available=0),
        stateful(dict.fromkeys(("replicas", "readyReplicas", "currentReplicas", "updatedReplicas"), 0), wanted=0),
        daemon(**{f"{name}NumberScheduled": 0 for name in ("desired", "current", "updated")}, numberAvailable=0),
    ],
)
def test_that_no_pod_is_asked_for_is_remarked(obj):
    found = status(obj)

    assert (found.state, found.reason.partition(":")[0]) == ("Current", "no pod runs it")
