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
