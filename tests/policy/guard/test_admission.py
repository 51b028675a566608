"""The API server's own admission of pods agrees: what it refuses at a level the guardrails of that level refuse."""

from __future__ import annotations

import json
import subprocess
import uuid

import pytest
from policy.guard.guard_cases import CASES

from infra_mcp.policy.guard.facts import traits
from infra_mcp.policy.guard.rules import GUARDRAILS

PODS = [case for case in CASES if case.psa]
JUDGED = {"baseline": {"baseline"}, "restricted": {"baseline", "restricted"}}


@pytest.fixture(scope="module", params=["baseline", "restricted"])
def level(request):
    return request.param


@pytest.fixture(scope="module")
def admitted(control_plane, level):
    """The names of the pods of the table that the API server would take in a namespace of a level."""
    name = f"t{uuid.uuid4().hex[:8]}-admission"
    context = ["--kubeconfig", str(control_plane.kubeconfig), "--context", control_plane.context]

    def kubectl(*words, body=None):
        argv = [str(control_plane.kubectl), *context, *words]
        text = json.dumps(body) if body else None
        return subprocess.run(argv, input=text, capture_output=True, text=True, encoding="utf-8", check=False)

    labels = {"pod-security.kubernetes.io/enforce": level}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "none", "namespace": name}}
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    pods = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": case.name, "namespace": name},
            "spec": {"serviceAccountName": "none", "automountServiceAccountToken": False, **(case.pod or {})},
        }
        for case in PODS
    ]
    try:
        made = kubectl("create", "-f", "-", body={"apiVersion": "v1", "kind": "List", "items": [space, account]})
        assert made.returncode == 0, made.stderr
        asked = kubectl(
            "create",
            "--dry-run=server",
            "-o",
            "name",
            "-f",
            "-",
            body={"apiVersion": "v1", "kind": "List", "items": pods},
        )
        refused = [line for line in asked.stderr.splitlines() if line and "violates PodSecurity" not in line]
        assert refused == [], "these are refused for another reason, so that they prove nothing"
        yield {line.removeprefix("pod/") for line in asked.stdout.splitlines()}
    finally:
        kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


def _refused(case, level):
    return {one.rule for one in traits(case.rendered) if GUARDRAILS[one.rule].judges in JUDGED[level]}


@pytest.mark.promise("effect.guarded")
def test_the_guardrails_of_a_level_refuse_exactly_the_pods_that_the_api_server_refuses(admitted, level):
    ours = {case.name for case in PODS if not _refused(case, level)}

    assert ours == admitted
    assert {case.name: case.psa for case in PODS if case.level == level} == {
        case.name: "admitted" if case.name in admitted else "refused" for case in PODS if case.level == level
    }
    assert len(PODS) >= 50
