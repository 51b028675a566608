"""`rbac diff` on a real API server: what it finds, and that the commands that it prints mend it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from policy.installed_policy import RBAC, done, install

from infra_mcp.cli.main import main

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def admitted(control_plane, policy_text, tmp_path_factory):
    """A policy that is installed for this module alone, which breaks it."""
    home = tmp_path_factory.mktemp("admitted")
    with install(control_plane, policy_text, home) as one:
        repo = home / "repo"
        subprocess.run(["git", "init", "-q", "-b", "main", repo], check=True)
        text = one.text.replace('context = "c"', f'context = "{control_plane.context}"')
        (repo / "infra.toml").write_text(text, encoding="utf-8")
        yield one, repo


@pytest.fixture
def diff(admitted, monkeypatch, capsys):
    """Runs `rbac diff --json` in the repository, as the admin."""
    one, repo = admitted
    monkeypatch.chdir(repo)
    monkeypatch.setenv("KUBECONFIG", str(one.admin))
    monkeypatch.delenv("INFRA_MCP_KUBECONFIG", raising=False)

    def run(*words):
        code = main(["rbac", "diff", "--json", *words])
        return code, json.loads(capsys.readouterr().out)

    return run


def _mend(one, repo, commands):
    """As a person does: in a shell, with kubectl and infra-mcp on the path."""
    path = f"{one.kubectl.parent}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "KUBECONFIG": str(one.admin)}
    for command in commands:
        ran = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=repo, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, f"{command}: {ran.stderr}"


def test_what_is_missing_other_and_left_over_is_found_and_the_printed_commands_mend_it(admitted, diff):
    one, repo = admitted
    own, new = one.name("infra"), one.name("docs-new")
    assert diff() == (0, {
        "impersonation": "constrained", "why": diff()[1]["why"], "missing": [], "other": {}, "left_over": [],
        "beside": [], "commands": [],
    })  # fmt: skip

    wider = [
        {"op": "add", "path": "/rules/-", "value": {"apiGroups": [""], "resources": ["pods"], "verbs": ["delete"]}}
    ]
    never = [{"op": "add", "path": "/spec/matchConditions/-", "value": {"name": "never", "expression": "false"}}]
    done(one.run("patch", "clusterrole", f"{own}-circle", "--type=json", "-p", json.dumps(wider), who="admin"))
    fence = ("patch", "validatingadmissionpolicy", f"{own}-secrets", "--type=json", "-p", json.dumps(never))
    done(one.run(*fence, who="admin"))
    done(one.run("delete", "rolebinding", "infra-mcp-server", "-n", new, who="admin"))
    done(one.run("delete", "rolebinding", "infra-mcp-circle", "-n", new, who="admin"))
    done(one.create(one.binding(new, ("circle-shop",)), "admin"))
    done(one.run("delete", "validatingadmissionpolicybinding", f"{own}-bindings", who="admin"))
    metadata = {"name": f"{own}-helm-gone", "labels": {"app.kubernetes.io/part-of": "infra-mcp"}}
    role = {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": metadata, "rules": []}
    done(one.create(role, "admin"))
    done(one.create(one.binding(one.name("other")), "admin"))
    done(one.create(one.binding(one.name("docs-old"), ("circle-docs",), "view", "by-hand"), "admin"))
    rules = [{"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"]}]
    metadata = {"name": one.name("old")}
    older = {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": metadata, "rules": rules}
    done(one.create(older, "admin"))
    done(one.create(one.binding(own, ("server",), one.name("old"), "left-by-hand"), "admin"))

    code, found = diff()

    assert code == 1
    assert found["missing"] == [
        f"ValidatingAdmissionPolicyBinding {own}-bindings",
        f"RoleBinding {new}/infra-mcp-server",
    ]
    assert found["other"] == {
        f"ClusterRole {own}-circle": ["rules"],
        f"ValidatingAdmissionPolicy {own}-secrets": ["spec"],
        f"RoleBinding {new}/infra-mcp-circle": ["subjects"],
    }
    assert found["left_over"] == [
        f"ClusterRole {own}-helm-gone",
        f"RoleBinding {own}/left-by-hand",  # others made it, and it voids constrained impersonation
        f"RoleBinding {one.name('other')}/infra-mcp-circle",
    ]
    assert found["beside"] == [f"RoleBinding {one.name('docs-old')}/by-hand"]

    _mend(one, repo, found["commands"])
    done(one.run("delete", "clusterrole", one.name("old"), who="admin"))

    code, found = diff()
    assert (code, found["missing"], found["other"], found["left_over"]) == (0, [], {}, []), found


def test_the_plain_form_where_the_constrained_one_is_wanted_is_one_role_that_differs(admitted, diff):
    one, _ = admitted

    code, found = diff("--plain")

    assert (code, found["missing"], found["left_over"]) == (1, [], [])
    assert found["other"] == {f"Role {one.name('infra')}/{one.name('infra')}-impersonate": ["rules"]}
    assert all("--plain" in command for command in found["commands"])


@pytest.mark.usefixtures("diff")
def test_who_may_not_read_the_rights_is_told_so(admitted, monkeypatch, capsys):
    one, _ = admitted
    monkeypatch.setenv("KUBECONFIG", str(one.server))

    code = main(["rbac", "diff"])

    assert code not in {0, 1}
    assert "cluster-denied" in capsys.readouterr().err
