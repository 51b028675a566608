"""A namespace with what belongs into it, asked for by a peer, on a real control plane."""

import json
from contextlib import suppress

import anyio
import pytest
from e2e.scenario import Scenario

from infra_mcp.clients.kube import Cluster
from infra_mcp.errors import InfraError

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

NEEDS_ONE = """
[[rules]]
id = "new-namespaces-need-one"
match = { actions = ["provision_namespace"] }
require = { approvals = 1, by = "operator" }
"""


@pytest.mark.core
@pytest.mark.promise("ask.seed-sentence")
@pytest.mark.promise("report.ack")
@pytest.mark.promise("report.receipt")
@pytest.mark.promise("verify.landed")
async def test_the_seeds_sentence_ends_in_namespace_secret_and_service_account_and_one_ack(scenario):
    name = scenario.fresh("staging")

    reply = await scenario.ask(f"I need a namespace '{name}' with image-pull secret X")

    assert reply.ok, reply.text
    assert f"namespace {name} up" in reply.text
    assert "secret X present" in reply.text
    assert scenario.live_object("namespace", name)["status"]["phase"] == "Active"
    account = scenario.live_object("serviceaccount", "default", name)
    assert account["imagePullSecrets"] == [{"name": "registry-x"}]
    source = scenario.live_object("secret", "registry-x", scenario.cluster_setup.sources)
    copy = scenario.live_object("secret", "registry-x", name)
    assert (copy["type"], copy["data"]) == (source["type"], source["data"])
    assert scenario.git("rev-parse", "HEAD").strip() == reply.data["commit"]
    for part in ("request", "effect_digest", "commit", "audit_head"):
        assert reply.data[part], part
    acks = scenario.rows("SELECT * FROM asks WHERE request = ?", reply.data["request"])
    assert len(acks) == 1


@pytest.mark.promise("plan.unchanged")
@pytest.mark.promise("apply.write-on-drift")
async def test_the_same_request_again_writes_and_commits_nothing(scenario):
    name = scenario.fresh()
    await scenario.tool("provision_namespace", namespace=name, pull_secrets=["X"])
    before = {kind: scenario.live_object(kind, thing, name) for kind, thing in _inside()}
    head = scenario.git("rev-parse", "HEAD")

    again = await scenario.tool("provision_namespace", namespace=name, pull_secrets=["X"])

    assert again.ok, again.text
    assert again.data["state"] == "unchanged"
    assert scenario.git("rev-parse", "HEAD") == head
    assert {kind: scenario.live_object(kind, thing, name) for kind, thing in _inside()} == before


def _inside():
    return [("serviceaccount", "default"), ("secret", "registry-x"), ("rolebinding", "infra-mcp-circle")]


@pytest.mark.promise("plan.change-set")
async def test_what_git_says_and_the_cluster_lacks_is_written_without_a_commit(scenario):
    name = scenario.fresh()
    await scenario.tool("provision_namespace", namespace=name, pull_secrets=["X"])
    scenario.kubectl("-n", name, "delete", "secret", "registry-x")
    head = scenario.git("rev-parse", "HEAD")

    again = await scenario.tool("provision_namespace", namespace=name, pull_secrets=["X"])

    assert again.ok, again.text
    assert again.data["state"] == "landed"
    assert scenario.live_object("secret", "registry-x", name) is not None
    assert scenario.git("rev-parse", "HEAD") == head


@pytest.mark.promise("plan.change-set")
async def test_what_the_cluster_has_and_git_lacks_is_committed_without_a_write(scenario):
    name = scenario.fresh()
    await scenario.tool("provision_namespace", namespace=name)
    scenario.git("rm", "-q", "-r", f"k8s/{name}")
    scenario.git("commit", "-q", "-m", "Someone removed the manifests")
    before = scenario.live_object("namespace", name)

    again = await scenario.tool("provision_namespace", namespace=name)

    assert again.ok, again.text
    assert again.data["state"] == "landed"
    assert name in scenario.git("show", "--stat", "HEAD")
    assert scenario.live_object("namespace", name) == before


