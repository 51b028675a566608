"""What nobody should send, and grounds nobody should have: refused, nothing written, and the next call served."""

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from e2e.channels import ATTEND, CHANNELS, code_of
from e2e.scenario import Scenario
from server_process import start_server

pytestmark = [pytest.mark.cluster, pytest.mark.anyio]


EVERY_CHANNEL = pytest.mark.parametrize("channel", CHANNELS)
WORDS = "the docs site needs care, see ticket 17"

REFUSED = [
    ("provision_namespace", {"namespace": "kube-system"}, "circles.docs.namespaces"),
    ("provision_namespace", {"namespace": "default"}, "circles.docs.namespaces"),
    ("provision_namespace", {"namespace": "shop-x"}, "circles.docs.namespaces"),
    ("provision_namespace", {"namespace": "--server=https://x"}, "namespace"),
    ("provision_namespace", {"namespace": "docs-x\n---\nkind: ClusterRoleBinding"}, "namespace"),
    ("provision_namespace", {"namespace": "../../.git/hooks/pre-commit"}, "namespace"),
    ("provision_namespace", {"namespace": "docs-x", "dryRun": True}, "dryRun"),
    ("provision_namespace", {"namespace": "docs-x", "context": "prod"}, "context"),
    ("provision_namespace", {"namespace": "docs-x", "quota": {"pods": -1}}, "pods"),
    ("provision_namespace", {"namespace": "docs-x", "quota": {"cpu": "1e30"}}, "cpu"),
    ("provision_namespace", {"namespace": "docs-x", "quota": {"memory": "-1Gi"}}, "memory"),
    ("provision_namespace", {"namespace": "docs-x", "quota": {"cpu": "400"}}, "limits"),
    ("provision_namespace", {"namespace": "docs-x", "pull_secrets": ["Y"]}, "circles.docs.pull_secrets"),
    ("deploy", {"app": "docs", "version": "latest"}, "latest"),
    ("deploy", {"app": "docs", "version": "1.0@sha256:bad"}, "version"),
    ("deploy", {"app": "nobodys", "version": "1.0"}, "apps"),
]


@EVERY_CHANNEL
@pytest.mark.promise("policy.reason")
async def test_what_is_wrong_or_not_allowed_is_refused_by_every_way_in_and_writes_nothing(scenario, channel):
    send = CHANNELS[channel].send
    await scenario.accept_policy(scenario.apps() + ATTEND)
    head, dirt = scenario.git("rev-parse", "HEAD"), scenario.git("status", "--porcelain")
    spaces = set(scenario.kubectl("get", "namespaces", "-o", "name").split())

    for action, fields, named in REFUSED:
        refused = await send(scenario, WORDS, action, fields)
        assert not refused.ok, (action, fields)
        assert named in refused.text, (action, fields, refused.text)

    assert (scenario.git("rev-parse", "HEAD"), scenario.git("status", "--porcelain")) == (head, dirt)
    mine = {name for name in scenario.kubectl("get", "namespaces", "-o", "name").split() if scenario.name in name}
    assert mine <= spaces
    assert scenario.image() == "registry.example/docs/site:0.13.3"
    made = await send(scenario, WORDS, "provision_namespace", {"namespace": scenario.fresh()})
    assert made.ok, made.text


# What Flux, Kubernetes, Helm and Argo CD, secret plug-ins and sops would interpret, and a second line of a file.
INTERPRETED = [
    "${HOME}", "$(id)", "{{ .Values.key }}", "<path:secret/data/x#key>", "ref+vault://x", "ENC[AES256_GCM,data:x]",
    "a\nb: c",
]  # fmt: skip
LABEL = """
[apps.docs.settings.label]
at = "k8s/teams/docs-site.yaml#metadata.labels.app"
type = "string"
"""


@EVERY_CHANNEL
@pytest.mark.promise("value.inert")
@pytest.mark.bad_input("13")
async def test_a_value_that_a_deliverer_would_interpret_gets_the_same_code_by_every_way_in(scenario, channel):
    await scenario.accept_policy(scenario.apps() + LABEL + ATTEND)
    head, former = scenario.git("rev-parse", "HEAD"), scenario.image()
    for value in INTERPRETED:
        for code, action, fields in (
            ("policy-denied", "configure", {"app": "docs", "settings": {"label": value}}),
            ("invalid-argument", "deploy", {"app": "docs", "version": value}),
            ("invalid-argument", "deploy", {"app": "docs", "version": "1", "environment": value}),
            ("invalid-argument", "provision_namespace", {"namespace": scenario.fresh(), "labels": {"team": value}}),
        ):
            refused = await CHANNELS[channel].send(scenario, WORDS, action, fields)
            assert not refused.ok, (action, fields)
            assert code_of(refused) == code, (action, fields, refused.text)
            assert value not in refused.text

    assert {row["state"] for row in scenario.requests()} == {"refused"}
    assert (scenario.git("rev-parse", "HEAD"), scenario.image()) == (head, former)
    made = await CHANNELS[channel].send(scenario, WORDS, "configure", {"app": "docs", "settings": {"label": "inert"}})
    assert made.ok, made.text


