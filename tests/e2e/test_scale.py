"""An app scaled up and down: in its manifest, in the cluster, and never against an autoscaler."""

import json

import pytest

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

AUTOSCALER = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "spec": {"maxReplicas": 9, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "docs"}},
}

WORKER = """
[apps.worker]
owner = "docs"
workload = "{namespace}/{kind}/worker"
image = "registry.example/docs/worker:{{version}}"
"""


@pytest.mark.core
@pytest.mark.promise("verify.landed")
@pytest.mark.promise("plan.one-hunk")
async def test_an_app_is_scaled_up_and_down_in_git_and_cluster_and_the_ack_counts_ready_pods(scenario):
    before = scenario.manifest.read_text(encoding="utf-8")

    up = await scale(scenario, 4)
    assert up.ok, up.text
    assert f"docs scaled to 4: {scenario.namespace}/deployment/docs, 4 of 4 replicas ready" in up.text
    assert pods(scenario) == 4
    assert scenario.manifest.read_text(encoding="utf-8") == before.replace("replicas: 2 ", "replicas: 4 ")
    assert scenario.git("log", "-1", "--format=%s").strip() == "Scale docs to 4"

    down = await scale(scenario, 1)
    assert "docs scaled to 1: " in down.text
    assert "1 of 1 replicas ready" in down.text
    again = await scale(scenario, 1)
    assert again.data["state"] == "unchanged", again.text
    stopped = await scale(scenario, 0)
    assert stopped.ok, stopped.text
    assert f"docs scaled to 0: {scenario.namespace}/deployment/docs, image" in stopped.text
    assert "no pod runs it: 0 replicas are asked for" in stopped.text
    assert pods(scenario) == 0
    assert scenario.image() == "registry.example/docs/site:0.13.3"


@pytest.mark.promise("policy.default-deny")
async def test_more_than_the_limit_is_refused_before_anything_is_read_and_says_how_many_would_pass(scenario):
    head = scenario.git("rev-parse", "HEAD")

    refused = await scale(scenario, 11)

    assert not refused.ok
    assert refused.data["error"]["code"] == "policy-denied"
    assert "circles.docs.limits.replicas" in refused.text
    assert "At most 10 replicas" in refused.text
    assert (replicas(scenario), scenario.git("rev-parse", "HEAD")) == (2, head)


@pytest.mark.promise("plan.adopt")
@pytest.mark.parametrize("way", ["scale", "patch"])
async def test_what_people_scaled_by_hand_is_taken_over_as_shown(scenario, way):
    if way == "scale":
        scenario.kubectl("-n", scenario.namespace, "scale", "deployment/docs", "--replicas=5")
    else:
        scenario.kubectl("-n", scenario.namespace, "patch", "deployment/docs", "-p", '{"spec":{"replicas":5}}')

    shown = await scale(scenario, 3, dry_run=True)
    made = await scale(scenario, 3)

    (one,) = shown.data["plan"]["objects"]
    assert len(one["adopts"]) == 1, shown.text
    assert ".spec.replicas from kubectl" in one["adopts"][0]
    assert any("5" in change and "3" in change for change in one["changes"])
    assert made.ok, made.text
    assert pods(scenario) == 3
    deployed = await scenario.tool("deploy", app="docs", version="0.13.4")
    assert deployed.ok, deployed.text
    assert replicas(scenario) == 3


async def test_a_number_that_git_has_already_is_brought_back_to_the_cluster_without_a_commit(scenario):
    scenario.kubectl("-n", scenario.namespace, "scale", "deployment/docs", "--replicas=5")
    head = scenario.git("rev-parse", "HEAD")

    made = await scale(scenario, 2)

    assert made.ok, made.text
    assert (pods(scenario), scenario.git("rev-parse", "HEAD")) == (2, head)


@pytest.mark.promise("apply.no-force")
async def test_an_app_that_an_autoscaler_scales_is_refused_with_its_name(scenario):
    scenario.kubectl("-n", scenario.namespace, "create", "-f", "-", stdin=autoscaler(scenario, "docs-by-load"))
    head = scenario.git("rev-parse", "HEAD")

    refused = await scale(scenario, 4)

    assert not refused.ok
    assert refused.data["error"]["code"] == "owned-elsewhere"
    assert f"{scenario.namespace}/docs-by-load" in refused.text
    assert (replicas(scenario), scenario.git("rev-parse", "HEAD")) == (2, head)


async def test_an_autoscaler_of_another_app_is_none_of_this_one(scenario):
    body = autoscaler(scenario, "of-another", AUTOSCALER["spec"]["scaleTargetRef"] | {"name": "other"})
    scenario.kubectl("-n", scenario.namespace, "create", "-f", "-", stdin=body)

    made = await scale(scenario, 3)

    assert made.ok, made.text


