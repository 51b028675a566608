"""What nobody should send, and grounds nobody should have: refused, nothing written, and the next call served."""

import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from e2e.scenario import Scenario
from server_process import start_server

pytestmark = [pytest.mark.cluster, pytest.mark.anyio]


async def by_tool(scenario, action, fields):
    reply = await scenario.tool(action, **fields)
    return reply.ok, reply.text


async def by_ask(scenario, action, fields):
    block = json.dumps({"action": action, **fields})
    reply = await scenario.ask(f"please\n```infra\n{block}\n```")
    return reply.ok, reply.text


async def by_cli(scenario, action, fields):
    words = [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in fields.items()]
    env = os.environ | {
        "INFRA_MCP_TOKEN": scenario.tokens["docs"],
        "INFRA_MCP_STATE": str(scenario.settings.state_dir),
        "INFRA_MCP_REPO": str(scenario.repo),
    }
    argv = [sys.executable, "-m", "infra_mcp.cli.main", "run", action, *words]
    run = lambda: subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)  # noqa: E731
    done = await anyio.to_thread.run_sync(run)
    return done.returncode == 0, done.stdout + done.stderr


DOORS = pytest.mark.parametrize("channel", [by_tool, by_ask, by_cli])

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


@DOORS
@pytest.mark.promise("policy.reason")
async def test_what_is_wrong_or_not_allowed_is_refused_by_every_way_in_and_writes_nothing(scenario, channel):
    head, dirt = scenario.git("rev-parse", "HEAD"), scenario.git("status", "--porcelain")
    spaces = set(scenario.kubectl("get", "namespaces", "-o", "name").split())

    for action, fields, named in REFUSED:
        ok, text = await channel(scenario, action, fields)
        assert not ok, (action, fields)
        assert named in text, (action, fields, text)

    assert (scenario.git("rev-parse", "HEAD"), scenario.git("status", "--porcelain")) == (head, dirt)
    mine = {name for name in scenario.kubectl("get", "namespaces", "-o", "name").split() if scenario.name in name}
    assert mine <= spaces
    assert scenario.image() == "registry.example/docs/site:0.13.3"
    ok, text = await channel(scenario, "provision_namespace", {"namespace": scenario.fresh()})
    assert ok, text


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
