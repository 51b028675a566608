"""What is said of a rollout: that a version runs only where its pods do, and why not where they do not."""

from contextlib import asynccontextmanager

import anyio
import pytest
import yaml
from anyio import to_thread
from e2e import denials
from e2e.scenario import Scenario

pytestmark = [pytest.mark.anyio, pytest.mark.cluster, pytest.mark.timeout(180)]

APP = """\
[apps.web]
owner = "docs"
workload = "{namespace}/{kind}/web"
image = "registry.example/docs/site:{{version}}"
grace = "1s"
timeout = "{timeout}"
"""
NOWHERE = {"nodeSelector": {"no": "node"}}
ORDERED = {"replicas": 2}


def manifest(namespace, kind, pod, spec):
    labels = {"app": "web"}
    containers = [{"name": "site", "image": "registry.example/docs/site:1.0.0"}]
    template = {"metadata": {"labels": labels}, "spec": {"containers": containers, **pod}}
    more = {"serviceName": "web"} if kind == "StatefulSet" else {}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **more, **spec},
    }


@pytest.fixture
def living(cluster_setup, tmp_path):
    """A scenario in which the app `web` is a workload of a kind, applied by hand at 1.0.0."""

    @asynccontextmanager
    async def make(kind, pod=None, *, within="15s", up=True, **spec):
        scenario = Scenario(cluster_setup, tmp_path)
        scenario.policy = APP.format(namespace=scenario.namespace, kind=kind.lower(), timeout=within)
        file = scenario.repo / "k8s" / "web.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(yaml.safe_dump(manifest(scenario.namespace, kind, pod or {}, spec)), encoding="utf-8")
        async with scenario:
            await to_thread.run_sync(scenario.kubectl, "apply", "-f", file)
            if up:
                where = ("-n", scenario.namespace, "rollout", "status", f"{kind.lower()}/web", "--timeout=60s")
                await to_thread.run_sync(lambda: scenario.kubectl(*where))
            yield scenario

    return make


def images(scenario):
    """The image of each pod of the app that is not being deleted."""
    found = yaml.safe_load(scenario.kubectl("-n", scenario.namespace, "get", "pods", "-l", "app=web", "-o", "json"))[
        "items"
    ]
    alive = [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]
    return sorted(pod["spec"]["containers"][0]["image"].rpartition(":")[2] for pod in alive)


@pytest.mark.fault("f01")
@pytest.mark.parametrize("replicas", [1, 3])
async def test_the_return_to_a_good_version_lands_after_the_bad_ones_deadline_has_passed(living, replicas):
    async with living("Deployment", replicas=replicas, progressDeadlineSeconds=2) as scenario:
        bad = await scenario.tool("deploy", app="web", version="1.0.1-notready", on_failure="hold")

        good = await scenario.tool("deploy", app="web", version="1.0.0")

        assert "progress deadline" in bad.text
        assert good.data["state"] == "landed", good.text
        assert f"{replicas} of {replicas} replicas ready" in good.text
        assert images(scenario) == ["1.0.0"] * replicas


@pytest.mark.fault("f01")
async def test_a_rollback_is_not_judged_by_the_deadline_that_the_bad_version_missed(living):
    async with living("Deployment", replicas=1, progressDeadlineSeconds=2) as scenario:
        bad = await scenario.tool("deploy", app="web", version="1.0.1-notready")

        assert "progress deadline" in bad.text
        assert bad.data["state"] == "rolled_back", bad.text
        assert "runs registry.example/docs/site:1.0.0 again" in bad.text


@pytest.mark.fault("f03")
async def test_a_partitioned_rollout_that_is_stuck_names_its_pod_too(living):
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    async with living("StatefulSet", within="6s", replicas=3, updateStrategy=strategy) as scenario:
        stuck = await scenario.tool("deploy", app="web", version="1.1.0-unpullable")

        assert (stuck.data["state"], stuck.data["exit"]) == ("needs_operator", 7), stuck.text
        assert f"kubectl -n {scenario.namespace} delete pod web-2" in stuck.text


@pytest.mark.fault("f02")
@pytest.mark.parametrize("partition", [1, 2])
async def test_a_partition_lands_with_the_number_of_pods_that_run_the_new_version(living, partition):
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}
    async with living("StatefulSet", replicas=3, updateStrategy=strategy) as scenario:
        made = await scenario.tool("deploy", app="web", version="1.1.0")

        assert made.data["state"] == "landed", made.text
        assert images(scenario).count("1.1.0") == 3 - partition
        assert f"{3 - partition} of 3 replicas" in made.text
        assert "partition" in made.text
        assert "3 of 3" not in made.text