@pytest.mark.promise("plan.dry-run-first")
@pytest.mark.promise("plan.blast-radius")
@pytest.mark.promise("plan.pure")
async def test_a_dry_run_says_what_is_checked_when_and_writes_nothing(scenario):
    name = scenario.fresh()
    head, dirt = scenario.git("rev-parse", "HEAD"), scenario.git("status", "--porcelain")

    first = await scenario.tool("provision_namespace", namespace=name, pull_secrets=["X"], dry_run=True)
    second = await scenario.tool("provision_namespace", namespace=name, pull_secrets=["X"], dry_run=True)

    assert first.ok, first.text
    plan = first.data["plan"]
    assert json.dumps(plan, sort_keys=True) == json.dumps(second.data["plan"], sort_keys=True)
    assert any("dry-run as soon as its namespace exists" in note for note in plan["notes"])
    assert {one["checked"] for one in plan["objects"]} == {"schema"}
    assert plan["blast_radius"]["create"] == 4  # the namespace, its two bindings, the copy
    assert plan["blast_radius"]["namespaces"] == [name]
    assert scenario.live_object("namespace", name) is None
    assert (scenario.git("rev-parse", "HEAD"), scenario.git("status", "--porcelain")) == (head, dirt)


async def test_quota_limits_and_default_deny_come_with_the_namespace(scenario):
    name = scenario.fresh()

    made = await scenario.tool(
        "provision_namespace",
        namespace=name,
        labels={"team": "docs"},
        quota={"cpu": "4", "memory": "8Gi", "pods": 20},
        limits={"cpu": "500m", "memory": "512Mi"},
        default_deny=True,
        owner="docs",
    )

    assert made.ok, made.text
    assert scenario.live_object("namespace", name)["metadata"]["labels"]["team"] == "docs"
    assert scenario.live_object("resourcequota", "quota", name)["spec"]["hard"]["pods"] == "20"
    assert scenario.live_object("limitrange", "limits", name)["spec"]["limits"][0]["default"]["memory"] == "512Mi"
    assert scenario.live_object("networkpolicy", "default-deny", name)["spec"]["policyTypes"] == ["Ingress"]


@pytest.mark.promise("git.trailers")
@pytest.mark.promise("git.first")
async def test_the_commit_names_request_requester_digest_and_head(scenario):
    name = scenario.fresh()

    made = await scenario.tool("provision_namespace", namespace=name, reason="a place to try", idempotency_key="ci-77")

    said = scenario.git("log", "-1", "--format=%(trailers:unfold)", made.data["commit"])
    trailers = dict(line.split(": ", 1) for line in said.splitlines() if line)
    assert trailers["Infra-Request"] == made.data["request"]
    assert trailers["Requested-By"] == "docs"
    assert trailers["Effect-Digest"] == made.data["effect_digest"]
    assert trailers["Idempotency-Key"] == "ci-77"
    heads = [row["hash"] for row in scenario.rows("SELECT hash FROM events")]
    assert trailers["Audit-Head"] in heads


@pytest.mark.core
@pytest.mark.promise("apply.cas")
async def test_a_namespace_that_is_there_and_not_bound_is_refused_and_left_as_it_is(scenario):
    name = scenario.fresh("foreign")
    scenario.kubectl("create", "namespace", name)
    before = scenario.live_object("namespace", name)

    refused = await scenario.tool("provision_namespace", namespace=name)

    assert not refused.ok
    assert refused.data["error"]["code"] == "namespace-not-bound"
    assert scenario.live_object("namespace", name) == before
    assert scenario.live_object("rolebinding", "infra-mcp-circle", name) is None


def squat(name, request):
    """A namespace with everything that ours carries and that others can know."""
    about = {"labels": {"infra-mcp.dev/circle": "docs"}, "annotations": {"infra-mcp.dev/request": request}}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name} | about}


def be_late():
    """In the server's process: someone else makes each namespace a moment before us, as ours but for its nonce."""
    create = Cluster.create

    async def late(self, body, *, as_user):
        if body["kind"] == "Namespace":
            about = body["metadata"]
            await create(self, squat(about["name"], about["annotations"]["infra-mcp.dev/request"]), as_user=as_user)
        return await create(self, body, as_user=as_user)

    Cluster.create = late


async def approved_till_the_end(scenario, request):
    """Whatever is asked for approval is approved."""
    with anyio.fail_after(60):
        while True:
            (row,) = scenario.rows("SELECT * FROM requests WHERE id = ?", request)
            if not row["open"]:
                return row
            if row["state"] == "awaiting_approval":
                with suppress(InfraError):  # it moved on meanwhile
                    await scenario.approve(request, row["effect_digest"])
            await anyio.sleep(0.02)


