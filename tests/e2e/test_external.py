"""Where others deliver: what is pushed is confirmed by the evidence that policy names, and by nothing else."""

from __future__ import annotations

import anyio
import pytest
from e2e.delivered import WORKLOAD, Delivered, Pipeline
from git_server import GitServer

from infra_mcp.model.request import END, State

pytestmark = [pytest.mark.anyio, pytest.mark.cluster, pytest.mark.promise("delivery.external")]

OLD, NEW = "registry.example/docs/site:1.0.0", "registry.example/docs/site:1.2.0"


@pytest.fixture
async def delivered(request, cluster_setup, tmp_path, anyio_backend):  # noqa: ARG001 - the loop it runs on
    """A scenario whose remote is a git server over HTTP; a test's parameters are the scenario's."""
    server = GitServer(tmp_path / "lab")
    (tmp_path / "lab").mkdir()
    with server.up():
        more = getattr(request, "param", {})
        async with Delivered(cluster_setup, tmp_path / "lab", git_server=server, **more) as made:
            yield made


async def _deploy(delivered, version="1.2.0", **more):
    return await delivered.tool("deploy", app="docs", version=version, **more)


async def _until(so):
    with anyio.fail_after(60):
        while not await so():  # noqa: ASYNC110 - another process gives no events
            await anyio.sleep(0.02)


async def _end(delivered, request):
    """Wait for the end of a request."""
    found = []

    async def so():
        found[:] = [await delivered.tool("get_request", request_id=request)]
        return State(found[0].data["state"]) in END

    await _until(so)
    return found[0]


async def _waits(delivered, request):
    """Wait until a request says that it waits for the workload."""

    async def so():
        found = await delivered.tool("get_request", request_id=request)
        return "workload" in str(found.data.get("progress"))

    await _until(so)


@pytest.mark.core
async def test_a_change_is_pushed_and_has_landed_when_the_workload_of_others_has_it_with_all_its_pods(delivered):
    with Pipeline(delivered).up() as pipeline:
        plan = await _deploy(delivered, dry_run=True)
        pipeline.runs.set()
        seen = await delivered.tool("status", app="docs")
        acked = await delivered.ask('```infra\n{"action": "deploy", "app": "docs", "version": "1.2.0"}\n```')

    assert seen.data["health"] == "Current", seen.text
    assert any("live when workload" in note for note in plan.data["plan"]["notes"]), plan.text
    assert acked.ok, acked.text
    assert f"{delivered.namespace}/deployment/docs runs {NEW}, 2 pods ready" in acked.text
    assert delivered.image() == NEW
    assert delivered.subjects() == ["Deploy docs 1.2.0"]
    assert pipeline.applied == [delivered.head()]


@pytest.mark.parametrize("delivered", [{"evidence": ""}], indirect=True)
async def test_without_evidence_a_change_ends_pushed_and_is_never_said_to_have_landed(delivered):
    made = await _deploy(delivered)

    assert (made.ok, made.data["state"]) == (True, "pushed"), made.text
    assert "no evidence in infra.toml shows when it is live" in made.text
    assert delivered.head() in made.text
    assert (delivered.image(), delivered.subjects()) == (OLD, ["Deploy docs 1.2.0"])


@pytest.mark.trap("G3")
async def test_where_nothing_delivers_it_the_time_runs_out_and_the_revert_is_pushed(delivered):
    await delivered.accept_policy(delivered.apps().replace('"60s"', '"3s"'))

    made = await _deploy(delivered)

    assert not made.ok
    assert made.data["state"] == "rolled_back", made.text
    assert f"not within 10 s: not yet as committed: it runs {OLD}" in made.text
    assert delivered.subjects() == ["Deploy docs 1.2.0", f"Roll back {made.data['request']}"]
    assert delivered.image() == OLD


async def test_pods_that_fail_are_the_cause_and_the_revert_is_live_before_it_is_called_so(delivered):
    with Pipeline(delivered).up() as pipeline:
        pipeline.runs.set()
        made = await _deploy(delivered, "1.2.0-unpullable")

    assert made.data["state"] == "rolled_back", made.text
    assert "1.2.0-unpullable is not there" in made.text
    assert f"runs {OLD}, 2 pods ready" in made.text
    assert delivered.image() == OLD
    assert len(pipeline.applied) == 2


async def test_a_workload_of_another_app_that_moves_along_and_fails_is_a_remark_and_no_cause(delivered):
    """The same place sets the version of both; the other one never came up."""
    folder = delivered.manifest.parent
    text = (
        delivered.manifest.read_text(encoding="utf-8").replace("docs\n", "other\n").replace("app: docs", "app: other")
    )
    text += "        - name: broken\n          image: registry.example/docs/broken:1-unpullable\n"
    (folder / "other.yaml").write_text(text, encoding="utf-8")
    kustomization = folder / "kustomization.yaml"
    listed = kustomization.read_text(encoding="utf-8").replace("[deployment.yaml]", "[deployment.yaml, other.yaml]")
    kustomization.write_text(listed, encoding="utf-8")
    delivered.git("add", "-A")
    delivered.git("commit", "-qm", "Another app")
    delivered.git("push", "-q", "origin", "main")
    delivered.kubectl("apply", "-k", folder)

    with Pipeline(delivered).up() as pipeline:
        pipeline.runs.set()
        made = await _deploy(delivered)

    assert made.data["state"] == "landed", made.text
    assert f"{delivered.namespace}/deployment/docs runs {NEW}, 2 pods ready" in made.text
    assert f"not of this change's evidence: {delivered.namespace}/deployment/other fails" in made.text


