"""The safeties that saboteurs try, each on the real thing, with someone else at work at the worst moment."""

import fcntl
import json
from contextlib import contextmanager

import anyio
import pytest
from e2e.scenario import Scenario

pytestmark = [pytest.mark.cluster, pytest.mark.anyio]


FROZEN = """
[[rules]]
id = "frozen"
match = { apps = ["docs"] }
deny = true
reason = "The site is frozen."
"""


@contextmanager
def _git_held(scenario):
    """Hold the lock that the peer takes on the repository, as another process of it would."""
    with (scenario.settings.state_dir / "git.lock").open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _deny(scenario, name, kind, expression):
    """An admission policy of the cluster that denies something in this scenario's namespaces."""
    group, _, resource = kind.rpartition("/")
    rule = {"apiGroups": [group], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": [resource]}
    about = {"name": f"{name}-{scenario.name}"}
    ours = f"object.metadata.namespace.contains('-{scenario.name}')"
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [rule]},
        "matchConditions": [{"name": "ours", "expression": ours}],
        "validations": [{"expression": expression, "message": "the cluster's own rule"}],
    }
    bound = {"policyName": about["name"], "validationActions": ["Deny"]}
    api = "admissionregistration.k8s.io/v1"
    objects = [
        {"apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": about, "spec": spec},
        {"apiVersion": api, "kind": "ValidatingAdmissionPolicyBinding", "metadata": about, "spec": bound},
    ]
    scenario.cluster_setup.apply(objects)
    return objects


@contextmanager
def _denied(scenario, name, kind, expression, probe):
    """The same, from the moment it is in force: `probe` is an object it denies."""
    objects = _deny(scenario, name, kind, expression)
    try:
        for _ in range(200):
            tried = scenario.cluster_setup.run(
                "create", "--dry-run=server", "--validate=false", "-f", "-", stdin=json.dumps(probe), check=False
            )
            if "the cluster's own rule" in tried.stderr:
                break
        else:
            raise AssertionError(tried.stderr)
        yield
    finally:
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        scenario.kubectl("delete", "--wait=false", "-f", "-", stdin=text)


@pytest.mark.promise("plan.dry-run-first")
async def test_what_the_cluster_denies_inside_a_new_namespace_is_found_before_anything_is_written_into_it(scenario):
    probe = {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {"name": "limits", "namespace": scenario.namespace},
        "spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}}]},
    }
    name = scenario.fresh()
    with _denied(scenario, "no-limits", "limitranges", "false", probe):
        reply = await scenario.tool("provision_namespace", namespace=name, pull_secrets=["X"], limits={"cpu": "500m"})

    assert not reply.ok
    assert "the cluster's own rule" in reply.text
    assert scenario.live_object("secret", "registry-x", name) is None
    account = scenario.live_object("serviceaccount", "default", name)
    assert "imagePullSecrets" not in account


@pytest.mark.promise("plan.dry-run-first", "git.first")
async def test_what_the_cluster_denies_is_found_before_the_commit(scenario):
    image = "registry.example/docs/site:6.6.6"
    probe = scenario.live_object("deployment", "docs", scenario.namespace)
    metadata = {"name": "probe", "namespace": scenario.namespace, "labels": {"app": "docs"}}
    spec = json.loads(json.dumps(probe["spec"]))
    spec["template"]["spec"]["containers"][0]["image"] = image
    probe = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
    expression = f"object.spec.template.spec.containers.all(c, c.image != '{image}')"
    head = scenario.git("rev-parse", "HEAD")
    with _denied(scenario, "no-6-6-6", "apps/deployments", expression, probe):
        reply = await scenario.tool("deploy", app="docs", version="6.6.6")

    assert not reply.ok
    assert "the cluster's own rule" in reply.text
    assert scenario.git("rev-parse", "HEAD") == head
    assert scenario.image() == "registry.example/docs/site:0.13.3"


@pytest.mark.promise("apply.no-force")
async def test_a_field_that_another_manager_holds_is_not_taken(scenario):
    image = "registry.example/docs/site:0.13.3-p1"
    container = {"name": "site", "image": image}
    claim = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "docs", "namespace": scenario.namespace},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }
    options = ("--server-side", "--force-conflicts", "--field-manager=image-updater")
    scenario.kubectl("apply", *options, "-f", "-", stdin=json.dumps(claim))
    head = scenario.git("rev-parse", "HEAD")

    reply = await scenario.tool("deploy", app="docs", version="0.13.4")

    assert not reply.ok
    assert "image-updater" in reply.text
    assert "image" in reply.text
    assert scenario.image() == image
    assert scenario.git("rev-parse", "HEAD") == head


@pytest.mark.promise("verify.landed")
async def test_landed_is_said_only_when_every_replica_runs_the_new_version(scenario):
    reply = await scenario.tool("deploy", app="docs", version="0.14.0-slow")
    live = scenario.live_object("deployment", "docs", scenario.namespace)

    assert reply.data["state"] == "landed", reply.text
    status, wanted = live["status"], live["spec"]["replicas"]
    assert status["observedGeneration"] == live["metadata"]["generation"]
    assert (status["updatedReplicas"], status["availableReplicas"], status["replicas"]) == (wanted, wanted, wanted)


@pytest.mark.promise("undo.as-left")
async def test_an_undo_leaves_what_someone_else_changed_since_and_says_who_must_look(cluster_setup, tmp_path):
    async with Scenario(cluster_setup, tmp_path, serve=False) as made:
        await made.start()
        await made.accept_policy(made.apps(grace="20s"))
        mine = "registry.example/docs/site:0.13.9"
        async with anyio.create_task_group() as group:
            replies = []

            async def deploy():
                replies.append(await made.tool("deploy", app="docs", version="0.14.0-notready"))

            group.start_soon(deploy)
            await made.reached("verifying")
            made.kubectl("-n", made.namespace, "set", "image", "deployment/docs", f"site={mine}")

        assert replies[0].data["state"] == "needs_operator", replies[0].text
        assert "deployment/docs" in replies[0].text
        assert made.image() == mine


