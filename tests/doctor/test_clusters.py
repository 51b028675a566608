"""The same for a cluster, on a real API server: each case breaks one thing, and an admin runs the printed command.

An API server takes a moment until changed rights and admission policies count, so it is asked until they do.
"""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import anyio
import pytest
from doctor_world import World, made

pytestmark = [pytest.mark.anyio, pytest.mark.cluster, pytest.mark.promise("doctor.checks"), pytest.mark.timeout(600)]
DEADLINE = 60.0
POLICY = """
[clusters.sandbox]
context = "infra"
service_accounts = "MARK-infra"
[circles.docs]
namespaces = ["MARK-docs"]
actions = ["deploy", "provision_namespace"]
"""


class Estate(World):
    """A set-up with a cluster; `kubectl` of its environment is an admin's."""

    mark = ""

    def kubectl(self, *words: str, body: Any = None) -> str:
        argv = ["kubectl", *words]
        text = json.dumps(body) if body is not None else None
        done = subprocess.run(
            argv, env=self.environment, input=text, capture_output=True, text=True, encoding="utf-8", check=True
        )
        return done.stdout

    def own(self, *words: str) -> str:
        """kubectl on the server's kubeconfig."""
        return self.kubectl("--kubeconfig", str(self.settings.kubeconfig), *words)


class Case(NamedTuple):
    check: str
    what: str
    break_it: Callable[[Estate], object]
    says: str


def _widen(estate: Estate) -> None:
    words = ("--clusterrole", "cluster-admin", "--serviceaccount", f"{estate.mark}-infra:circle-docs")
    estate.kubectl("-n", f"{estate.mark}-docs", "create", "rolebinding", "extra", *words)


def _leave_plain(estate: Estate) -> None:
    own = f"{estate.mark}-infra"
    estate.kubectl("-n", own, "create", "role", "old", "--verb", "impersonate", "--resource", "serviceaccounts")
    estate.kubectl("-n", own, "create", "rolebinding", "old", "--role", "old", "--serviceaccount", f"{own}:server")


def _go_plain(estate: Estate) -> None:
    """As rendered for an older cluster, which was upgraded since."""
    own = f"{estate.mark}-infra"
    rules = [{"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"]}]
    rules[0]["resourceNames"] = ["circle-docs"]
    change = ("-n", own, "patch", "role", f"{own}-impersonate", "--type", "merge", "-p", json.dumps({"rules": rules}))
    estate.kubectl(*change)


def _as_admin(estate: Estate) -> None:
    estate.own("config", "set-context", "infra", "--user", estate.kubectl("config", "view", "-o", USER).strip())


def _short_token(estate: Estate) -> None:
    token = estate.kubectl("-n", f"{estate.mark}-infra", "create", "token", "server", "--duration", "10m").strip()
    estate.own("config", "set-credentials", f"{estate.mark}-infra-server", "--token", token)


def _weaken(estate: Estate) -> None:
    change = '{"spec": {"failurePolicy": "Ignore"}}'
    name = f"validatingadmissionpolicy/{estate.mark}-infra-secrets"
    estate.kubectl("patch", name, "--type", "merge", "-p", change)


