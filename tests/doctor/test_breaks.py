"""Doctor finds each setting that is broken here on purpose, and the command that it prints mends it.

Each case breaks one thing of a set-up without findings, runs the printed command in a shell of the repository, and
looks again. Clusters have cases of their own, on a control plane.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from inspect import isawaitable

import pytest
from doctor_breaks import CASES, changed_file, with_certificate, write
from doctor_world import made
from own_ca import Authority

from infra_mcp.doctor import examine
from infra_mcp.ledger import Ledger
from infra_mcp.policy.acceptance import PolicyInForce
from infra_mcp.policy.policy import digest_of
from infra_mcp.server.operator import OPERATOR, Operator

pytestmark = [pytest.mark.anyio, pytest.mark.process, pytest.mark.promise("doctor.checks")]


@pytest.fixture(scope="module")
async def pristine(tmp_path_factory):
    """A set-up without findings, with a copy of its files beside it."""
    found = await made(tmp_path_factory.mktemp("doctor") / "w")
    shutil.copytree(found.folder, found.folder.with_name("kept"), symlinks=True)
    return found


@pytest.fixture
def world(pristine, monkeypatch):
    """The set-up, as it was made."""
    monkeypatch.setenv("XDG_STATE_HOME", str(pristine.folder / "states"))
    shutil.rmtree(pristine.folder)
    shutil.copytree(pristine.folder.with_name("kept"), pristine.folder, symlinks=True)
    found = replace(pristine, environment=dict(pristine.environment), started=[])
    yield found
    for one in found.started:
        one.kill()
        one.wait()


@pytest.mark.parametrize("case", CASES, ids=[f"{one.check}: {one.what}" for one in CASES])
async def test_a_broken_setting_is_found_and_the_printed_command_mends_it(world, case):
    if isawaitable(broken := case.break_it(world)):
        await broken
    rows = await world.bad(case.check)
    assert rows, "nothing was found"
    assert {row["level"] for row in rows} == {case.level}, rows
    assert any(case.says in row["what"] for row in rows), rows
    for row in rows:
        world = await world.mend(row["fix"], case.given)
    assert await world.bad(case.check) == []


async def test_nothing_is_found_in_a_set_up_that_is_as_it_should_be(world):
    assert await world.bad() == []


READS = """
[circles.docs]
actions = ["dns_record"]
zones = ["docs.example"]
[[tree.roots]]
path = "zones"
delivery = "dns"
[zones."docs.example"]
backend = "coredns"
publish = "/nowhere/docs.example"
servers = ["127.0.0.1:9"]
[oidc.ci]
issuer = "http://127.0.0.1:9"
audience = "infra"
sponsor = "user"
run = "run"
private = true
peers = [{ peer = "docs", circle = "docs", claims = { sub = "repo:docs/site" } }]
"""


async def test_each_read_is_made_once_and_says_what_came_of_it(world):
    world.toml(READS)
    await world.accept()
    levels = {row["check"]: row["level"] for row in await world.look("read")}
    failing = {"read.zones", "read.issuers"}
    assert {check for check, level in levels.items() if level == "failed"} == failing
    others = {"namespaces", "apps", "releases", "workspaces", "remote", "forge"}
    assert {level for check, level in levels.items() if check not in failing} == {"empty"}
    assert set(levels) == failing | {f"read.{one}" for one in others}


@pytest.mark.parametrize(("days", "level"), [(3, "risk"), (-1, "failed"), (90, "pass")])
async def test_a_certificate_that_ends_is_told_of(world, days, level):
    with_certificate(world, 0o600)
    Authority(world.folder).pair("127.0.0.2", days=days)
    assert [row["level"] for row in await world.look("exposure.certificate")] == [level]


async def test_a_file_that_is_not_the_pinned_one_is_brought_back(world):
    text = world.settings.policy_file.read_text(encoding="utf-8")
    ledger = await Ledger.read_only(world.state)

    async def ask(method, params):
        """A server whose deployment pins the digest of what is committed."""
        policy = PolicyInForce(world.settings.policy_file, ledger, digest_of(text))
        await policy.refresh()
        own = {"pid": 0, "user": 1000, "umask": 0o077, "version": "0", "environment": {}, "kubeconfig": "none"}
        return (
            own if method == "operator/surroundings" else await Operator(ledger, policy).call(OPERATOR, method, params)
        )

    try:
        world.settings.policy_file.write_text(f"{text}# another\n", encoding="utf-8")
        (row,) = await examine(world.settings, ask=ask, only=["policy.accepted"])
        assert (row["level"], "pinned digest" in row["what"]) == ("failed", True), row
        await world.mend(row["fix"])
        (row,) = await examine(world.settings, ask=ask, only=["policy.accepted"])
        assert row["level"] == "pass"
    finally:
        await ledger.aclose()


async def test_a_cluster_that_is_away_is_not_taken_for_a_login_that_is_refused(world):
    text = (world.repo / "infra.toml").read_text(encoding="utf-8")
    world.toml(f'[clusters.sandbox]\ncontext = "c"\n{text}')
    await world.accept()
    entry = {"cluster": {"server": "http://127.0.0.1:9"}, "user": {"token": "x"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    config = {"contexts": [context], "clusters": [{"name": "c", "cluster": entry["cluster"]}]}
    users = [{"name": "u", "user": entry["user"]}]
    write(world.settings.kubeconfig, json.dumps(config | {"users": users}))
    (row,) = await world.bad("cluster.answers")
    assert (row["level"], "get --raw /livez" in row["fix"]) == ("failed", True), row
    assert "Connection refused" in row["what"]

    area = await world.look("cluster")
    assert [one["check"] for one in area if one["level"] == "failed"] == ["cluster.answers"], "once is enough"
    (alone,) = await world.look("cluster.rights-wide")
    assert (alone["level"], alone["fix"]) == ("failed", "infra-mcp doctor cluster.answers")


async def test_the_command_that_cleans_the_checkout_leaves_a_changed_policy_where_it_is(world):
    changed = (world.repo / "infra.toml").read_text(encoding="utf-8") + "# a change\n"
    world.toml(changed)
    changed_file(world)
    (row,) = await world.bad("checkout.clean")
    await world.mend(row["fix"])
    assert await world.bad("checkout.clean") == []
    assert (world.repo / "infra.toml").read_text(encoding="utf-8") == changed


async def test_a_ledger_of_a_newer_version_is_not_to_be_restored(world):
    world.sql("UPDATE alembic_version SET version_num = 'from-the-future'")
    (row,) = await world.bad("ledger.sound")
    assert row["fix"] == "python -m pip install --upgrade infra-mcp"


async def test_looking_writes_nothing(world):
    def everything() -> dict[str, tuple[int, int, int, bytes]]:
        found = {}
        for path in [world.folder, *world.folder.rglob("*")]:
            status = path.lstat()
            content = path.read_bytes() if path.is_file() else b""
            found[str(path)] = status.st_mode, status.st_mtime_ns, status.st_ino, content
        return found

    for change in (lambda: None, lambda: world.state.chmod(0o755), lambda: (world.state / "keys.json").chmod(0o644)):
        change()
        before = everything()
        await world.look()
        assert everything() == before


def test_at_least_thirty_settings_are_broken_here():
    assert len(CASES) >= 30
