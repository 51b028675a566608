"""An app restarted: new pods, once, and nothing in git."""

import json
import re
import signal
from functools import partial

import anyio
import pytest
from e2e.fault_injection import Point, observe, undisturbed

from infra_mcp.ledger import Ledger
from infra_mcp.policy.policy import digest_of

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
async def test_a_restart_makes_new_pods_of_the_same_version_and_says_so(scenario):
    former, head = uids(scenario, "docs"), scenario.git("rev-parse", "HEAD")

    made = await restart(scenario)

    assert made.ok, made.text
    assert f"docs restarted: {scenario.namespace}/deployment/docs, 2 of 2 replicas ready" in made.text
    assert "image registry.example/docs/site:0.13.3" in made.text
    assert len(uids(scenario, "docs")) == 2
    assert not uids(scenario, "docs") & former
    assert mark(scenario) == made.data["request"]
    assert scenario.git("rev-parse", "HEAD") == head
    deployed = await scenario.tool("deploy", app="docs", version="0.13.4")
    assert deployed.ok, deployed.text


async def test_a_plan_shows_what_a_restart_writes_and_that_no_file_changes(scenario):
    shown = await restart(scenario, dry_run=True)

    assert shown.ok, shown.text
    (one,) = shown.data["plan"]["objects"]
    assert any(MARK in change for change in one["changes"])
    assert shown.data["plan"]["files"] == []
    assert mark(scenario) is None


@pytest.mark.promise("intake.dedupe")
async def test_the_same_key_again_restarts_once_and_another_request_again(scenario):
    first = await restart(scenario, idempotency_key="restart-1")
    after = uids(scenario, "docs")
    second = await restart(scenario, idempotency_key="restart-1")
    assert second.data["request"] == first.data["request"]
    assert uids(scenario, "docs") == after

    third = await restart(scenario)
    assert third.ok, third.text
    assert not uids(scenario, "docs") & after


@pytest.mark.promise("seam.action")
@pytest.mark.parametrize(
    ("words", "says"), [("restart docs", "docs restarted: "), ("scale docs to 3", "scaled to 3: ")]
)
async def test_words_that_mean_it_are_answered_with_the_block_that_does_it(scenario, words, says):
    told = await scenario.ask(words)
    assert not told.ok
    block = re.search(r"```infra\n.*?```", told.text, re.DOTALL)
    assert block, told.text
    done = await scenario.ask(block.group())

    assert done.ok, done.text
    assert says in done.text


@pytest.mark.parametrize("kind", ["statefulset", "daemonset"])
async def test_other_workloads_restart_too_though_git_does_not_have_them(scenario, kind):
    await scenario.accept_policy(scenario.apps() + MORE.format(namespace=scenario.namespace, kind=kind))
    scenario.kubectl("apply", "-f", "-", stdin=worker(scenario, kind))
    scenario.kubectl("-n", scenario.namespace, "rollout", "status", f"{kind}/worker", "--timeout=60s")
    former = uids(scenario, "worker")

    made = await restart(scenario, "worker")

    assert made.ok, made.text
    assert f"worker restarted: {scenario.namespace}/{kind}/worker, " in made.text
    assert len(uids(scenario, "worker")) == len(former) > 0
    assert not uids(scenario, "worker") & former
    scaled = await scenario.tool("change", action="scale", arguments={"app": "worker", "replicas": 2})
    assert scaled.data["error"]["code"] == "not-in-repository", scaled.text


async def test_a_workload_without_pods_is_said_to_run_none(scenario):
    scenario.kubectl("-n", scenario.namespace, "scale", "deployment/docs", "--replicas=0")

    made = await restart(scenario)

    assert made.ok, made.text
    assert "docs is set in" in made.text
    assert "no pod runs it" in made.text
    assert "restarted" not in made.text


async def test_a_paused_rollout_is_refused_before_anything_is_written(scenario):
    scenario.kubectl("-n", scenario.namespace, "rollout", "pause", "deployment/docs")

    refused = await restart(scenario)

    assert not refused.ok
    assert refused.data["error"]["code"] == "object-invalid", refused.text
    assert "paused" in refused.text
    assert mark(scenario) is None