@pytest.mark.fault("f02")
@pytest.mark.parametrize("partition", [3, 7])
async def test_a_partition_above_all_pods_does_not_land(living, partition):
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}
    async with living("StatefulSet", replicas=3, updateStrategy=strategy) as scenario:
        made = await scenario.tool("deploy", app="web", version="1.1.0")

        assert (made.data["state"], made.data["exit"]) == ("rolled_back", 1), made.text
        assert "partition" in made.text
        assert images(scenario) == ["1.0.0"] * 3


@pytest.mark.fault("f03")
@pytest.mark.parametrize("bad", ["1.1.0-unpullable", "1.1.0-crash", "1.1.0-notready"])
async def test_a_pod_that_blocks_an_ordered_rollout_is_named_until_someone_deletes_it(living, bad):
    async with living("StatefulSet", within="6s", **ORDERED) as scenario:
        for version in (bad, "1.2.0"):
            stuck = await scenario.tool("deploy", app="web", version=version)

            assert (stuck.data["state"], stuck.data["exit"]) == ("needs_operator", 7), stuck.text
            assert f"kubectl -n {scenario.namespace} delete pod web-1" in stuck.text
            assert "Rolled back" not in stuck.text

        scenario.kubectl("-n", scenario.namespace, "delete", "pod", "web-1")
        made = await scenario.tool("deploy", app="web", version="1.2.0")

        assert made.data["state"] == "landed", made.text
        assert images(scenario) == ["1.2.0"] * 2


@pytest.mark.fault("f03", "r12")
async def test_a_pod_that_was_pending_before_the_deploy_is_named_with_its_cause(living):
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": "none",
    }
    claims = [{"metadata": {"name": "data"}, "spec": claim}]
    async with living("StatefulSet", up=False, replicas=3, volumeClaimTemplates=claims) as scenario:
        with anyio.fail_after(40):
            while images(scenario) != ["1.0.0"]:
                await anyio.lowlevel.checkpoint()
        made = await scenario.tool("deploy", app="web", version="1.1.0")

        assert made.data["exit"] == 7, made.text
        assert "no node takes pod web-0" in made.text
        assert "PersistentVolumeClaim" in made.text


@pytest.mark.fault("f04")
@pytest.mark.parametrize(
    ("kind", "pod", "spec"),
    [("Deployment", {}, {"replicas": 0}), ("StatefulSet", {}, {"replicas": 0}), ("DaemonSet", NOWHERE, {})],
)
async def test_a_workload_without_pods_is_not_said_to_run(living, kind, pod, spec):
    async with living(kind, pod, **spec) as scenario:
        made = await scenario.tool("deploy", app="web", version="1.1.0")
        again = await scenario.tool("deploy", app="web", version="1.1.0")
        status = await scenario.tool("status", app="web")

        assert made.data["state"] == "landed", made.text
        for text in (made.text, again.text):
            assert "runs as" not in text
            assert "no pod runs it" in text
        assert "no pod runs" in status.data["reason"]


def reordered(scenario):
    """The app's containers in another order in git than in the cluster."""
    file = scenario.repo / "k8s" / "web.yaml"
    found = yaml.safe_load(file.read_text(encoding="utf-8"))
    found["spec"]["template"]["spec"]["containers"].reverse()
    file.write_text(yaml.safe_dump(found), encoding="utf-8")
    scenario.git("commit", "-qam", "Another order")


@pytest.mark.fault("d11")
async def test_containers_in_another_order_are_the_same_containers(living):
    both = [{"name": name, "image": "registry.example/docs/site:1.0.0"} for name in ("site", "worker")]
    async with living("Deployment", {"containers": both}, replicas=1) as scenario:
        reordered(scenario)
        made = await scenario.tool("deploy", app="web", version="1.1.0")

        assert made.data["state"] == "landed", made.text
        live = scenario.live_object("deployment", "web", scenario.namespace)["spec"]["template"]["spec"]["containers"]
        assert [(one["name"], one["image"].rpartition(":")[2]) for one in live] == [
            ("site", "1.1.0"),
            ("worker", "1.1.0"),
        ]


@pytest.mark.fault("d11")
async def test_another_container_of_the_app_in_git_than_in_the_cluster_is_refused(living):
    both = [{"name": name, "image": "registry.example/docs/site:1.0.0"} for name in ("site", "worker")]
    async with living("Deployment", {"containers": both}, replicas=1) as scenario:
        file = scenario.repo / "k8s" / "web.yaml"
        file.write_text(file.read_text(encoding="utf-8").replace("name: worker", "name: helper"), encoding="utf-8")
        scenario.git("commit", "-qam", "Another name")
        made = await scenario.tool("deploy", app="web", version="1.1.0")

        assert made.data["error"]["code"] == "not-in-cluster", made.text


