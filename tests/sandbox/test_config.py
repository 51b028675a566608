import json
import re
import secrets
import subprocess

import pytest
import yaml
from sandbox_scripts import kubectl

from infra_mcp.sandbox.config import MODES, stages

LABEL = "infra-mcp.dev/sandbox"


def test_every_stage_is_complete_and_has_its_own_name():
    every = stages()
    assert "${" not in yaml.safe_dump_all(every)
    names = [stage["metadata"]["name"] for stage in every]
    assert len(set(names)) == len(names) > 8
    assert {stage["spec"]["resourceRef"]["kind"] for stage in every} == {"Node", "Pod", "PersistentVolumeClaim"}


def test_every_failure_mode_has_its_word_in_all_stages():
    text = yaml.safe_dump_all(stages(), width=10_000)
    lists = {tuple(sorted(found.split("|"))) for found in re.findall(r"-\((?:\?<word>)?([a-z|]+)\)", text)}
    assert lists == {tuple(sorted(MODES.values()))}
    for mode, word in MODES.items():
        assert re.search(rf'"{word}\W+{mode}', text), mode


@pytest.fixture(scope="module")
def namespace(control_plane):
    """A namespace with a pod for each way to fail, by image and by label, and some that do well."""
    name = f"stages-{secrets.token_hex(4)}"
    kubectl(control_plane, "create", "namespace", name)
    kubectl(control_plane, "-n", name, "wait", "--for=create", "serviceaccount/default", "--timeout=30s")
    pods = [_pod("well", "registry.example:5000/docs/site:1.2")]
    pods += [_pod(f"{mode}-by-image", f"registry.example:5000/docs/site:1.2-{word}") for mode, word in MODES.items()]
    pods += [_pod(f"{mode}-by-label", "registry.example:5000/docs/site:1.2", mode) for mode in MODES]
    pods += [_job("fails", "site:1-crash"), _job("ends", "site:1")]
    subprocess.run(
        [control_plane.kubectl, "--kubeconfig", control_plane.kubeconfig, "-n", name, "create", "-f", "-"],
        input=json.dumps({"apiVersion": "v1", "kind": "List", "items": pods}),
        text=True,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    yield name
    kubectl(control_plane, "delete", "namespace", name, "--wait=false")


def _pod(name, image, mode=None):
    containers = [{"name": "web", "image": image}, {"name": "side", "image": "registry.example/side:1"}]
    labels = {"app": name} | ({LABEL: mode} if mode else {})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": containers},
    }