async def test_a_workload_that_is_not_in_the_cluster_cannot_be_restarted(scenario):
    scenario.kubectl("-n", scenario.namespace, "delete", "deployment/docs")

    refused = await restart(scenario)

    assert refused.data["error"]["code"] == "not-in-cluster", refused.text


@pytest.mark.promise("verify.rollback")
@pytest.mark.parametrize("restarted", [False, True])
async def test_a_restart_that_does_not_land_goes_back_to_the_pods_there_were(scenario, restarted):
    before = (await restart(scenario)).data["request"] if restarted else None
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "2"}}}
    scenario.kubectl("-n", scenario.namespace, "create", "-f", "-", stdin=json.dumps(quota))
    former = uids(scenario, "docs")

    failed = await restart(scenario)

    assert not failed.ok
    assert failed.data["state"] == "rolled_back", failed.text
    assert "quota" in failed.text
    assert mark(scenario) == before
    assert len(uids(scenario, "docs") & former) == 2


@pytest.mark.promise("recover.reobserve")
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_restart_killed_at_its_write_restarts_once(scenario, when):
    former = uids(scenario, "docs")
    await scenario.stop()
    points = str(scenario.home / "points")
    await scenario.start(partial(observe, points, Point("kube.apply", when)))
    async with anyio.create_task_group() as group:
        group.start_soon(undisturbed, partial(restart, scenario))
        assert await scenario.gone() == -signal.SIGKILL
        await scenario.start()
        (row,) = await scenario.settled()
        group.cancel_scope.cancel()

    assert row["state"] == "landed", row["receipt"]
    assert mark(scenario) == row["id"]
    assert len(uids(scenario, "docs")) == 2
    assert not uids(scenario, "docs") & former
    live = scenario.live_object("deployment", "docs", scenario.namespace)
    assert live["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"


@pytest.mark.promise("policy.accepted")
async def test_a_policy_that_the_first_edition_accepted_grants_a_new_action_only_once_it_is_accepted_again(scenario):
    await scenario.stop()
    text = scenario.settings.policy_file.read_text(encoding="utf-8")
    ledger = await Ledger.open_in(scenario.settings.state_dir)
    await ledger.accept_policy(digest_of(text), text, "operator")  # as that edition noted it: without the actions
    await ledger.aclose()
    await scenario.start()

    refused = await restart(scenario)
    deployed = await scenario.tool("deploy", app="docs", version="0.13.4")
    assert refused.data["error"]["code"] == "policy-denied", refused.text
    assert "infra-mcp policy accept" in refused.text
    assert deployed.ok, deployed.text
    waiting = (await scenario.tool("status")).data["waiting_for_policy_accept"]
    assert set(waiting) == {"change_set", "configure", "restart", "rollback", "scale"}
    assert "waiting_for_policy_accept" not in (await scenario.tool("status", by="shop")).data

    await scenario.operate("operator/policy.accept", digest=digest_of(text))
    made = await restart(scenario)
    assert made.ok, made.text
    assert "waiting_for_policy_accept" not in (await scenario.tool("status")).data


async def restart(scenario, app="docs", **options):
    return await scenario.tool("change", action="restart", arguments={"app": app}, **options)


def mark(scenario):
    template = scenario.live_object("deployment", "docs", scenario.namespace)["spec"]["template"]
    return (template["metadata"].get("annotations") or {}).get(MARK)


def uids(scenario, app):
    """The pods of an app that are not on their way out."""
    found = json.loads(scenario.kubectl("-n", scenario.namespace, "get", "pods", "-l", f"app={app}", "-o", "json"))
    return {one["metadata"]["uid"] for one in found["items"] if "deletionTimestamp" not in one["metadata"]}


def worker(scenario, kind):
    labels = {"app": "worker"}
    pod = {"containers": [{"name": "worker", "image": "registry.example/docs/worker:1"}]}
    spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}
    names = {"statefulset": "StatefulSet", "daemonset": "DaemonSet"}
    if kind == "statefulset":
        spec |= {"serviceName": "worker", "replicas": 2}
    metadata = {"name": "worker", "namespace": scenario.namespace}
    return json.dumps({"apiVersion": "apps/v1", "kind": names[kind], "metadata": metadata, "spec": spec})
