"""A landed request rolled back by its asker: as a new request, through the same gates."""

import json

import pytest

pytestmark = [pytest.mark.anyio, pytest.mark.cluster, pytest.mark.promise("rollback.request")]

OLD, NEW = "registry.example/docs/site:0.13.3", "registry.example/docs/site:0.13.4"


@pytest.mark.core
async def test_a_landed_deploy_is_rolled_back_in_git_and_cluster_and_each_request_names_the_other(scenario):
    before = scenario.manifest.read_text(encoding="utf-8")
    made = await deploy(scenario, "0.13.4")

    shown = await rollback(scenario, made, dry_run=True)
    back = await rollback(scenario, made)

    assert shown.data["state"] == "previewed", shown.text
    assert back.ok, back.text
    assert back.data["message"] == (
        f"docs 0.13.3 runs again: {scenario.namespace}/deployment/docs, 2 of 2 replicas ready, image {OLD}; "
        f"{made} is rolled back"
    )
    assert (scenario.image(), scenario.manifest.read_text(encoding="utf-8")) == (OLD, before)
    subject, trailers = scenario.git("log", "-1", "--format=%s%n%b").split("\n", 1)
    assert subject == f"Roll back {made}: docs 0.13.3"
    assert f"Infra-Request: {back.data['request']}" in trailers

    looked = await scenario.tool("get_request", request_id=made)
    assert (looked.data["state"], looked.data["rolled_back_by"]) == ("landed", back.data["request"])
    assert looked.data["trail"][-1]["kind"] == "rolled-back"
    assert f"It was rolled back by {back.data['request']}." in looked.text
    assert (await scenario.tool("get_request", request_id=back.data["request"])).data["rolls_back"] == made
    status = (await scenario.tool("status")).data
    assert {one["request"]: one.get("rolled_back_by") for one in status["recent"]}[made] == back.data["request"]
    assert status["apps"][0]["version"] == "0.13.3"
    found = (await scenario.tool("search_audit", query="runs again")).data["events"]
    assert {made, back.data["request"]} <= {one["request"] for one in found}


async def test_a_rollback_is_rolled_back_as_any_landed_request(scenario):
    before = scenario.manifest.read_text(encoding="utf-8")
    scaled = await scenario.tool("change", action="scale", arguments={"app": "docs", "replicas": 4})
    assert scaled.ok, scaled.text

    first = await rollback(scenario, scaled.data["request"])
    assert first.ok, first.text
    assert "docs scaled back to 2: " in first.text
    assert scenario.manifest.read_text(encoding="utf-8") == before
    second = await rollback(scenario, first.data["request"])

    assert second.ok, second.text
    assert "docs scaled back to 4: " in second.text
    assert "4 of 4 replicas ready" in second.text
    assert scenario.manifest.read_text(encoding="utf-8") == before.replace("replicas: 2 ", "replicas: 4 ")


async def test_what_others_changed_since_is_refused_with_file_field_and_values_and_the_later_one_goes_first(scenario):
    first = await deploy(scenario, "0.13.4")
    second = await deploy(scenario, "0.13.5")
    head = scenario.git("rev-parse", "HEAD")

    refused = await rollback(scenario, first)

    assert refused.data["code"] == "changed-since", refused.text
    field = '.spec.template.spec.containers[name="site"].image'
    assert f"k8s/teams/docs-site.yaml, {scenario.namespace}/deployment/docs {field}: '{NEW}' → " in refused.text
    assert "site:0.13.5'" in refused.text
    assert scenario.git("rev-parse", "HEAD") == head
    for one in (second, first):
        back = await rollback(scenario, one)
        assert back.ok, back.text
    assert scenario.image() == OLD


async def test_changes_of_others_in_the_same_file_stay(scenario):
    made = await deploy(scenario, "0.13.4")
    text = scenario.manifest.read_text(encoding="utf-8").replace("memory: 64Mi", "memory: 96Mi")
    scenario.manifest.write_text(text, encoding="utf-8")
    scenario.git("commit", "-qam", "More memory")

    back = await rollback(scenario, made)

    assert back.ok, back.text
    assert scenario.manifest.read_text(encoding="utf-8") == text.replace("0.13.4", "0.13.3")