async def test_a_circle_that_may_not_look_for_autoscalers_is_told_what_an_admin_applies(scenario):
    """As in a cluster that was set up before there was this right."""
    role = f"{scenario.cluster_setup.accounts}-circle"
    whole = json.loads(scenario.kubectl("get", "clusterrole", role, "-o", "json"))
    less = [rule for rule in whole["rules"] if "autoscaling" not in rule["apiGroups"]]
    own = {"apiVersion": whole["apiVersion"], "kind": "ClusterRole", "metadata": {"name": f"{role}-{scenario.name}"}}
    binding = json.loads(
        scenario.kubectl("-n", scenario.namespace, "get", "rolebinding", "infra-mcp-circle", "-o", "json")
    )
    kept = {key: binding["metadata"][key] for key in ("name", "namespace")}
    binding |= {"metadata": kept, "roleRef": binding["roleRef"] | {"name": own["metadata"]["name"]}}
    scenario.kubectl("apply", "-f", "-", stdin=json.dumps(own | {"rules": less}))
    try:
        scenario.kubectl("-n", scenario.namespace, "delete", "rolebinding", "infra-mcp-circle")
        scenario.kubectl("apply", "-f", "-", stdin=json.dumps(binding))
        refused = await scale(scenario, 4)
        deployed = await scenario.tool("deploy", app="docs", version="0.13.4")
    finally:
        scenario.kubectl("delete", "clusterrole", own["metadata"]["name"])

    assert not refused.ok
    assert refused.data["error"]["code"] == "cluster-denied", refused.text
    assert "autoscalers" in refused.text
    assert "infra-mcp rbac render" in refused.text
    assert replicas(scenario) == 2
    assert deployed.ok, deployed.text


@pytest.mark.parametrize(("kind", "code"), [("StatefulSet", None), ("DaemonSet", "invalid-argument")])
async def test_a_stateful_set_is_scaled_too_and_a_daemon_set_has_no_number(scenario, kind, code):
    labels = {"app": "worker"}
    pod = {"containers": [{"name": "worker", "image": "registry.example/docs/worker:1"}]}
    spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}
    spec |= {"serviceName": "worker"} if kind == "StatefulSet" else {}
    metadata = {"name": "worker", "namespace": scenario.namespace}
    body = json.dumps({"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec})
    (scenario.repo / "k8s" / "worker.json").write_text(body, encoding="utf-8")
    scenario.git("add", ".")
    scenario.git("commit", "-q", "-m", "A worker")
    scenario.kubectl("apply", "-f", "-", stdin=body)
    more = WORKER.format(namespace=scenario.namespace, kind=kind.lower())
    await scenario.accept_policy(scenario.apps() + more)

    made = await scale(scenario, 3, app="worker")

    if code is None:
        assert made.ok, made.text
        assert f"worker scaled to 3: {scenario.namespace}/statefulset/worker, 3 of 3 replicas ready" in made.text
        assert '"replicas":3' in scenario.git("show", "HEAD:k8s/worker.json").replace(" ", "")
    else:
        assert made.data["error"]["code"] == code, made.text
        assert "DaemonSet" in made.text


@pytest.mark.promise("verify.rollback")
async def test_a_scaling_that_does_not_land_is_taken_back_in_cluster_and_git(scenario):
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "3"}}}
    scenario.kubectl("-n", scenario.namespace, "create", "-f", "-", stdin=json.dumps(quota))
    before = scenario.manifest.read_text(encoding="utf-8")

    failed = await scale(scenario, 6)

    assert not failed.ok
    assert failed.data["state"] == "rolled_back", failed.text
    assert "quota" in failed.text
    assert "2 replicas again" in failed.text
    assert scenario.manifest.read_text(encoding="utf-8") == before
    assert (replicas(scenario), pods(scenario)) == (2, 2)
    subjects = scenario.git("log", "-2", "--format=%s").splitlines()
    assert subjects == [f"Roll back {failed.data['request']}", "Scale docs to 6"]


async def scale(scenario, number, app="docs", **options):
    return await scenario.tool("change", action="scale", arguments={"app": app, "replicas": number}, **options)


def autoscaler(scenario, name, target=None):
    spec = AUTOSCALER["spec"] | ({"scaleTargetRef": target} if target else {})
    return json.dumps(AUTOSCALER | {"metadata": {"name": name, "namespace": scenario.namespace}, "spec": spec})


def replicas(scenario):
    return scenario.live_object("deployment", "docs", scenario.namespace)["spec"]["replicas"]


def pods(scenario):
    return int(scenario.live_object("deployment", "docs", scenario.namespace)["status"].get("readyReplicas") or 0)
