"""Helm's identity on the real API server: what it may, what it may not, and which binding the server may give it."""

import json
import subprocess

import pytest

from infra_mcp.model.marks import BINDING, CIRCLE, HELM_BINDING

pytestmark = [pytest.mark.promise("rbac.impersonated"), pytest.mark.timeout(120)]


@pytest.fixture
def helm():
    """No Helm is started here: the space needs a name for it only."""
    return "helm"


def _kubectl(space, *words, who=None, body=None):
    """kubectl as the server, or as the server acting as one of its accounts."""
    on = space.on
    argv = [on.kubectl, "--kubeconfig", on.server_config, "--context", on.context, *words]
    argv += ["--as", f"system:serviceaccount:{on.accounts}:{who}"] if who else []
    text = json.dumps(body) if body else None
    return subprocess.run(list(map(str, argv)), input=text, capture_output=True, text=True, check=False, timeout=60)


def test_helm_reads_the_secrets_of_its_namespaces_and_the_circle_s_own_identity_does_not(helm_space):
    for who, where, may in (
        ("circle-charts-helm", helm_space.name, True),
        ("circle-charts", helm_space.name, False),
        ("circle-charts-helm", helm_space.on.sources, False),
        ("circle-charts-helm", helm_space.on.accounts, False),
        ("circle-charts-helm", "kube-system", False),
    ):
        done = _kubectl(helm_space, "get", "secrets", "-n", where, who=who)
        assert (done.returncode == 0) == may, (who, where, done.stderr)
    assert "cannot impersonate" in _kubectl(helm_space, "get", "secrets", who="circle-docs-helm").stderr


@pytest.mark.parametrize(
    "words",
    [
        "create rolebinding x --clusterrole=view --serviceaccount=default:default",
        "create role x --verb=get --resource=secrets",
        "create token default",
        "create clusterrole x --verb=get --resource=secrets",
        "get namespaces",
        "get nodes",
        "get secrets --all-namespaces",
    ],
)
def test_helm_gives_nobody_rights_and_sees_nothing_beyond_its_namespaces(helm_space, words):
    done = _kubectl(helm_space, "-n", helm_space.name, *words.split(), who="circle-charts-helm")
    assert "forbidden" in done.stderr.lower(), done.stderr + done.stdout


def _binding(space, where, name, role, account):
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": where},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": space.on.accounts}],
    }


def test_the_server_binds_helm_s_account_to_its_role_only_and_only_where_policy_gives_the_namespace(
    helm_space,
):
    own = helm_space.on.accounts
    helm, circle = f"{own}-helm-charts", f"{own}-circle"
    spaces = {"charts": f"{helm_space.name}-made", "docs": f"docs-{helm_space.on.name}-made"}
    for owner, name in spaces.items():
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {CIRCLE: owner}}}
        done = _kubectl(helm_space, "create", "-f", "-", body=made)
        assert done.returncode == 0, done.stderr
    try:
        for where, name, role, account, may in (
            ("charts", HELM_BINDING, helm, "circle-charts-helm", True),
            ("charts", HELM_BINDING, helm, "circle-charts", False),
            ("charts", HELM_BINDING, helm, "circle-docs", False),
            ("charts", HELM_BINDING, circle, "circle-charts-helm", False),
            ("charts", BINDING, helm, "circle-charts-helm", False),
            ("charts", "other", helm, "circle-charts-helm", False),
            ("docs", HELM_BINDING, helm, "circle-charts-helm", False),
        ):
            body = _binding(helm_space, spaces[where], name, role, account)
            done = _kubectl(helm_space, "create", "--dry-run=server", "-f", "-", body=body)
            assert (done.returncode == 0) == may, (where, name, role, account, done.stderr)
            assert may or "ValidatingAdmissionPolicy" in done.stderr, done.stderr
    finally:
        helm_space.on.run("delete", "namespace", *spaces.values(), "--wait=false", check=False)
