"""An app scaled up and down: in its manifest, in the cluster, and never against an autoscaler."""

import json

import pytest

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

AUTOSCALER = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "spec": {"maxReplicas": 9, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "docs"}},
}


@pytest.mark.core
@pytest.mark.promise("verify.landed")
@pytest.mark.promise("plan.one-hunk")
async def test_an_app_is_scaled_up_and_down_in_git_and_cluster_and_the_ack_counts_ready_pods(world):
    before = world.manifest.read_text(encoding="utf-8")

    up = await scale(world, 4)
    assert up.ok, up.text
    assert f"docs scaled to 4: {world.namespace}/deployment/docs, 4 of 4 replicas ready" in up.text
    assert pods(world) == 4
    assert world.manifest.read_text(encoding="utf-8") == before.replace("replicas: 2 ", "replicas: 4 ")
    assert world.git("log", "-1", "--format=%s").strip() == "Scale docs to 4"

    down = await scale(world, 1)
    assert "docs scaled to 1: " in down.text
    assert "1 of 1 replicas ready" in down.text
    again = await scale(world, 1)
    assert again.data["state"] == "unchanged", again.text
    stopped = await scale(world, 0)
    assert stopped.ok, stopped.text
    assert f"docs scaled to 0: {world.namespace}/deployment/docs, image" in stopped.text
    assert "no pod runs it: 0 replicas are asked for" in stopped.text
    assert pods(world) == 0
    assert world.image() == "registry.example/docs/site:0.13.3"


@pytest.mark.promise("policy.default-deny")
async def test_more_than_the_limit_is_refused_before_anything_is_read_and_says_how_many_would_pass(world):
    head = world.git("rev-parse", "HEAD")

    refused = await scale(world, 11)

    assert not refused.ok
    assert refused.data["error"]["code"] == "policy-denied"
    assert "circles.docs.limits.replicas" in refused.text
    assert "At most 10 replicas" in refused.text
    assert (replicas(world), world.git("rev-parse", "HEAD")) == (2, head)


@pytest.mark.promise("plan.adopt")
@pytest.mark.parametrize("way", ["scale", "patch"])
async def test_what_people_scaled_by_hand_is_taken_over_as_shown(world, way):
    if way == "scale":
        world.kubectl("-n", world.namespace, "scale", "deployment/docs", "--replicas=5")
    else:
        world.kubectl("-n", world.namespace, "patch", "deployment/docs", "-p", '{"spec":{"replicas":5}}')

    shown = await scale(world, 3, dry_run=True)
    made = await scale(world, 3)

    (one,) = shown.data["plan"]["objects"]
    assert len(one["adopts"]) == 1, shown.text
    assert ".spec.replicas from kubectl" in one["adopts"][0]
    assert any("5" in change and "3" in change for change in one["changes"])
    assert made.ok, made.text
    assert pods(world) == 3
    deployed = await world.tool("deploy", app="docs", version="0.13.4")
    assert deployed.ok, deployed.text
    assert replicas(world) == 3


async def test_a_number_that_git_has_already_is_brought_back_to_the_cluster_without_a_commit(world):
    world.kubectl("-n", world.namespace, "scale", "deployment/docs", "--replicas=5")
    head = world.git("rev-parse", "HEAD")

    made = await scale(world, 2)

    assert made.ok, made.text
    assert (pods(world), world.git("rev-parse", "HEAD")) == (2, head)


@pytest.mark.promise("apply.no-force")
async def test_an_app_that_an_autoscaler_scales_is_refused_with_its_name(world):
    world.kubectl("-n", world.namespace, "create", "-f", "-", stdin=autoscaler(world, "docs-by-load"))
    head = world.git("rev-parse", "HEAD")

    refused = await scale(world, 4)

    assert not refused.ok
    assert refused.data["error"]["code"] == "owned-elsewhere"
    assert f"{world.namespace}/docs-by-load" in refused.text
    assert (replicas(world), world.git("rev-parse", "HEAD")) == (2, head)


async def test_an_autoscaler_of_another_app_is_none_of_this_one(world):
    body = autoscaler(world, "of-another", AUTOSCALER["spec"]["scaleTargetRef"] | {"name": "other"})
    world.kubectl("-n", world.namespace, "create", "-f", "-", stdin=body)

    made = await scale(world, 3)

    assert made.ok, made.text


async def test_a_circle_that_may_not_look_for_autoscalers_is_told_what_an_admin_applies(world):
    """As in a cluster that was set up before there was this right."""
    role = f"{world.ground.accounts}-circle"
    whole = json.loads(world.kubectl("get", "clusterrole", role, "-o", "json"))
    less = [rule for rule in whole["rules"] if "autoscaling" not in rule["apiGroups"]]
    own = {"apiVersion": whole["apiVersion"], "kind": "ClusterRole", "metadata": {"name": f"{role}-{world.name}"}}
    binding = json.loads(world.kubectl("-n", world.namespace, "get", "rolebinding", "infra-mcp-circle", "-o", "json"))
    kept = {key: binding["metadata"][key] for key in ("name", "namespace")}
    binding |= {"metadata": kept, "roleRef": binding["roleRef"] | {"name": own["metadata"]["name"]}}
    world.kubectl("apply", "-f", "-", stdin=json.dumps(own | {"rules": less}))
    try:
        world.kubectl("-n", world.namespace, "delete", "rolebinding", "infra-mcp-circle")
        world.kubectl("apply", "-f", "-", stdin=json.dumps(binding))
        refused = await scale(world, 4)
        deployed = await world.tool("deploy", app="docs", version="0.13.4")
    finally:
        world.kubectl("delete", "clusterrole", own["metadata"]["name"])

    assert not refused.ok
    assert refused.data["error"]["code"] == "cluster-denied", refused.text
    assert "autoscalers" in refused.text
    assert "infra-mcp rbac render" in refused.text
    assert replicas(world) == 2
    assert deployed.ok, deployed.text


@pytest.mark.promise("verify.rollback")
async def test_a_scaling_that_does_not_land_is_taken_back_in_cluster_and_git(world):
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "3"}}}
    world.kubectl("-n", world.namespace, "create", "-f", "-", stdin=json.dumps(quota))
    before = world.manifest.read_text(encoding="utf-8")

    failed = await scale(world, 6)

    assert not failed.ok
    assert failed.data["state"] == "rolled_back", failed.text
    assert "quota" in failed.text
    assert "2 replicas again" in failed.text
    assert world.manifest.read_text(encoding="utf-8") == before
    assert (replicas(world), pods(world)) == (2, 2)
    subjects = world.git("log", "-2", "--format=%s").splitlines()
    assert subjects == [f"Roll back {failed.data['request']}", "Scale docs to 6"]


async def scale(world, number, **options):
    return await world.tool("change", action="scale", arguments={"app": "docs", "replicas": number}, **options)


def autoscaler(world, name, target=None):
    spec = AUTOSCALER["spec"] | ({"scaleTargetRef": target} if target else {})
    return json.dumps(AUTOSCALER | {"metadata": {"name": name, "namespace": world.namespace}, "spec": spec})


def replicas(world):
    return world.live_object("deployment", "docs", world.namespace)["spec"]["replicas"]


def pods(world):
    return int(world.live_object("deployment", "docs", world.namespace)["status"].get("readyReplicas") or 0)
