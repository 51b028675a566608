"""The facts of a rendered object: the same for equal pods, wherever they are written and in whatever order."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy.guard.guard_cases import CASES

from infra_mcp.model.effect import Trait
from infra_mcp.policy.guard.facts import traits, unjudged

NAMES = """
    kind apiVersion metadata spec template labels annotations containers initContainers volumes name image
    securityContext capabilities add drop sysctls hostPath hostPort privileged rules host tls hosts listeners
    hostnames routes match seccompProfile seLinuxOptions type httpGet runAsUser externalIPs items
"""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES.split()), inner, max_size=4),
    max_leaves=25,
)
KINDS = st.sampled_from(
    [
        ("apps/v1", "Deployment"),
        ("networking.k8s.io/v1", "Ingress"),
        ("gateway.networking.k8s.io/v1", "Gateway"),
        ("gateway.networking.k8s.io/v1", "HTTPRoute"),
        ("route.openshift.io/v1", "Route"),
        ("traefik.io/v1alpha1", "IngressRoute"),
        ("projectcontour.io/v1", "HTTPProxy"),
        ("networking.istio.io/v1", "Gateway"),
        ("v1", "Service"),
        ("v1", "ConfigMap"),
    ]
)
PODS = [case for case in CASES if case.pod is not None]


def _in_pod(pod):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": pod}


def _in_cronjob(pod):
    spec = {"jobTemplate": {"spec": {"template": {"spec": pod}}}}
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c"}, "spec": spec}


def _in_custom(pod):
    spec = {"nodeSets": [{"name": "a", "count": 1}, {"name": "b", "podTemplate": {"spec": pod}}]}
    return {"apiVersion": "example.org/v1", "kind": "Search", "metadata": {"name": "s"}, "spec": spec}


@pytest.mark.promise("effect.guarded")
@pytest.mark.parametrize("case", PODS, ids=lambda case: case.name)
def test_a_pod_has_the_same_facts_in_every_kind(case):
    found = {(one.rule, one.value) for one in traits(case.rendered)}

    for wrap in (_in_pod, _in_cronjob, _in_custom):
        assert {(one.rule, one.value) for one in traits(wrap(case.pod))} == found, wrap.__name__


@pytest.mark.promise("effect.guarded")
@given(st.permutations(range(4)), st.sampled_from(["containers", "initContainers"]))
def test_the_order_of_containers_never_matters(order, which):
    containers = [
        {"name": "a", "image": "x/a:1", "securityContext": {"privileged": True}},
        {"name": "b", "image": "x/b:1", "securityContext": {"capabilities": {"add": ["SYS_ADMIN", "BPF"]}}},
        {"name": "c", "image": "x/c:1", "ports": [{"containerPort": 1, "hostPort": 1}]},
        {"name": "d", "image": "x/d:1"},
    ]

    assert traits(_in_pod({which: [containers[at] for at in order]})) == traits(_in_pod({which: containers}))


@given(KINDS, JSON)
def test_any_shape_gives_facts_and_no_error(kind, spec):
    rendered = {"apiVersion": kind[0], "kind": kind[1], "metadata": {"name": "x"}, "spec": spec}

    found = traits(rendered)

    assert list(found) == sorted(found, key=lambda one: (one.rule, one.where, one.value))
    assert found == traits(copy.deepcopy(rendered))


@pytest.mark.parametrize("rendered", [None, [], "Deployment", 7, {}, {"kind": None}, {"kind": ["Pod"]}])
def test_what_is_no_object_cannot_be_judged(rendered):
    assert [one.rule for one in traits(rendered)] == ["objects.unreadable"]


def test_a_deep_object_is_read_to_its_end():
    inner: object = {"hostNetwork": True}
    for _ in range(5000):
        inner = {"a": inner}

    found = traits({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": inner})

    assert [one.rule for one in found] == ["pods.host-network"]


def test_a_fact_names_its_place_by_the_names_of_items():
    found = traits(_in_pod({"containers": [{"name": "web", "ports": [{"name": "http", "hostPort": 80}]}]}))

    where = '.spec.containers[name="web"].ports[name="http"].hostPort'
    assert Trait(rule="pods.host-ports", where=where, value="80") in found


def test_the_status_is_not_rendered():
    rendered = _in_pod({"containers": []})

    assert traits(rendered | {"status": {"hostPath": {}, "type": "NodePort"}}) == traits(rendered)


# ---- an object that is there already


def _live(**template):
    pod = {"hostPID": True, "containers": [{"name": "web", "image": "x/a:1"}]}
    metadata = {"labels": {"app": "docs"}, "annotations": template.pop("annotations", {"checksum": "1"})}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "docs", "annotations": {"infra-mcp.dev/request": "req-1"}, "resourceVersion": "7"},
        "spec": {"replicas": 2, "template": {"metadata": metadata, "spec": pod | template}},
        "status": {"replicas": 2},
    }


def _rules(*arguments):
    return [one.rule for one in traits(*arguments) if not one.rule.startswith("pods.") or one.rule == "pods.host-pid"]


def test_an_object_that_a_change_touches_is_judged_as_a_whole():
    assert _rules(_live(containers=[{"name": "web", "image": "x/a:2"}]), _live()) == ["pods.host-pid"]


def test_a_scaling_runs_what_runs_already():
    scaled = _live()
    scaled["spec"]["replicas"], scaled["status"], scaled["metadata"]["resourceVersion"] = 5, {}, "8"

    assert traits(scaled, _live()) == ()


@pytest.mark.parametrize("annotations", [{"checksum": "1"}, {}])
def test_a_restart_runs_what_runs_already(annotations):
    live = _live(annotations=annotations)
    restarted = _live(annotations={**annotations, "infra-mcp.dev/restart": "req-2"})

    assert traits(restarted, live) == ()


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one["metadata"]["annotations"].update(note="x"),
        lambda one: one["metadata"].update(labels={"a": "b"}),
        lambda one: one["spec"]["template"]["metadata"]["annotations"].update(checksum="2"),
        lambda one: one["spec"]["template"]["spec"].update(hostIPC=False),
        lambda one: one["spec"].update(paused=True),
    ],
)
def test_any_other_change_is_judged(change):
    changed = _live()
    change(changed)
    changed["spec"]["replicas"] = 9

    assert "pods.host-pid" in _rules(changed, _live())


def test_our_own_marks_count_only_where_they_are_new():
    changed = _live(containers=[])
    changed["metadata"]["annotations"]["infra-mcp.dev/write"] = "x"

    found = [one.where for one in traits(changed, _live()) if one.rule == "objects.own"]

    assert found == [".metadata.annotations.infra-mcp.dev/write"]


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("objects.finalizers", lambda one: one["metadata"].update(finalizers=["shop.example/keep"])),
        (
            "objects.owner-references",
            lambda one: one["metadata"].update(ownerReferences=[{"kind": "Node", "uid": "1"}]),
        ),
        ("pods.service-account", lambda one: one["spec"]["template"]["spec"].update(serviceAccountName="web")),
    ],
)
def test_what_ties_an_object_counts_only_where_it_is_new(rule, change):
    live, changed = _live(), _live(hostIPC=False)
    change(changed)
    assert rule in {one.rule for one in traits(changed, live)}

    change(live)
    assert rule not in {one.rule for one in traits(changed, live)}
    assert rule in {one.rule for one in traits(changed)}


def test_labels_that_came_to_an_object_since_are_no_fact_that_was_not_judged():
    judged = traits(_live())
    labelled = _live()
    labelled["metadata"]["labels"] = {"team": "docs"}

    assert unjudged(traits(labelled), judged) == []
    assert [one.rule for one in unjudged(traits(_live(hostIPC=True)), judged)] == ["pods.host-ipc"]
