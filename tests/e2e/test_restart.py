"""An app restarted: new pods, once, and nothing in git."""

import json

import pytest

from infra_mcp.ledger import Ledger
from infra_mcp.policy.rules import digest_of

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

MARK = "infra-mcp.dev/restart"
MORE = """
[apps.worker]
owner = "docs"
workload = "{namespace}/{kind}/worker"
image = "registry.example/docs/worker:{{version}}"
grace = "1s"
timeout = "30s"
"""


@pytest.mark.core
@pytest.mark.promise("verify.landed")
async def test_a_restart_makes_new_pods_of_the_same_version_and_says_so(world):
    former, head = uids(world, "docs"), world.git("rev-parse", "HEAD")

    made = await restart(world)

    assert made.ok, made.text
    assert f"docs restarted: {world.namespace}/deployment/docs, 2 of 2 replicas ready" in made.text
    assert "image registry.example/docs/site:0.13.3" in made.text
    assert len(uids(world, "docs")) == 2
    assert not uids(world, "docs") & former
    assert mark(world) == made.data["request"]
    assert world.git("rev-parse", "HEAD") == head
    deployed = await world.tool("deploy", app="docs", version="0.13.4")
    assert deployed.ok, deployed.text


async def test_a_plan_shows_what_a_restart_writes_and_that_no_file_changes(world):
    shown = await restart(world, dry_run=True)

    assert shown.ok, shown.text
    (one,) = shown.data["plan"]["objects"]
    assert any(MARK in change for change in one["changes"])
    assert shown.data["plan"]["files"] == []
    assert mark(world) is None


@pytest.mark.promise("intake.idempotent")
async def test_the_same_key_again_restarts_once_and_another_request_again(world):
    first = await restart(world, idempotency_key="restart-1")
    after = uids(world, "docs")
    second = await restart(world, idempotency_key="restart-1")
    assert second.data["request"] == first.data["request"]
    assert uids(world, "docs") == after

    third = await restart(world)
    assert third.ok, third.text
    assert not uids(world, "docs") & after


@pytest.mark.parametrize("kind", ["statefulset", "daemonset"])
async def test_other_workloads_restart_too_though_git_does_not_have_them(world, kind):
    await world.accept_policy(world.apps() + MORE.format(namespace=world.namespace, kind=kind))
    world.kubectl("apply", "-f", "-", stdin=worker(world, kind))
    world.kubectl("-n", world.namespace, "rollout", "status", f"{kind}/worker", "--timeout=60s")
    former = uids(world, "worker")

    made = await restart(world, "worker")

    assert made.ok, made.text
    assert f"worker restarted: {world.namespace}/{kind}/worker, " in made.text
    assert len(uids(world, "worker")) == len(former) > 0
    assert not uids(world, "worker") & former
    scaled = await world.tool("change", action="scale", arguments={"app": "worker", "replicas": 2})
    assert scaled.data["error"]["code"] == "not-in-repository", scaled.text


async def test_a_workload_without_pods_is_said_to_run_none(world):
    world.kubectl("-n", world.namespace, "scale", "deployment/docs", "--replicas=0")

    made = await restart(world)

    assert made.ok, made.text
    assert "docs is set in" in made.text
    assert "no pod runs it" in made.text
    assert "restarted" not in made.text


async def test_a_paused_rollout_is_refused_before_anything_is_written(world):
    world.kubectl("-n", world.namespace, "rollout", "pause", "deployment/docs")

    refused = await restart(world)

    assert not refused.ok
    assert refused.data["error"]["code"] == "object-invalid", refused.text
    assert "paused" in refused.text
    assert mark(world) is None


async def test_a_workload_that_is_not_in_the_cluster_cannot_be_restarted(world):
    world.kubectl("-n", world.namespace, "delete", "deployment/docs")

    refused = await restart(world)

    assert refused.data["error"]["code"] == "not-in-cluster", refused.text


@pytest.mark.promise("verify.rollback")
@pytest.mark.parametrize("restarted", [False, True])
async def test_a_restart_that_does_not_land_goes_back_to_the_pods_there_were(world, restarted):
    before = (await restart(world)).data["request"] if restarted else None
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "2"}}}
    world.kubectl("-n", world.namespace, "create", "-f", "-", stdin=json.dumps(quota))
    former = uids(world, "docs")

    failed = await restart(world)

    assert not failed.ok
    assert failed.data["state"] == "rolled_back", failed.text
    assert "quota" in failed.text
    assert mark(world) == before
    assert len(uids(world, "docs") & former) == 2


@pytest.mark.promise("recover.reobserve")
@pytest.mark.parametrize("state", ["applying", "verifying"])
async def test_a_killed_restart_restarts_once(world, state):
    former = uids(world, "docs")
    asked = await restart(world, wait_seconds=0)
    assert asked.ok, asked.text
    await world.reached(state)
    await world.restart()
    (row,) = await world.settled()

    assert row["state"] == "landed", row["receipt"]
    assert mark(world) == row["id"]
    assert not uids(world, "docs") & former
    live = world.live_object("deployment", "docs", world.namespace)
    assert live["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"


@pytest.mark.promise("policy.accepted")
async def test_a_policy_that_the_first_edition_accepted_grants_a_new_action_only_once_it_is_accepted_again(world):
    await world.stop()
    text = world.settings.policy_file.read_text(encoding="utf-8")
    ledger = await Ledger.open_in(world.settings.state_dir)
    await ledger.accept_policy(digest_of(text), text, "operator")  # as that edition noted it: without the actions
    await ledger.aclose()
    await world.start()

    refused = await restart(world)
    deployed = await world.tool("deploy", app="docs", version="0.13.4")
    assert refused.data["error"]["code"] == "policy-denied", refused.text
    assert "infra-mcp policy accept" in refused.text
    assert deployed.ok, deployed.text
    assert (await world.tool("status")).data["waiting_for_policy_accept"] == ["restart", "scale"]
    assert "waiting_for_policy_accept" not in (await world.tool("status", by="shop")).data

    await world.operate("operator/policy.accept", digest=digest_of(text))
    made = await restart(world)
    assert made.ok, made.text
    assert "waiting_for_policy_accept" not in (await world.tool("status")).data


async def restart(world, app="docs", **options):
    return await world.tool("change", action="restart", arguments={"app": app}, **options)


def mark(world):
    template = world.live_object("deployment", "docs", world.namespace)["spec"]["template"]
    return (template["metadata"].get("annotations") or {}).get(MARK)


def uids(world, app):
    """The pods of an app that are not on their way out."""
    found = json.loads(world.kubectl("-n", world.namespace, "get", "pods", "-l", f"app={app}", "-o", "json"))
    return {one["metadata"]["uid"] for one in found["items"] if "deletionTimestamp" not in one["metadata"]}


def worker(world, kind):
    labels = {"app": "worker"}
    pod = {"containers": [{"name": "worker", "image": "registry.example/docs/worker:1"}]}
    spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}
    names = {"statefulset": "StatefulSet", "daemonset": "DaemonSet"}
    if kind == "statefulset":
        spec |= {"serviceName": "worker", "replicas": 2}
    metadata = {"name": "worker", "namespace": world.namespace}
    return json.dumps({"apiVersion": "apps/v1", "kind": names[kind], "metadata": metadata, "spec": spec})