USER = "jsonpath={.contexts[0].context.user}"
CASES = (  # in order: the login is an admin's until it is found to be
    Case("cluster.context", "renamed", lambda e: e.own("config", "rename-context", "infra", "other"), "infra"),
    Case("cluster.kubeconfig", "others read it", lambda e: e.settings.kubeconfig.chmod(0o644), "Others"),
    Case("cluster.installed", "weaker than rendered", _weaken, "differs ("),
    Case("cluster.rights-wide", "an admin's login", lambda _: None, "admin"),
    Case("cluster.rights-wide", "a circle was bound to more", _widen, "Somebody bound"),
    Case("cluster.rights-wide", "a plain grant is left over", _leave_plain, "left over"),
    Case("cluster.rights-wide", "the plain form in a newer cluster", _go_plain, "without --plain"),
    Case(
        "cluster.rights-narrow",
        "the circle's role is gone",
        lambda e: e.kubectl("delete", "clusterrole", f"{e.mark}-infra-circle"),
        "circle-docs lacks rights",
    ),
    Case(
        "cluster.rights-narrow",
        "the server may not impersonate",
        lambda e: e.kubectl("-n", f"{e.mark}-infra", "delete", "rolebinding", f"{e.mark}-infra-impersonate"),
        "",
    ),
    Case(
        "cluster.installed",
        "missing, and the server may not look",
        lambda e: e.kubectl("delete", "validatingadmissionpolicybinding", f"{e.mark}-infra-namespaces"),
        "any namespace",
    ),
    Case("cluster.answers", "the login ends soon", _short_token, "ends within"),
    Case(
        "cluster.answers",
        "the login is refused",
        lambda e: e.own("config", "set-credentials", f"{e.mark}-infra-server", "--token", "nobody"),
        "login",
    ),
)


@pytest.fixture(scope="module")
async def estate(control_plane, tmp_path_factory):
    mark = f"d{uuid.uuid4().hex[:8]}"
    folder = tmp_path_factory.mktemp("doctor") / "w"
    world = await made(folder, POLICY.replace("MARK", mark))
    programs = folder / "bin"
    programs.mkdir()
    (programs / "kubectl").symlink_to(control_plane.kubectl)
    path = f"{programs}:{world.environment['PATH']}"
    admin = folder / "admin"
    estate = Estate(folder, world.environment | {"PATH": path, "KUBECONFIG": str(admin)})
    estate.environment["INFRA_MCP_KUBECONFIG"] = str(folder / "server.kubeconfig")
    estate.mark = mark
    source = ["--kubeconfig", str(control_plane.kubeconfig), "--context", control_plane.context]
    config = json.loads(estate.kubectl(*source, "config", "view", "--minify", "--flatten", "-o", "json"))
    admin.write_text(json.dumps(config), encoding="utf-8")
    estate.settings.kubeconfig.write_text(json.dumps(config), encoding="utf-8")
    estate.settings.kubeconfig.chmod(0o600)
    estate.own("config", "rename-context", control_plane.context, "infra")
    estate.kubectl("create", "namespace", f"{mark}-docs")
    try:
        (found,) = {row["fix"] for row in await estate.bad("cluster.installed")}  # nothing is installed yet
        await estate.mend(found)
        yield estate
    finally:
        gone = ["delete", "--wait=false", "--ignore-not-found"]
        kinds = "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings"
        listed = estate.kubectl("get", kinds, "-o", "name").split()
        estate.kubectl(*gone, *(one for one in listed if f"/{mark}-" in one))
        estate.kubectl(*gone, "namespace", f"{mark}-docs", f"{mark}-infra")


async def _until(estate: Estate, check: str, *, bad: bool) -> list[dict[str, str]]:
    end = time.monotonic() + DEADLINE
    while True:
        rows = await estate.bad(check)
        if bool(rows) == bad or time.monotonic() > end:
            return rows
        await anyio.sleep(0.2)


async def test_what_is_wrong_with_a_cluster_is_found_and_the_printed_command_mends_it(estate):
    for case in CASES:
        case.break_it(estate)
        rows = await _until(estate, case.check, bad=True)
        assert rows, f"{case.check}: {case.what}: nothing was found"
        assert any(case.says in row["what"] for row in rows), (case.what, rows)
        for fix in dict.fromkeys(row["fix"] for row in rows):
            await estate.mend(fix)
        assert await _until(estate, case.check, bad=False) == [], case.what
    assert await estate.bad("cluster") == []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("infra_mcp.clients.kube.transport._ahead", lambda _: -90.0)
        (row,) = await estate.bad("cluster.answers")
        assert "clock of cluster sandbox differs from this machine's by 90 s" in row["what"]
    (read,) = await estate.look("read.namespaces")
    assert read["level"] in {"pass", "empty"}, read
