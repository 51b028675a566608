"""Constrained impersonation (KEP-5284) on a real API server: not all that the circle may is the server's."""

import time
from contextlib import contextmanager
from functools import partial

import pytest
from policy.installed_policy import RBAC, denied, done

from infra_mcp.clients.kube import Cluster, KubeError
from infra_mcp.drivers.kubernetes.rights import excess_rights, impersonation

pytestmark = [pytest.mark.anyio, pytest.mark.cluster, pytest.mark.timeout(120), pytest.mark.promise("rbac.constrained")]


@pytest.fixture(scope="module")
def generous(installed):
    """An admin who gives the circle's account `edit` where it works, and in a namespace beside; the account has it."""
    for rest in ("docs-new", "other"):
        body = installed.binding(installed.name(rest), role="edit", name="by-hand")
        done(installed.create(body, "admin"))
        until(partial(_as_circle_itself, installed, "delete", "configmaps", "-n", installed.name(rest)), "yes")
    yield
    for rest in ("docs-new", "other"):
        installed.run("delete", "rolebinding", "by-hand", "-n", installed.name(rest), who="admin")


def until(look, wanted, seconds=20):
    """A new binding is in force a moment later."""
    deadline = time.monotonic() + seconds
    while (found := look()) != wanted:
        assert time.monotonic() < deadline, found


def _as_circle_itself(installed, *words):
    """The account's own answer, asked by the admin, who may act as everybody."""
    who = f"system:serviceaccount:{installed.name('infra')}:circle-docs"
    return installed.run("auth", "can-i", *words, "--as", who, who="admin").stdout.strip()


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("docs-new", "delete configmap x"),
        ("docs-new", "get secrets"),
        ("docs-new", "delete pod x"),
        ("docs-new", "create token default"),
        ("other", "get pods"),
        ("other", "get deployments"),
    ],
)
@pytest.mark.usefixtures("generous")
def test_what_an_admin_gives_the_circle_s_account_beside_its_role_the_server_may_not_do_as_it(installed, rest, words):
    refused = installed.run(*words.split(), "-n", installed.name(rest), who="circle-docs")

    denied(refused)
    assert "cannot impersonate-on:serviceaccount:" in refused.stderr


def test_as_a_circle_the_server_reads_discovery_and_schemas_and_asks_what_the_circle_may(installed):
    for path in ("/api", "/apis", "/apis/apps/v1", "/openapi/v3", "/version"):
        done(installed.run("get", "--raw", path, who="circle-docs"))
    where = ("-n", installed.name("docs-new"))

    assert done(installed.run("auth", "can-i", "patch", "deployments", *where, who="circle-docs")).strip() == "yes"
    assert installed.run("auth", "can-i", "patch", "namespaces", *where, who="circle-docs").stdout.strip() == "no"
    for path in ("/metrics", "/logs", "/debug/pprof"):
        refused = installed.run("get", "--raw", path, who="circle-docs")
        assert "cannot impersonate" in refused.stderr, refused.stderr


def test_a_watch_as_a_circle_begins(installed):
    where = f"/api/v1/namespaces/{installed.name('docs-new')}/pods"

    done(installed.run("get", "--raw", f"{where}?watch=true&timeoutSeconds=1", who="circle-docs"))


@pytest.mark.parametrize(
    "more", [("--as-uid", "1"), ("--as-group", "system:authenticated"), ("--as-user-extra", "a=b")]
)
def test_nothing_but_the_user_s_name_can_be_set(installed, more):
    refused = installed.run("get", "pods", "-n", installed.name("docs-new"), *more, who="circle-docs")

    assert "cannot impersonate" in refused.stderr, refused.stderr


@pytest.fixture
async def as_server(installed, control_plane):
    async with Cluster.connect("sandbox", installed.server, control_plane.context) as connected:
        yield connected


@contextmanager
def granted(installed, names):
    """A Role that somebody left: the server may act as the circles' accounts by the plain verb."""
    own = installed.name("infra")
    rule = {"apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": names, "verbs": ["impersonate"]}
    role = {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": {"name": "old", "namespace": own}, "rules": [rule]}
    binding = installed.binding(own, ("server",), name="old")
    binding["roleRef"] |= {"kind": "Role", "name": "old"}
    try:
        for one in (role, binding):
            done(installed.create(one, "admin"))
        yield
    finally:
        for kind in ("rolebinding", "role"):
            installed.run("delete", kind, "old", "-n", own, who="admin")


@pytest.mark.usefixtures("generous")
@pytest.mark.parametrize("names", [["circle-docs"], []])
async def test_a_plain_grant_that_is_left_over_voids_the_bound_and_is_found_by_asking_the_api_server(
    installed, as_server, names
):
    asked = ("get", "pods", "-n", installed.name("other"))
    denied(installed.run(*asked, who="circle-docs"))
    assert await impersonation(as_server) == ""

    with granted(installed, names):
        until(lambda: installed.run(*asked, who="circle-docs").returncode, 0)

        told = await impersonation(as_server)
        assert f"left over, for {'circle-docs' if names else 'every account'}:" in told
        assert told in await excess_rights(as_server)


@pytest.mark.parametrize(
    ("verbs", "version", "says"),
    [
        ({"impersonate:serviceaccount"}, "v1.36.0", ""),
        ({"impersonate:serviceaccount"}, "v1.35.9", "render --plain"),
        ({"impersonate"}, "v1.35.9", ""),
        ({"impersonate"}, "v1.36.1-gke.4", "without --plain"),
        ({"impersonate"}, "v2.0.0", "without --plain"),
        ({"impersonate", "impersonate:serviceaccount"}, "v1.36.0", "left over"),
        ({"impersonate", "impersonate:serviceaccount"}, "v1.35.9", ""),
    ],
)
async def test_which_form_the_cluster_needs_follows_from_its_version(verbs, version, says):
    """Stands in for clusters of other versions than the sandbox's: the rules they would answer with."""

    class Answers:
        async def user(self):
            return "system:serviceaccount:infra-mcp:server"

        async def version(self):
            return version

        async def rights(self, _, *, as_user):
            if as_user is not None and "impersonate" not in verbs and version < "v1.36":
                raise KubeError(
                    403, "Forbidden", 'serviceaccounts "circle-docs" is forbidden: User "x" cannot impersonate'
                )
            groups = {"impersonate": "", "impersonate:serviceaccount": "authentication.k8s.io"}
            rule = {"resources": ["serviceaccounts"], "resourceNames": ["circle-docs"]}
            return [rule | {"verbs": [verb], "apiGroups": [groups[verb]]} for verb in verbs]

        async def may(self, verb, *_):
            return verb in verbs

    told = await impersonation(Answers())

    assert says in told
    assert bool(told) == bool(says)