async def test_what_was_there_before_the_commit_is_no_evidence(delivered):
    """Somebody set the image by hand: the workload says nothing of our commit any more."""
    delivered.kubectl("-n", delivered.namespace, "set", "image", "deployment/docs", f"site={NEW}")
    delivered.kubectl("-n", delivered.namespace, "rollout", "status", "deployment/docs", "--timeout=60s")

    made = await _deploy(delivered)

    assert made.data["state"] == "pushed", made.text
    assert delivered.subjects() == ["Deploy docs 1.2.0"]


async def test_a_server_killed_while_it_waits_goes_on_waiting_and_knows_what_was_there_before(delivered):
    with Pipeline(delivered).up() as pipeline:
        sent = await _deploy(delivered, wait_seconds=0)
        request = sent.data["request"]
        await _waits(delivered, request)
        await delivered.kill()
        # It is live when the next server first looks.
        pipeline.runs.set()
        await _until(lambda: anyio.to_thread.run_sync(lambda: delivered.image() == NEW))
        await delivered.start()
        made = await _end(delivered, request)

    assert made.data["state"] == "landed", made.text
    assert delivered.subjects() == ["Deploy docs 1.2.0"]


@pytest.mark.parametrize(
    "delivered", [{"evidence": WORKLOAD.replace("deployment/docs", "statefulset/docs")}], indirect=True
)
async def test_a_workload_that_is_not_there_is_refused_before_the_commit(delivered):
    made = await _deploy(delivered)

    assert made.data["error"]["code"] == "not-in-cluster", made.text
    assert "statefulset/docs" in made.text
    assert delivered.subjects() == []


@pytest.mark.promise("policy.default-deny")
async def test_what_the_circle_could_not_write_itself_is_refused_before_the_commit(delivered):
    binding = "infra-mcp-circle"
    delivered.kubectl("-n", delivered.namespace, "delete", "rolebinding", binding)
    reader = f"system:serviceaccount:{delivered.cluster_setup.accounts}:circle-docs"
    delivered.kubectl(
        "-n", delivered.namespace, "create", "rolebinding", "reads", "--clusterrole=view", f"--user={reader}"
    )

    made = await _deploy(delivered)

    assert made.data["error"]["code"] == "cluster-denied", made.text
    assert f"could not patch {delivered.namespace}/deployment/docs itself" in made.text
    assert delivered.subjects() == []


async def test_an_image_that_is_not_granted_is_refused_as_where_we_deliver_ourselves(delivered):
    head = delivered.head()
    text = delivered.apps().replace('image = "registry.example/docs/site:{version}"\n', "")
    kustomization = delivered.manifest.parent / "kustomization.yaml"
    await delivered.accept_policy(text)
    kustomization.write_text(
        kustomization.read_text(encoding="utf-8").replace(
            "newTag:", "newName: registry.example/shop/site\n    newTag:"
        ),
        encoding="utf-8",
    )
    delivered.git("commit", "-qam", "Another image")
    delivered.git("push", "-q", "origin", "main")

    made = await _deploy(delivered)

    assert made.data["state"] == "refused", made.text
    assert "may not run image registry.example/shop/site:1.2.0" in made.text
    assert delivered.head() != head
    assert delivered.subjects() == ["Another image"]


@pytest.mark.parametrize("delivered", [{"evidence": "", "write": "local"}], indirect=True)
async def test_a_commit_beside_the_server_without_evidence_ends_committed(delivered):
    made = await _deploy(delivered)

    assert (made.ok, made.data["state"]) == (True, "committed"), made.text


@pytest.mark.promise("rollback.request")
@pytest.mark.parametrize("delivered", [{"evidence": ""}], indirect=True)
async def test_what_was_only_pushed_can_be_rolled_back_like_what_landed(delivered):
    made = await _deploy(delivered)
    back = await delivered.tool("rollback", request=made.data["request"])

    assert back.data["state"] == "pushed", back.text
    assert "newTag: 1.0.0   # set by releases" in delivered.show("k8s/docs/kustomization.yaml")


async def test_with_hold_a_change_that_does_not_come_in_time_stays_on_the_branch(delivered):
    await delivered.accept_policy(delivered.apps().replace('"60s"', '"3s"'))

    made = await _deploy(delivered, on_failure="hold")

    assert made.data["state"] == "failed", made.text
    assert f"commit {delivered.head()} stays" in made.text
    assert delivered.subjects() == ["Deploy docs 1.2.0"]
