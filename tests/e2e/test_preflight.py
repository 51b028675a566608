"""A change whose rights are not all there is refused whole, before its commit, with what is missing."""

import json
from contextlib import contextmanager

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120), pytest.mark.promise("plan.dry-run-first")]


@contextmanager
def narrower(scenario, without):
    """The circle's binding in the namespace is to a role that lacks some verbs of some resources."""
    role = f"{scenario.cluster_setup.accounts}-circle"
    own = f"{role}-{scenario.name}"
    whole = json.loads(scenario.kubectl("get", "clusterrole", role, "-o", "json"))
    rules = [
        {
            "apiGroups": rule["apiGroups"],
            "resources": [kind],
            "verbs": sorted(set(rule["verbs"]) - without.get(kind, set())),
        }
        | ({"resourceNames": rule["resourceNames"]} if "resourceNames" in rule else {})
        for rule in whole["rules"]
        for kind in rule["resources"]
    ]
    made = {"apiVersion": whole["apiVersion"], "kind": "ClusterRole", "metadata": {"name": own}, "rules": rules}
    scenario.kubectl("apply", "-f", "-", stdin=json.dumps(made))
    space = ("-n", scenario.namespace)
    binding = json.loads(scenario.kubectl(*space, "get", "rolebinding", "infra-mcp-circle", "-o", "json"))
    kept = {key: binding["metadata"][key] for key in ("name", "namespace")}
    binding |= {"metadata": kept, "roleRef": binding["roleRef"] | {"name": own}}
    try:
        scenario.kubectl(*space, "delete", "rolebinding", "infra-mcp-circle")
        scenario.kubectl("apply", "-f", "-", stdin=json.dumps(binding))
        yield
    finally:
        scenario.kubectl("delete", "clusterrole", own)


async def test_all_that_the_circle_lacks_is_named_at_once_and_nothing_is_committed(scenario):
    head = scenario.git("rev-parse", "HEAD")
    writes = {"create", "patch"}

    with narrower(scenario, {"resourcequotas": writes, "limitranges": {"patch"}, "networkpolicies": writes}):
        made = await scenario.tool(
            "provision_namespace",
            namespace=scenario.namespace,
            quota={"cpu": "4"},
            limits={"cpu": "1"},
            default_deny=True,
        )

    assert made.data["error"]["code"] == "cluster-denied", made.text
    space = scenario.namespace
    for missing in (
        f"patch {space}/resourcequota/quota",
        f"create {space}/resourcequota/quota",
        f"patch {space}/limitrange/limits",
        f"patch {space}/networkpolicy/default-deny",
    ):
        assert missing in made.text
    assert f"create {space}/limitrange" not in made.text
    assert "infra-mcp rbac diff" in made.text
    assert scenario.git("rev-parse", "HEAD") == head


async def test_a_right_that_only_the_wait_for_the_rollout_needs_is_asked_for_before_the_commit(scenario):
    head = scenario.git("rev-parse", "HEAD")

    with narrower(scenario, {"deployments": {"watch"}}):
        made = await scenario.tool("deploy", app="docs", version="0.13.4")

    assert made.data["error"]["code"] == "cluster-denied", made.text
    assert f"watch {scenario.namespace}/deployment/docs" in made.text
    assert scenario.git("rev-parse", "HEAD") == head


async def test_a_right_of_the_server_s_own_that_a_new_namespace_needs_is_asked_for_before_the_commit(scenario):
    """As after an upgrade of infra-mcp, before an admin applied the rights of the new version."""
    head, name = scenario.git("rev-parse", "HEAD"), scenario.fresh()
    own = scenario.cluster_setup.accounts
    role = json.loads(scenario.kubectl("get", "clusterrole", f"{own}-server", "-o", "json"))
    older = [rule | {"resourceNames": [f"{own}-circle"]} if "bind" in rule["verbs"] else rule for rule in role["rules"]]
    change = ("patch", "clusterrole", f"{own}-server", "--type=merge", "-p")
    try:
        scenario.kubectl(*change, json.dumps({"rules": older}))
        made = await scenario.tool("provision_namespace", namespace=name)
    finally:
        scenario.kubectl(*change, json.dumps({"rules": role["rules"]}))

    assert made.data["error"]["code"] == "cluster-denied", made.text
    assert f"bind ClusterRole {own}-as-circle in {name}, as the server" in made.text
    assert scenario.git("rev-parse", "HEAD") == head
    assert scenario.live_object("namespace", name) is None