@pytest.mark.bad_input("3")
async def test_the_peers_own_namespace_is_never_provisioned(scenario):
    refused = await scenario.tool("provision_namespace", namespace=scenario.cluster_setup.accounts)

    assert refused.data["code"] == "policy-denied"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("kind: Deployment\nkind: ConfigMap\n", "broken.yaml"),
        (
            "a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]\napiVersion: apps/v1\nkind: !!python/object:os.system x\n",
            "broken.yaml",
        ),
        ("\tapiVersion: v1\n", "broken.yaml"),
    ],
)
@pytest.mark.bad_input("7")
async def test_a_manifest_that_cannot_be_read_is_named_only_to_who_needs_it(scenario, text, named):
    path = scenario.repo / "k8s" / "broken.yaml"
    path.write_text(text + f"# deployment docs in {scenario.namespace}\n", encoding="utf-8")
    scenario.git("add", ".")
    scenario.git("commit", "-q", "-m", "broken")

    unrelated = await scenario.tool("provision_namespace", namespace=scenario.fresh())
    scenario.git("rm", "-q", "k8s/teams/docs-site.yaml")
    scenario.git("commit", "-q", "-m", "and the good one is gone")
    needing = await scenario.tool("deploy", app="docs", version="0.13.4")

    assert unrelated.ok, unrelated.text
    assert not needing.ok
    assert named in needing.text
    assert scenario.image() == "registry.example/docs/site:0.13.3"


async def test_an_object_that_stands_in_two_files_is_refused_with_both_names(scenario):
    (scenario.repo / "k8s" / "copy.yaml").write_text(scenario.manifest.read_text(encoding="utf-8"), encoding="utf-8")
    scenario.git("add", ".")
    scenario.git("commit", "-q", "-m", "a copy")

    refused = await scenario.tool("deploy", app="docs", version="0.13.4")

    assert refused.data["code"] == "ambiguous-object"
    assert "copy.yaml" in refused.text
    assert "docs-site.yaml" in refused.text


@pytest.mark.bad_input("2")
async def test_a_symlink_on_the_way_to_a_new_file_is_refused_and_leads_nowhere(scenario, tmp_path):
    name, outside = scenario.fresh(), tmp_path / "outside"
    outside.mkdir()
    (scenario.repo / "k8s" / name).symlink_to(outside)
    scenario.git("add", ".")
    scenario.git("commit", "-q", "-m", "a link")

    refused = await scenario.tool("provision_namespace", namespace=name)

    assert not refused.ok
    assert list(outside.iterdir()) == []
    assert scenario.live_object("namespace", name) is None


@pytest.mark.promise("git.ff-only")
@pytest.mark.bad_input("21")
async def test_a_checkout_in_the_middle_of_something_is_refused_and_left(scenario):
    scenario.git("checkout", "-q", "--detach")

    detached = await scenario.tool("provision_namespace", namespace=scenario.fresh("a"))
    scenario.git("checkout", "-q", "main")
    (scenario.repo / ".git" / "index.lock").write_text("", encoding="utf-8")
    locked = await scenario.tool("provision_namespace", namespace=scenario.fresh("b"))
    (scenario.repo / ".git" / "index.lock").unlink()
    after = await scenario.tool("provision_namespace", namespace=scenario.fresh("b"))

    assert detached.ok or detached.data["code"] == "checkout-refused"
    assert locked.data["code"] == "checkout-refused"
    assert "lock" in locked.text
    assert after.ok, after.text


@pytest.mark.promise("policy.default-deny")
@pytest.mark.bad_input("23")
async def test_a_context_that_is_gone_stops_the_work_and_names_itself(cluster_setup, tmp_path):
    scenario = Scenario(cluster_setup, tmp_path, live=False, serve=False)
    async with scenario:
        config = json.loads(cluster_setup.run("config", "view", "--raw", "-o", "json").stdout)
        config["contexts"][0]["name"] = "another"
        config["current-context"] = "another"
        path = Path(tmp_path) / "other.kubeconfig"
        path.write_text(json.dumps(config), encoding="utf-8")
        start = lambda: start_server(replace(scenario.settings, kubeconfig=path))  # noqa: E731
        scenario.server = await anyio.to_thread.run_sync(start)
        refused = await scenario.tool("provision_namespace", namespace=scenario.fresh())

    assert refused.data["code"] == "setup-failed"
    assert cluster_setup.context in refused.text


@pytest.mark.promise("intake.saved-first")
@pytest.mark.bad_input("24")
async def test_a_ledger_that_cannot_be_written_stops_writes_to_the_world(scenario):
    name = scenario.fresh()
    head = scenario.git("rev-parse", "HEAD")
    holder = sqlite3.connect(scenario.settings.state_dir / "ledger.sqlite3", isolation_level=None)
    try:
        holder.execute("BEGIN EXCLUSIVE")
        refused = await scenario.tool("provision_namespace", namespace=name)
    finally:
        holder.close()

    assert refused.data["code"] == "ledger-unavailable"
    assert scenario.live_object("namespace", name) is None
    assert scenario.git("rev-parse", "HEAD") == head
    assert (await scenario.tool("provision_namespace", namespace=name)).ok