def _job(name, image):
    pod = {"restartPolicy": "Never", "containers": [{"name": "work", "image": image}]}
    spec = {"backoffLimit": 0, "template": {"spec": pod}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


@pytest.fixture
def pod(control_plane, namespace):
    """Waits until a pod's first container has a state, `path=value`, and returns the pod."""

    def wait(name, path, value):
        condition = f"--for=jsonpath={{.status.{path}}}={value}"
        kubectl(control_plane, "-n", namespace, "wait", f"pod/{name}", condition, "--timeout=60s")
        return json.loads(kubectl(control_plane, "-n", namespace, "get", "pod", name, "-o", "json"))

    return wait


@pytest.fixture
def events(control_plane, namespace):
    """The events about a pod, which were there before its state: type and reason -> the messages."""

    def of(name):
        listed = kubectl(control_plane, "-n", namespace, "events", "--for", f"pod/{name}", "-o", "json")
        found = {}
        for event in json.loads(listed)["items"]:
            found.setdefault((event["type"], event["reason"]), []).append(event["message"])
        return found

    return of


WAITING = "containerStatuses[0].state.waiting.reason"
WAYS = pytest.mark.parametrize("way", ["by-image", "by-label"])


def _web(pod):
    return pod["status"]["containerStatuses"][0]


def _side(pod):
    return pod["status"]["containerStatuses"][1]


def _condition(pod, kind="Ready"):
    return next(found for found in pod["status"]["conditions"] if found["type"] == kind)


def _assert_unready(pod, way):
    """Not ready, as a kubelet says it: by image only the one container is named, by label every one."""
    names = "web" if way == "by-image" else "side web"
    assert (_condition(pod)["status"], _condition(pod)["reason"]) == ("False", "ContainersNotReady")
    assert _condition(pod)["message"] == f"containers with unready status: [{names}]"
    assert _side(pod)["ready"] is (way == "by-image")
    assert _condition(pod, "PodScheduled")["status"] == "True"


@pytest.mark.cluster
@pytest.mark.promise("sandbox.real")
def test_a_healthy_pod_is_ready(pod):
    found = pod("well", "phase", "Running")
    assert _condition(found)["status"] == "True"
    assert all(status["ready"] and status["restartCount"] == 0 for status in found["status"]["containerStatuses"])
    assert found["status"]["podIP"]


@pytest.mark.cluster
@pytest.mark.promise("sandbox.real")
@WAYS
def test_an_image_that_cannot_be_pulled_ends_in_back_off(pod, events, way):
    name = f"image-never-pulls-{way}"
    found = pod(name, WAITING, "ImagePullBackOff")
    image = _web(found)["image"]
    message = _web(found)["state"]["waiting"]["message"]
    assert message.startswith(f'Back-off pulling image "{image}": ErrImagePull: failed to pull and unpack image')
    assert message.endswith(": not found")
    assert found["status"]["phase"] == "Pending"
    assert (_web(found)["started"], _web(found)["imageID"], _web(found)["restartCount"]) == (False, "", 0)
    _assert_unready(found, way)
    messages = events(name)
    assert messages["Normal", "Pulling"] == [f'Pulling image "{image}"']
    assert messages["Normal", "BackOff"] == [f'Back-off pulling image "{image}"']
    assert {"Error: ErrImagePull", "Error: ImagePullBackOff"} < set(messages["Warning", "Failed"])
    (pulled,) = (line for line in messages["Warning", "Failed"] if line.startswith(f'Failed to pull image "{image}"'))
    assert pulled.endswith(": not found")


@pytest.mark.cluster
@WAYS
def test_an_image_whose_registry_answers_late_is_pulled_in_the_end(pod, events, way):
    name = f"image-pulls-late-{way}"
    found = pod(name, "containerStatuses[0].ready", "true")
    assert _condition(found)["status"] == "True"
    assert any(line.endswith("i/o timeout") for line in events(name)["Warning", "Failed"])


@pytest.mark.cluster
@WAYS
def test_an_invalid_image_name_is_reported(pod, events, way):
    found = pod(f"image-invalid-{way}", WAITING, "InvalidImageName")
    assert "invalid reference format" in _web(found)["state"]["waiting"]["message"]
    assert found["status"]["phase"] == "Pending"
    _assert_unready(found, way)
    assert "Error: InvalidImageName" in events(f"image-invalid-{way}")["Warning", "Failed"]


@pytest.mark.cluster
@pytest.mark.promise("sandbox.real")
@WAYS
def test_a_crash_loop_backs_off_and_counts_its_restarts(pod, events, way):
    name = f"crash-loop-{way}"
    pod(name, "containerStatuses[0].restartCount", "4")
    found = pod(name, WAITING, "CrashLoopBackOff")
    uid, namespace = found["metadata"]["uid"], found["metadata"]["namespace"]
    waiting = _web(found)["state"]["waiting"]["message"]
    assert re.fullmatch(rf"back-off \d+s restarting failed container=web pod={name}_{namespace}\({uid}\)", waiting)
    ended = _web(found)["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (1, "Error")
    assert found["status"]["phase"] == "Running"
    _assert_unready(found, way)
    (line,) = events(name)["Warning", "BackOff"]
    assert re.fullmatch(rf"Back-off restarting failed container \w+ in pod {name}_{namespace}\({uid}\)", line)


@pytest.mark.cluster
@WAYS
def test_a_crash_loop_may_lack_the_reason_crash_loop_back_off(pod, events, way):
    name = f"crash-unnamed-{way}"
    found = pod(name, "containerStatuses[0].restartCount", "4")
    assert "waiting" not in _web(found)["state"]
    assert _web(found)["state"]["terminated"]["exitCode"] == 1
    assert _web(found)["lastState"]["terminated"]["exitCode"] == 1
    _assert_unready(found, way)
    assert len(events(name)["Warning", "BackOff"]) == 1


@pytest.mark.cluster
@WAYS
def test_a_crash_may_come_after_it_was_ready(pod, way):
    name = f"crash-later-{way}"
    pod(name, "containerStatuses[0].restartCount", "4")
    found = pod(name, WAITING, "CrashLoopBackOff")
    _assert_unready(found, way)
    ran = _condition(found)["lastTransitionTime"]
    assert ran > _condition(found, "PodScheduled")["lastTransitionTime"]


@pytest.mark.cluster
@WAYS
def test_a_pod_whose_probe_fails_runs_and_is_never_ready(pod, events, way):
    name = f"never-ready-{way}"
    found = pod(name, "phase", "Running")
    assert "running" in _web(found)["state"]
    assert (_web(found)["started"], _web(found)["ready"]) == (True, False)
    _assert_unready(found, way)
    assert "Readiness probe failed" in events(name)["Warning", "Unhealthy"][0]


@pytest.mark.cluster
@WAYS
def test_a_slow_pod_is_ready_in_the_end(pod, events, way):
    found = pod(f"slow-{way}", "containerStatuses[0].ready", "true")
    assert _condition(found)["status"] == "True"
    assert events(f"slow-{way}")["Warning", "Unhealthy"]


@pytest.mark.cluster
def test_jobs_end_well_or_not(control_plane, namespace):
    for job, condition in (("ends", "Complete"), ("fails", "Failed")):
        kubectl(control_plane, "-n", namespace, "wait", f"job/{job}", f"--for=condition={condition}", "--timeout=60s")


@pytest.mark.cluster
@pytest.mark.promise("sandbox.real")
def test_a_new_version_alone_makes_a_deployment_fail_and_the_old_one_repairs_it(control_plane, namespace):
    def run(*arguments):
        return kubectl(control_plane, "-n", namespace, *arguments)

    run("create", "deployment", "docs", "--image=registry.example/docs/site:1.1", "--replicas=2")
    run("rollout", "status", "deployment/docs", "--timeout=60s")
    run("set", "image", "deployment/docs", "site=registry.example/docs/site:1.2-unpullable")
    failing = "--for=jsonpath={.status.unavailableReplicas}=1"
    run("wait", "deployment/docs", failing, "--timeout=60s")
    found = json.loads(run("get", "deployment", "docs", "-o", "json"))
    assert found["status"]["availableReplicas"] == 2
    run("set", "image", "deployment/docs", "site=registry.example/docs/site:1.1")
    run("rollout", "status", "deployment/docs", "--timeout=60s")


@pytest.mark.cluster
@pytest.mark.fault("r11")
@pytest.mark.parametrize("storage", [None, "fast"])
def test_a_claim_gets_a_volume_of_its_class_so_that_a_stateful_set_comes_up(control_plane, namespace, storage):
    name = f"with-{storage or 'no'}-class"
    kind = {} if storage is None else {"storageClassName": storage}
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **kind}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "web", "image": "site:1"}]}}
    body = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name},
        "spec": {
            "replicas": 2,
            "serviceName": name,
            "selector": {"matchLabels": {"app": name}},
            "template": template,
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
        },
    }
    subprocess.run(
        [control_plane.kubectl, "--kubeconfig", control_plane.kubeconfig, "-n", namespace, "create", "-f", "-"],
        input=json.dumps(body),
        text=True,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    kubectl(control_plane, "-n", namespace, "rollout", "status", f"statefulset/{name}", "--timeout=60s")
    claims = json.loads(kubectl(control_plane, "-n", namespace, "get", "pvc", "-o", "json"))["items"]
    mine = [one for one in claims if one["metadata"]["name"].startswith(f"data-{name}-")]

    assert [(one["status"]["phase"], one["status"]["capacity"]["storage"]) for one in mine] == [("Bound", "1Gi")] * 2
