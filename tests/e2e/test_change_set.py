"""Several changes under one approval: in order, a commit for each, and undone in reverse when one fails."""

import anyio
import pytest
from e2e.test_restart import worker

from infra_mcp.model.request import END

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

NEEDS_ONE = """
[[rules]]
id = "deploys-need-one"
match = { actions = ["deploy"] }
require = { approvals = 1, by = "operator" }
"""


WORKER = "k8s/worker.json"
CATALOGUE = """
[apps.worker]
owner = "docs"
workload = "{namespace}/statefulset/worker"
image = "registry.example/docs/worker:{{version}}"
"""


async def add_worker(scenario):
    """A second app, live and in git."""
    body = worker(scenario, "statefulset")
    (scenario.repo / WORKER).write_text(body, encoding="utf-8")
    scenario.git("add", ".")
    scenario.git("commit", "-q", "-m", "A worker")
    scenario.kubectl("apply", "-f", "-", stdin=body)
    await scenario.accept_policy(scenario.apps() + CATALOGUE.format(namespace=scenario.namespace))


async def shown(scenario, reply):
    return await scenario.tool("get_request", request_id=reply.data["request"])


def step(name, action, **arguments):
    return {"name": name, "action": action, "arguments": arguments}


async def ask(scenario, *steps, **options):
    return await scenario.tool("change", action="change_set", arguments={"steps": list(steps)}, **options)


def subjects(scenario, count):
    return scenario.git("log", f"-{count}", "--format=%s").splitlines()


@pytest.mark.core
@pytest.mark.promise("seam.parts")
async def test_steps_land_in_order_with_a_commit_each_and_every_one_is_confirmed_in_the_ack(scenario):
    name = scenario.fresh()

    made = await ask(
        scenario,
        step("space", "provision_namespace", namespace=name, pull_secrets=["X"]),
        step("more", "scale", app="docs", replicas=3),
        step("other-space", "provision_namespace", namespace=f"{name}-2"),
    )

    assert made.ok, made.text
    for fact in (f"namespace {name} up", "secret X present", "docs scaled to 3", "3 of 3 replicas", f"{name}-2 up"):
        assert fact in made.text
    assert subjects(scenario, 3) == [f"Provision {name}-2", "Scale docs to 3", f"Provision {name}"]
    assert scenario.git("log", "-3", "--format=%b").count(made.data["request"]) >= 3
    assert scenario.live_object("deployment", "docs", scenario.namespace)["spec"]["replicas"] == 3
    again = await ask(scenario, step("more", "scale", app="docs", replicas=3))
    assert again.data["state"] == "unchanged", again.text


@pytest.mark.core
@pytest.mark.promise("seam.parts")
@pytest.mark.promise("verify.rollback")
async def test_when_a_step_fails_updates_are_undone_in_reverse_and_what_was_created_is_kept_and_named(scenario):
    name = scenario.fresh()
    await add_worker(scenario)
    files = {path: path.read_text(encoding="utf-8") for path in (scenario.manifest, scenario.repo / WORKER)}

    failed = await ask(
        scenario,
        step("more", "scale", app="worker", replicas=3),
        step("space", "provision_namespace", namespace=name),
        step("release", "deploy", app="docs", version="0.13.5-unpullable"),
    )

    assert not failed.ok
    assert failed.data["state"] == "failed", failed.text
    assert failed.text.startswith("Step release: ") or "Step release: " in failed.text
    assert "pull" in failed.text.lower()
    assert f"What was made is kept (namespace/{name}" in failed.text
    assert scenario.live_object("namespace", name) is not None
    assert {path: path.read_text(encoding="utf-8") for path in files} == files
    live = scenario.live_object("statefulset", "worker", scenario.namespace)
    assert (live["spec"]["replicas"], scenario.image()) == (2, "registry.example/docs/site:0.13.3")
    done = subjects(scenario, 5)
    assert [one.partition(" req-")[0] for one in done[:2]] == ["Roll back", "Roll back"]
    assert done[2:] == ["Deploy docs 0.13.5-unpullable", f"Provision {name}", "Scale worker to 3"]
    assert (scenario.repo / scenario.git("log", "-1", "--format=", "--name-only", "HEAD~3").split()[0]).exists()


@pytest.mark.promise("approval.digest")
async def test_a_rule_for_a_step_holds_the_whole_set_under_one_approval(scenario):
    await scenario.accept_policy(scenario.apps() + NEEDS_ONE)
    head = scenario.git("rev-parse", "HEAD")
    name = scenario.fresh()
    steps = (step("space", "provision_namespace", namespace=name), step("new", "deploy", app="docs", version="0.13.4"))

    waits = await ask(scenario, *steps)
    assert waits.data["state"] == "awaiting_approval", waits.text

    assert scenario.git("rev-parse", "HEAD") == head
    await scenario.approve(waits.data["request"], waits.data["effect_digest"])
    with anyio.fail_after(60):
        while (done := await shown(scenario, waits)).data["state"] != "landed":
            assert done.data["state"] not in END, done.text
            await anyio.sleep(0.02)
    assert f"namespace {name} up" in done.text
    assert subjects(scenario, 2) == ["Deploy docs 0.13.4", f"Provision {name}"]


@pytest.mark.promise("policy.default-deny")
@pytest.mark.parametrize(
    ("last", "code", "named"),
    [
        (step("theirs", "restart", app="shop-front"), "policy-denied", "apps.shop-front"),
        (step("many", "scale", app="docs", replicas=50), "policy-denied", "limits.replicas"),
        (step("set", "change_set", steps=[]), "invalid-argument", "must have an action of"),
        (step("back", "rollback", request="req-0123456789ab"), "invalid-argument", "must have an action of"),
        (step("typo", "scale", app="docs", replica=3), "invalid-argument", "replica is no argument"),
        (step("more", "restart", app="docs"), "invalid-argument", "different names"),
    ],
)
async def test_one_step_that_may_not_be_refuses_all_of_them_before_anything_is_written(scenario, last, code, named):
    head = scenario.git("rev-parse", "HEAD")

    refused = await ask(scenario, step("more", "scale", app="docs", replicas=3), last)

    assert not refused.ok
    assert (refused.data.get("error") or refused.data)["code"] == code, refused.text
    assert named in refused.text
    assert scenario.git("rev-parse", "HEAD") == head
    assert scenario.live_object("deployment", "docs", scenario.namespace)["spec"]["replicas"] == 2


async def test_a_second_step_for_one_target_is_refused_by_names_since_it_could_not_be_shown(scenario):
    refused = await ask(
        scenario, step("more", "scale", app="docs", replicas=3), step("new", "deploy", app="docs", version="0.13.4")
    )

    assert not refused.ok
    assert refused.data["error"]["code"] == "invalid-argument"
    assert f"Step new: {scenario.namespace}/deployment/docs is changed by step more already" in refused.text
    assert scenario.live_object("deployment", "docs", scenario.namespace)["spec"]["replicas"] == 2