@pytest.mark.fault("d09")
async def test_status_names_what_git_says_and_the_cluster_does_not(scenario):
    for what in ({"app": "docs"}, {"namespace": scenario.namespace}):
        assert (await scenario.tool("status", **what)).data["drift"] == []

    scenario.kubectl("-n", scenario.namespace, "scale", "deployment/docs", "--replicas=5")
    scenario.kubectl(
        "-n", scenario.namespace, "create", "deployment", "by-hand", "--image=registry.example/docs/site:1"
    )

    place = f"{scenario.namespace}/deployment/docs"
    for what in ({"app": "docs"}, {"namespace": scenario.namespace}):
        found = (await scenario.tool("status", **what)).data["drift"]
        assert f"{place}.spec.replicas: git 2, live 5" in found
    assert f"{scenario.namespace}/deployment/by-hand: not in git" in found


@pytest.mark.fault("f09")
@pytest.mark.fault("d09")
async def test_what_kubectl_writes_of_a_new_deployment_is_no_drift(scenario):
    """Its nulls and empty objects, and a variable that stands twice."""
    new = ("create", "deployment", "fresh", "--image=registry.example/docs/site:1", "--dry-run=client", "-o", "yaml")
    found = yaml.safe_load(scenario.kubectl("-n", scenario.namespace, *new))
    twice = {"name": "A", "value": "1"}
    container = found["spec"]["template"]["spec"]["containers"][0]
    container |= {"command": None, "env": [twice, {"name": "B", "value": "2"}, twice]}
    found["spec"]["template"]["metadata"]["creationTimestamp"] = None
    text = yaml.safe_dump(found)
    assert "null" in text
    (scenario.repo / "k8s" / "fresh.yaml").write_text(text, encoding="utf-8")
    scenario.git("add", ".")
    scenario.git("commit", "-qm", "A fresh one")
    scenario.kubectl("-n", scenario.namespace, "create", "-f", scenario.repo / "k8s" / "fresh.yaml")

    assert (await scenario.tool("status", namespace=scenario.namespace)).data["drift"] == []


@pytest.mark.fault("d09")
async def test_status_names_what_is_in_git_and_not_in_the_cluster(scenario):
    scenario.kubectl("-n", scenario.namespace, "delete", "deployment", "docs")

    for what in ({"app": "docs"}, {"namespace": scenario.namespace}):
        found = (await scenario.tool("status", **what)).data["drift"]
        assert f"{scenario.namespace}/deployment/docs: not in the cluster" in found


@pytest.mark.fault("w14")
@pytest.mark.parametrize("when", ["at_the_write", "at_the_rollout"])
async def test_rights_refused_for_a_moment_after_the_beginning_end_nothing(scenario, when):
    await scenario.restart(getattr(denials, when))

    made = await scenario.tool("deploy", app="docs", version="0.13.4")

    assert made.data["state"] == "landed", made.text
    assert scenario.image() == "registry.example/docs/site:0.13.4"


@pytest.mark.fault("w14")
async def test_rights_refused_for_a_moment_end_no_undo(scenario):
    await scenario.restart(denials.at_the_undo)

    made = await scenario.tool("deploy", app="docs", version="0.13.4-unpullable")

    assert made.data["state"] == "rolled_back", made.text
    assert scenario.image() == "registry.example/docs/site:0.13.3"


@pytest.mark.fault("w14")
async def test_rights_refused_for_good_end_the_request(scenario):
    await scenario.restart(denials.for_good)

    made = await scenario.tool("deploy", app="docs", version="0.13.4", wait_seconds=100)

    assert made.data["state"] in {"failed", "needs_operator"}, made.text
    assert "forbidden" in made.text


@pytest.mark.fault("l08")
async def test_status_names_a_field_that_was_removed_from_git_and_stays_live_with_its_owner(scenario):
    text = scenario.manifest.read_text(encoding="utf-8")
    scenario.manifest.write_text(text.replace("  labels: {app: docs}\nspec:", "spec:"), encoding="utf-8")
    scenario.git("commit", "-qam", "No label of its own")

    found = (await scenario.tool("status", app="docs")).data["drift"]

    assert any(".metadata.labels" in line and "kubectl" in line for line in found)