async def test_what_is_back_already_is_unchanged_and_the_cluster_is_compared_all_the_same(scenario):
    made = await deploy(scenario, "0.13.4")
    scenario.git("revert", "--no-edit", "HEAD")
    head = scenario.git("rev-parse", "HEAD")

    back = await rollback(scenario, made)
    again = await rollback(scenario, made)

    assert back.data["state"] == "landed", back.text
    assert (scenario.image(), scenario.git("rev-parse", "HEAD")) == (OLD, head)
    assert again.data["state"] == "unchanged", again.text
    assert again.text.startswith("already so: docs 0.13.3 runs again")


async def test_what_would_remove_files_or_changed_none_or_did_not_land_is_refused_with_the_reason(scenario):
    space = scenario.fresh()
    made = await scenario.tool("provision_namespace", namespace=space, pull_secrets=["X"])
    restarted = await scenario.tool("change", action="restart", arguments={"app": "docs"})
    failed = await scenario.tool("deploy", app="docs", version="1-unpullable")
    head = scenario.git("rev-parse", "HEAD")

    for reply, reason in (
        (made, "which is a removal"),
        (restarted, "changed no file (restart)"),
        (failed, "is rolled_back: only what landed"),
    ):
        refused = await rollback(scenario, reply.data["request"])
        assert refused.data["code"] == "no-rollback", refused.text
        assert reason in refused.text
    assert scenario.git("rev-parse", "HEAD") == head
    assert scenario.live_object("namespace", space) is not None


@pytest.mark.promise("read.scoped")
async def test_a_request_of_another_circle_reads_the_same_as_none(scenario):
    made = await deploy(scenario, "0.13.4")

    theirs = await rollback(scenario, made, by="shop")
    none = await rollback(scenario, "req-000000000000", by="shop")

    assert theirs.data["code"] == none.data["code"] == "not-found"
    assert theirs.data["what"].replace(made, "ID") == none.data["what"].replace("req-000000000000", "ID")
    assert scenario.image() == NEW


async def test_a_bound_that_was_added_to_a_file_is_removed_from_file_and_cluster(scenario):
    space = scenario.fresh()
    first = await scenario.tool("provision_namespace", namespace=space, quota={"pods": 20})
    assert first.ok, first.text
    files = scenario.git("show", "--name-only", "--format=", "HEAD").split()
    (quota,) = [scenario.repo / path for path in files if "kind: ResourceQuota" in (scenario.repo / path).read_text()]
    before = quota.read_text(encoding="utf-8")
    second = await scenario.tool("provision_namespace", namespace=space, quota={"pods": 10, "cpu": "2"})
    assert second.ok, second.text
    assert hard(scenario, space) == {"pods": "10", "requests.cpu": "2", "limits.cpu": "2"}

    back = await rollback(scenario, second.data["request"])

    assert back.ok, back.text
    assert (hard(scenario, space), quota.read_text(encoding="utf-8")) == ({"pods": "20"}, before)
    again = await rollback(scenario, second.data["request"])
    assert again.data["state"] == "unchanged", again.text


async def test_a_number_that_git_did_not_have_is_refused_with_what_the_server_would_set_instead(scenario):
    text = scenario.manifest.read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if "replicas:" in line)
    scenario.manifest.write_text(text.replace(f"{line}\n", ""), encoding="utf-8")
    scenario.git("commit", "-qam", "No number of pods is set")
    made = await scenario.tool("change", action="scale", arguments={"app": "docs", "replicas": 4})
    assert made.ok, made.text
    head = scenario.git("rev-parse", "HEAD")

    refused = await rollback(scenario, made.data["request"])

    assert refused.data["code"] == "no-rollback", refused.text
    assert "Without it the API server would set 1" in refused.text
    live = scenario.live_object("deployment", "docs", scenario.namespace)
    assert (live["spec"]["replicas"], scenario.git("rev-parse", "HEAD")) == (4, head)