@pytest.mark.fault("f26")
@pytest.mark.parametrize("when", ["while-it-waits", "at-the-write"])
async def test_a_namespace_that_someone_else_made_with_our_marks_is_not_taken_for_our_own(
    cluster_setup, tmp_path, when
):
    """The request's id is known while it waits. It is made with the server's own account, past every fence."""
    async with Scenario(cluster_setup, tmp_path, policy=NEEDS_ONE, live=False, serve=False) as scenario:
        await scenario.start(be_late if when == "at-the-write" else None)
        name = scenario.fresh("squatted")
        await scenario.tool("provision_namespace", namespace=name, pull_secrets=["X"], wait_seconds=0)
        request = await scenario.reached("awaiting_approval")
        if when == "while-it-waits":
            body = json.dumps(squat(name, request))
            as_server = ["--kubeconfig", str(cluster_setup.server_config), "--context", cluster_setup.context]
            scenario.kubectl(*as_server, "create", "--field-manager=infra-mcp", "-f", "-", stdin=body)

        ended = await approved_till_the_end(scenario, request)

        assert ended["state"] in {"failed", "refused"}, ended["receipt"]
        assert json.loads(ended["receipt"])["error"]["code"] in {"namespace-not-bound", "exists"}
        assert scenario.live_object("rolebinding", "infra-mcp-circle", name) is None
        assert scenario.live_object("secret", "registry-x", name) is None


@pytest.mark.fault("f26")
@pytest.mark.promise("secrets.nowhere")
async def test_what_our_own_writes_are_recognised_by_is_in_no_answer_event_or_log(scenario):
    name = scenario.fresh()
    made = await scenario.tool("provision_namespace", namespace=name, pull_secrets=["X"])
    request = made.data["request"]
    (row,) = scenario.requests()
    secret = json.loads(row["record"])["nonce"]
    nonce = scenario.live_object("namespace", name)["metadata"]["annotations"]["infra-mcp.dev/write"]

    told = [made, await scenario.tool("get_request", request_id=request), await scenario.tool("search_audit")]
    told += [await scenario.tool("status", namespace=name), await scenario.tool("provision_namespace", namespace=name)]
    texts = [one.text + json.dumps(one.data) for one in told]
    texts.append(json.dumps(await scenario.operate("infra/trail", request_id=request)))
    texts += [json.dumps(scenario.events(request)), scenario.log, scenario.git("log", "--format=%B", "-p")]

    assert len(secret) == len(nonce) == 32
    assert [text for text in texts if secret in text or nonce in text] == []


@pytest.mark.promise("pull-secret.granted")
async def test_a_rotated_source_shows_in_status_and_is_copied_when_asked_again(scenario):
    name = scenario.fresh()
    await scenario.tool("provision_namespace", namespace=name, pull_secrets=["X"])
    assert (await scenario.tool("status", namespace=name)).data["pull_secrets"] == {"X": "current"}
    copy = scenario.live_object("secret", "registry-x", name)
    stale = {".dockerconfigjson": "eyJhdXRocyI6e319"}
    scenario.kubectl("-n", name, "patch", "secret", "registry-x", "--type=merge", "-p", json.dumps({"data": stale}))

    shown = await scenario.tool("status", namespace=name)
    again = await scenario.tool("provision_namespace", namespace=name, pull_secrets=["X"])

    assert shown.data["pull_secrets"] == {"X": "rotated"}
    assert again.ok, again.text
    assert scenario.live_object("secret", "registry-x", name)["data"] == copy["data"]


@pytest.mark.promise("secrets.nowhere")
async def test_a_pull_secrets_content_is_in_no_file_of_repository_or_state_and_in_no_answer(scenario):
    name = scenario.fresh()
    password = scenario.cluster_setup.secrets["X"]

    made = await scenario.tool("provision_namespace", namespace=name, pull_secrets=["X"])
    shown = await scenario.tool("status", namespace=name)
    found = await scenario.tool("search_audit", query=name)

    assert made.ok, made.text
    data = scenario.live_object("secret", "registry-x", name)["data"][".dockerconfigjson"]
    for told in (made, shown, found):
        assert password not in told.text + json.dumps(told.data)
        assert data not in told.text + json.dumps(told.data)
    for path in [*scenario.settings.state_dir.rglob("*"), *scenario.repo.rglob("*")]:
        if path.is_file():
            content = path.read_bytes()
            assert password.encode() not in content, path
            assert data.encode() not in content, path