@pytest.mark.promise("apply.locks")
async def test_two_deploys_of_one_app_follow_each_other_while_another_object_s_request_goes_on(scenario):
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: scenario.tool("deploy", app="docs", version="0.14.0-slow"))
        await scenario.reached("verifying")
        group.start_soon(lambda: scenario.tool("deploy", app="docs", version="0.14.1"))
        await scenario.tool("provision_namespace", namespace=scenario.fresh())

    rows = {json.loads(row["action"]).get("version", "namespace"): row["id"] for row in await scenario.settled()}
    spans = {}
    for version, request in rows.items():
        worked = [event["seq"] for event in scenario.events(request) if event["kind"] != "received"]
        spans[version] = (min(worked), max(worked))
    first, second, beside = spans["0.14.0-slow"], spans["0.14.1"], spans["namespace"]
    assert first[1] < second[0]
    assert beside[1] < first[1]
    assert scenario.image() == "registry.example/docs/site:0.14.1"


@pytest.mark.promise("policy.accepted")
async def test_a_policy_accepted_while_a_request_waits_for_git_decides_on_it(scenario):
    async with anyio.create_task_group() as group:
        replies = []

        async def deploy():
            replies.append(await scenario.tool("deploy", app="docs", version="0.14.0"))

        with _git_held(scenario):
            group.start_soon(deploy)
            await scenario.reached("planned")
            deny = (
                '[[rules]]\nid = "frozen"\nmatch = { apps = ["docs"] }\ndeny = true\nreason = "The site is frozen."\n'
            )
            await scenario.accept_policy(scenario.apps() + deny)

    assert not replies[0].ok
    assert "frozen" in replies[0].text
    assert scenario.image() == "registry.example/docs/site:0.13.3"
    assert "0.13.3" in scenario.manifest.read_text(encoding="utf-8")


@pytest.mark.promise("git.first", "git.ff-only", "plan.users-tree")
async def test_what_git_refuses_at_the_last_moment_is_not_applied(scenario):
    edited = scenario.manifest.read_text(encoding="utf-8").replace("replicas: 2 ", "replicas: 4 ")
    async with anyio.create_task_group() as group:
        replies = []

        async def deploy():
            replies.append(await scenario.tool("deploy", app="docs", version="0.14.0"))

        with _git_held(scenario):
            group.start_soon(deploy)
            await scenario.reached("planned")
            scenario.manifest.write_text(edited, encoding="utf-8")

    assert not replies[0].ok
    assert "k8s/teams/docs-site.yaml" in replies[0].text
    assert scenario.manifest.read_text(encoding="utf-8") == edited
    assert scenario.image() == "registry.example/docs/site:0.13.3"
    live = scenario.live_object("deployment", "docs", scenario.namespace)
    assert "infra-mcp" not in {entry["manager"] for entry in live["metadata"]["managedFields"]}


@pytest.mark.promise("apply.cas")
async def test_a_namespace_that_someone_makes_after_the_plan_is_left_alone(scenario):
    name = scenario.fresh()
    async with anyio.create_task_group() as group:
        replies = []

        async def provision():
            replies.append(await scenario.tool("provision_namespace", namespace=name, pull_secrets=["X"]))

        with _git_held(scenario):
            group.start_soon(provision)
            await scenario.reached("planned")
            scenario.kubectl("create", "namespace", name)

    assert replies[0].data["error"]["code"] == "exists", replies[0].text
    made = scenario.live_object("namespace", name)
    assert {entry["manager"] for entry in made["metadata"]["managedFields"]} == {"kubectl-create"}
    assert scenario.live_object("rolebinding", "infra-mcp-circle", name) is None
    assert scenario.live_object("secret", "registry-x", name) is None


@pytest.mark.promise("read.scoped")
async def test_a_request_of_another_circle_looks_as_if_it_were_not_there(scenario):
    await scenario.tool("deploy", app="docs", version="0.13.4", dry_run=True)
    (row,) = scenario.requests()
    hidden = await scenario.tool("get_request", by="shop", request_id=row["id"])
    absent = await scenario.tool("get_request", by="shop", request_id="req-000000000000")
    assert not hidden.ok
    assert hidden.text == absent.text


@pytest.mark.promise("secrets.nowhere")
async def test_a_pull_secret_s_content_is_in_the_cluster_and_nowhere_else(scenario):
    reply = await scenario.ask(f"I need a namespace '{scenario.fresh()}' with image-pull secret X")
    secret = scenario.cluster_setup.secrets["X"]
    told = await scenario.ask(f"Please use password={secret} from now on")

    assert reply.ok, reply.text
    live = scenario.live_object("secret", "registry-x", scenario.fresh())["data"][".dockerconfigjson"]
    hidden = [secret.encode(), live.encode(), live[8:40].encode()]
    texts = {"reply": reply.text + json.dumps(reply.data), "ack": told.text, "log": scenario.log}
    texts["git"] = scenario.git("log", "-p", "--all") + scenario.git("cat-file", "--batch-check", "--batch-all-objects")
    found = [name for name, text in texts.items() for part in hidden if part in text.encode()]
    for file in (path for folder in (scenario.settings.state_dir, scenario.repo) for path in folder.rglob("*")):
        if file.is_file():
            found += [str(file) for part in hidden if part in file.read_bytes()]
    assert found == []