@pytest.mark.promise("verify.rollback")
async def test_a_rollback_that_does_not_land_is_undone_and_can_be_asked_for_again(scenario):
    made = await scenario.tool("change", action="scale", arguments={"app": "docs", "replicas": 1})
    assert made.ok, made.text
    after = scenario.manifest.read_text(encoding="utf-8")
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "1"}}}
    scenario.kubectl("-n", scenario.namespace, "create", "-f", "-", stdin=json.dumps(quota))

    failed = await rollback(scenario, made.data["request"])

    assert failed.data["state"] == "rolled_back", failed.text
    assert scenario.manifest.read_text(encoding="utf-8") == after
    assert "rolled_back_by" not in (await scenario.tool("get_request", request_id=made.data["request"])).data
    scenario.kubectl("-n", scenario.namespace, "delete", "resourcequota", "few")
    again = await rollback(scenario, made.data["request"])
    assert again.ok, again.text


@pytest.mark.promise("notify.order")
async def test_a_notice_does_not_bring_a_version_back_that_was_rolled_back_and_a_newer_one_deploys(scenario):
    more = scenario.apps() + 'deploy_on = "release/{version} merged"\n'
    await scenario.accept_policy(more)
    first = (await scenario.notify("release/0.13.4 merged")).data
    assert first["requests"], first
    made = await scenario.reached("landed")
    assert (await rollback(scenario, made)).ok

    again = await scenario.notify("release/0.13.4 merged")

    (refused,) = again.data["refused"]
    assert (refused["code"], scenario.image()) == ("rolled-back", OLD)
    newer = await scenario.notify("release/0.13.5 merged")
    await scenario.outcome(newer.text.split()[0])
    assert scenario.image().endswith(":0.13.5")
    assert await deploy(scenario, "0.13.4"), "by name it comes back"


async def deploy(scenario, version):
    made = await scenario.tool("deploy", app="docs", version=version)
    assert made.ok, made.text
    return made.data["request"]


async def rollback(scenario, request, **options):
    return await scenario.tool("rollback", request=request, **options)


def hard(scenario, space):
    (found,) = json.loads(scenario.kubectl("-n", space, "get", "resourcequota", "-o", "json"))["items"]
    return found["spec"]["hard"]


WORKER = """
[apps.worker]
owner = "docs"
workload = "{namespace}/deployment/worker"
image = "registry.example/docs/worker:{{version}}"
grace = "1s"
timeout = "30s"
"""


async def test_a_version_that_an_overlay_decides_is_rolled_back_where_it_was_set(scenario):
    labels, pod = {"app": "worker"}, {"containers": [{"name": "worker", "image": "registry.example/docs/worker:none"}]}
    spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "worker"}, "spec": spec}
    overlay = (
        f"namespace: {scenario.namespace}\nresources: [../../base]\nimages:\n"
        '  - name: registry.example/docs/worker\n    newTag: "1.0.0"  # the release\n'
    )
    files = {
        "base/deployment.json": json.dumps(body),
        "base/kustomization.yaml": "resources: [deployment.json]\n",
        "overlays/live/kustomization.yaml": overlay,
    }
    for path, text in files.items():
        (scenario.repo / "k8s" / path).parent.mkdir(parents=True, exist_ok=True)
        (scenario.repo / "k8s" / path).write_text(text, encoding="utf-8")
    scenario.git("add", ".")
    scenario.git("commit", "-q", "-m", "A worker")
    scenario.kubectl("apply", "-k", scenario.repo / "k8s" / "overlays" / "live")
    await scenario.accept_policy(scenario.apps() + WORKER.format(namespace=scenario.namespace))
    made = await scenario.tool("deploy", app="worker", version="1.1.0")
    assert made.ok, made.text

    back = await rollback(scenario, made.data["request"])
    again = await rollback(scenario, made.data["request"])

    assert back.ok, back.text
    assert "worker 1.0.0 runs again" in back.text
    assert again.data["state"] == "unchanged", again.text
    assert (scenario.repo / "k8s/overlays/live/kustomization.yaml").read_text(encoding="utf-8") == overlay
    live = scenario.live_object("deployment", "worker", scenario.namespace)
    assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example/docs/worker:1.0.0"
