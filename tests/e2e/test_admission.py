"""People's own rules in the cluster: the example of docs/policy.md on the API server, met by plans of each kind."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
import yaml
from drivers.helm.space import helm_4
from e2e.charts import Charts

pytestmark = [pytest.mark.cluster, pytest.mark.anyio, pytest.mark.promise("plan.dry-run-first")]

PAGE = Path(__file__).parents[2] / "docs" / "policy.md"
SAYS = "Release candidates run in staging only."


@contextmanager
def in_force(scenario, action):
    """The example for one namespace, from the moment that it does what it says; `action` is Deny or Warn."""
    _, _, part = PAGE.read_text(encoding="utf-8").partition("## Rules of the cluster")
    text = part.split("```yaml")[1].split("```")[0]
    rule, bound = yaml.safe_load_all(text.replace("no-candidates", f"no-candidates-{scenario.name}"))
    bound["spec"]["validationActions"] = [action]
    bound["spec"]["matchResources"]["namespaceSelector"]["matchLabels"] = {
        "kubernetes.io/metadata.name": scenario.namespace
    }
    scenario.cluster_setup.apply([rule, bound])
    container = {"name": "c", "image": "registry.example/x:1-rc"}
    probe = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "probe", "namespace": scenario.namespace},
        "spec": {
            "selector": {"matchLabels": {"app": "probe"}},
            "template": {"metadata": {"labels": {"app": "probe"}}, "spec": {"containers": [container]}},
        },
    }
    try:
        for _ in range(200):
            tried = scenario.cluster_setup.run(
                "create", "--dry-run=server", "--validate=false", "-f", "-", stdin=json.dumps(probe), check=False
            )
            if SAYS in tried.stderr:
                break
        else:
            raise AssertionError(tried.stderr)
        yield rule["metadata"]["name"]
    finally:
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [rule, bound]})
        scenario.kubectl("delete", "--wait=false", "-f", "-", stdin=text)


def is_refused_by(reply, name):
    error = reply.data.get("error") or reply.data
    assert not reply.ok
    assert (error["code"], error["rule"]) == ("admission-denied", f"admission.{name}"), reply.text
    assert SAYS in error["what"]


async def test_a_deploy_and_a_step_of_a_change_set_are_refused_by_name_with_the_message_before_the_commit(scenario):
    head, image = scenario.git("rev-parse", "HEAD"), scenario.image()
    step = {"name": "candidate", "action": "deploy", "arguments": {"app": "docs", "version": "0.14.0-rc"}}
    first = {"name": "space", "action": "provision_namespace", "arguments": {"namespace": scenario.fresh()}}
    with in_force(scenario, "Deny") as name:
        alone = await scenario.tool("deploy", app="docs", version="0.14.0-rc")
        several = await scenario.tool("change", action="change_set", arguments={"steps": [first, step]})
        other = await scenario.tool("deploy", app="docs", version="0.14.0")

    is_refused_by(alone, name)
    is_refused_by(several, name)
    assert "Step candidate" in several.text
    assert other.ok, other.text
    assert scenario.git("rev-parse", "HEAD~1") == head
    assert scenario.image() != image


FORBIDS = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: NAME}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - {apiGroups: [rbac.authorization.k8s.io], apiVersions: ["*"], operations: [CREATE], resources: [rolebindings]}
  validations: [{expression: "false", message: not yet}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: NAME}
spec:
  policyName: NAME
  validationActions: [Deny]
  matchResources:
    namespaceSelector:
      matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [NAME, PROBED]}]
"""


async def test_a_write_that_admission_denies_until_it_has_read_its_new_rules_is_made_then(scenario):
    space = scenario.fresh()
    forbids = FORBIDS.replace("NAME", space).replace("PROBED", scenario.namespace)
    scenario.cluster_setup.apply(list(yaml.safe_load_all(forbids)))
    probe = ["create", "rolebinding", "probe", "--clusterrole=view", "--user=x", "-n", scenario.namespace]
    while "not yet" not in (tried := scenario.cluster_setup.run(*probe, "--dry-run=server", check=False)).stderr:
        assert tried.returncode == 0, tried.stderr
    replies = []

    async def ask():
        replies.append(await scenario.tool("provision_namespace", namespace=space))

    try:
        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                group.start_soon(ask)
                while scenario.live_object("namespace", space) is None:
                    assert not replies, replies
                    await anyio.sleep(0.02)
                assert scenario.live_object("rolebinding", "infra-mcp-circle", space) is None
                scenario.kubectl("delete", "--wait=false", "-f", "-", stdin=forbids)
    finally:
        scenario.cluster_setup.run("delete", "--ignore-not-found", "-f", "-", stdin=forbids, check=False)

    (reply,) = replies
    assert reply.ok, reply.text
    assert scenario.live_object("rolebinding", "infra-mcp-circle", space)


async def test_a_warning_is_a_note_of_the_plan_and_the_change_goes_on(scenario):
    with in_force(scenario, "Warn") as name:
        shown = await scenario.tool("deploy", app="docs", version="0.14.0-rc", dry_run=True)
        done = await scenario.tool("deploy", app="docs", version="0.14.0-rc")

    (note,) = [one for one in shown.data["plan"]["notes"] if "warns" in one]
    assert name in note
    assert SAYS in note
    assert done.ok, done.text


async def test_a_release_of_helm_is_refused_by_name_with_the_message(cluster_setup, tmp_path, monkeypatch):
    monkeypatch.setenv("INFRA_MCP_HELM", str(helm_4()))
    async with Charts(cluster_setup, tmp_path) as charts:
        with in_force(charts, "Deny") as name:
            reply = await charts.tool("deploy", by="charts", app="web", version="1.1.0-rc", wait_seconds=60)
        is_refused_by(reply, name)
        assert charts.live_object("deployment", "web", charts.namespace) is None
