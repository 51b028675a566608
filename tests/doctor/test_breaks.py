"""Doctor finds each setting that is broken here on purpose, and the command that it prints mends it.

Each case breaks one thing of a set-up without findings, runs the printed command in a shell of the repository, and
looks again. Clusters have cases of their own, on a control plane.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from inspect import isawaitable
from pathlib import Path
from typing import NamedTuple

import pytest
from doctor_world import World, days_ago, made
from own_ca import Authority

from infra_mcp.doctor import examine
from infra_mcp.ledger import Ledger
from infra_mcp.policy.acceptance import PolicyInForce
from infra_mcp.policy.policy import digest_of
from infra_mcp.server.operator import OPERATOR, Operator

pytestmark = [pytest.mark.anyio, pytest.mark.process, pytest.mark.promise("doctor.checks")]


class Case(NamedTuple):
    """One thing that is broken."""

    check: str
    what: str
    level: str
    break_it: Callable[[World], object]
    says: str  # a part of what is found
    given: str = ""  # what is typed into the command


def _write(path: Path, text: str, mode: int = 0o600) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def _backdate(path: Path, seconds: float) -> None:
    path.write_bytes(b"")
    os.utime(path, (time.time() - seconds,) * 2)


def _spawning(world: World, entry: str) -> None:
    spawn = f"  spawn:\n    commands: {{claude-code: claude}}\n    allowed_paths:\n      - {entry}\n      - /nowhere\n"
    config = f"daemon:\n{spawn}"
    _write(world.home / ".repowire" / "config.yaml", config)


def _branchless(world: World) -> None:
    world.git("branch", "-qm", "main", "trunk")


def _program(world: World, mode: int) -> None:
    _write(world.folder / "tell", "#!/bin/sh\n", mode)
    world.environment["INFRA_MCP_NOTICE"] = str(world.folder / "tell")


async def _without_images(world: World) -> None:
    """A policy whose grant has no effect; the editor of these tests grants what is missing."""
    text = (world.repo / "infra.toml").read_text(encoding="utf-8")
    line = 'images = ["registry.example/*"]'
    world.toml(text.replace(f"{line}\n", ""))
    _write(world.folder / "editor", f"#!/bin/sh\nsed -i 's|^actions|{line}\\n&|' \"$1\"\n", 0o700)
    world.environment["EDITOR"] = str(world.folder / "editor")


async def _empty_remote(world: World) -> None:
    text = (world.repo / "infra.toml").read_text(encoding="utf-8")
    world.toml(text.replace('branch = "main"', 'branch = "main"\nwrite = "push"'))
    world.git("init", "-q", "--bare", str(world.folder / "remote.git"))
    world.git("remote", "add", "origin", f"file://{world.folder}/remote.git")
    await world.accept()


def _with_certificate(world: World, mode: int = 0o644) -> None:
    pair = Authority(world.folder).pair("127.0.0.2", days=90)
    pair.key.chmod(mode)
    world.environment |= {"INFRA_MCP_HTTP_CERT": str(pair.cert), "INFRA_MCP_HTTP_KEY": str(pair.key)}


def _without_pair(world: World) -> None:
    _with_certificate(world, 0o600)
    (world.folder / "server.pem").write_text("no certificate", encoding="utf-8")


def _damage(world: World) -> None:
    with (world.state / "ledger.sqlite3").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 16384)


def _second_server(world: World) -> None:
    common = (world.repo / ".git").resolve()
    found = subprocess.Popen(["sleep", "300"])
    world.started.append(found)
    usual = world.usual_state(common)
    _write(usual / "run" / "http.json", f'{{"pid": {found.pid}}}')


def _forge(world: World) -> None:
    """Who can write the file can also drop the triggers that keep events as they are."""
    world.sql("DROP TRIGGER events_no_update")
    world.sql("UPDATE events SET at = ? WHERE seq = 2", days_ago(3))


async def _renamed_remote(world: World) -> None:
    text = (world.repo / "infra.toml").read_text(encoding="utf-8")
    world.toml(text.replace('branch = "main"', 'branch = "main"\nwrite = "push"'))
    world.git("remote", "add", "upstream", str(world.folder))
    await world.accept()


def _changed_file(world: World) -> None:
    _write(world.repo / "live.yaml", "a: 1\n")
    world.git("add", "live.yaml")


CASES = [
    Case(
        "checkout.permissions", "everyone writes in the checkout", "failed", lambda w: w.repo.chmod(0o777), "Every user"
    ),
    Case(
        "checkout.permissions",
        "a group writes the policy",
        "risk",
        lambda w: (w.repo / "infra.toml").chmod(0o660),
        "group",
    ),
    Case("checkout.branch", "the branch is missing", "failed", _branchless, "no branch main"),
    Case("checkout.head", "HEAD is detached", "risk", lambda w: w.git("checkout", "-q", "--detach"), "detached"),
    Case("checkout.clean", "a file is changed", "risk", _changed_file, "live.yaml"),
    Case("checkout.locks", "git died", "failed", lambda w: _backdate(w.repo / ".git/index.lock", 3600), "has died"),
    Case(
        "checkout.programs",
        "a filter runs a program",
        "risk",
        lambda w: w.git("config", "filter.x.smudge", "sh /tmp/x"),
        "filter.x.smudge",
    ),
    Case(
        "git.credentials",
        "a password in a remote's address",
        "failed",
        lambda w: w.git("remote", "add", "origin", "https://bot:hunter2@git.example/team/infra.git"),
        "git.example",
    ),
    Case("git.remote", "the remote has another name", "failed", _renamed_remote, "origin"),
    Case("exposure.umask", "others write new files", "risk", lambda w: setattr(w, "umask", 0o002), "002"),
    Case(
        "exposure.url",
        "a token would go out in the clear",
        "failed",
        lambda w: w.environment.update(INFRA_MCP_URL="http://infra.example/mcp"),
        "infra.example",
    ),
    Case("exposure.token", "a peer's token", "risk", lambda w: w.environment.update(INFRA_MCP_TOKEN="imcp_x"), "TOKEN"),
    Case(
        "exposure.secrets",
        "a secret in the environment",
        "risk",
        lambda w: w.environment.update(AWS_SECRET_ACCESS_KEY="x"),
        "AWS_SECRET_ACCESS_KEY",
    ),
    Case(
        "exposure.proxies",
        "a proxy for this machine",
        "risk",
        lambda w: w.environment.update(HTTPS_PROXY="http://proxy.example:3128"),
        "NO_PROXY",
    ),
    Case("exposure.certificate", "others read its key", "failed", _with_certificate, "others may read"),
    Case("exposure.certificate", "no pair", "failed", _without_pair, "do not load as a pair"),
    Case("exposure.notice", "not executable", "failed", lambda w: _program(w, 0o600), "not executable"),
    Case("exposure.notice", "others write it", "failed", lambda w: _program(w, 0o722), "Others can change"),
    Case(
        "exposure.notice",
        "no such program",
        "failed",
        lambda w: w.environment.update(INFRA_MCP_NOTICE="/nowhere/tell"),
        "no file",
    ),
    Case("identities.peers", "no token", "risk", lambda w: w.sql("DELETE FROM tokens WHERE peer = 'docs'"), "no token"),
    Case(
        "identities.peers",
        "a circle that is gone",
        "risk",
        lambda w: w.sql("INSERT INTO peers SELECT 'old', 'gone', role, '', created, position FROM peers LIMIT 1"),
        "circle gone",
    ),
    Case(
        "identities.expiry",
        "expired",
        "failed",
        lambda w: w.sql("UPDATE tokens SET expires = ? WHERE peer = 'docs'", days_ago(1)),
        "expired on",
    ),
    Case(
        "identities.expiry",
        "ends soon",
        "risk",
        lambda w: w.sql("UPDATE tokens SET expires = ? WHERE peer = 'docs'", days_ago(-3)),
        "expires on",
    ),
    Case(
        "identities.expiry",
        "no end",
        "risk",
        lambda w: w.sql("UPDATE tokens SET expires = NULL WHERE peer = 'docs'"),
        "never expires",
    ),
    Case(
        "identities.unused",
        "unused",
        "risk",
        lambda w: w.sql("UPDATE tokens SET created = ? WHERE peer = 'docs'", days_ago(40)),
        "never used",
    ),
    Case(
        "identities.sponsors",
        "no sponsor",
        "risk",
        lambda w: w.sql("UPDATE tokens SET sponsor = NULL WHERE peer = 'docs'"),
        "has no sponsor",
    ),
    Case("ledger.folder", "others enter the state", "failed", lambda w: w.state.chmod(0o755), "enter"),
    Case("ledger.files", "others read the keys", "failed", lambda w: (w.state / "keys.json").chmod(0o644), "keys.json"),
    Case(
        "ledger.files",
        "others read the ledger",
        "failed",
        lambda w: (w.state / "ledger.sqlite3").chmod(0o640),
        "ledger",
    ),
    Case("ledger.one-server", "a second server", "failed", _second_server, "Another server"),
    Case("ledger.sound", "a damaged file", "failed", _damage, "damaged"),
    Case(
        "ledger.chain",
        "an event was changed",
        "failed",
        _forge,
        "event 2",
    ),
    Case("ledger.backup", "the backup is gone", "risk", lambda w: (w.folder / "saved.tar").unlink(), "not there"),
    Case("ledger.backup", "no backup", "risk", lambda w: (w.state / "backup.json").unlink(), "no backup"),
    Case("mesh.spawn", "spawning in the repository", "failed", lambda w: _spawning(w, str(w.repo)), "spawn agents"),
    Case("mesh.spawn", "spawning above it", "failed", lambda w: _spawning(w, f'"{w.folder}"'), "covers"),
    Case(
        "mesh.config",
        "others read the mesh's token",
        "failed",
        lambda w: _write(w.home / ".repowire" / "config.yaml", "daemon: {auth_token: x}\n", 0o644),
        "token",
    ),
    Case(
        "policy.file",
        "a policy that is none",
        "failed",
        lambda w: _write(w.repo / "infra.toml", "x = [", 0o600),
        "TOML",
    ),
    Case("policy.accepted", "the file differs", "risk", lambda w: w.toml("[circles.docs]\n"), "differs"),
    Case("policy.accepted", "none was accepted", "failed", lambda w: w.sql("DELETE FROM policies"), "No version"),
    Case("policy.remarks", "a grant without effect", "risk", _without_images, "nothing is granted in images"),
    Case(
        "policy.committed",
        "not committed",
        "risk",
        lambda w: _write(w.repo / "infra.toml", "[circles.docs]\n"),
        "no commit has",
    ),
    Case(
        "policy.credentials",
        "the forge's token is missing",
        "failed",
        lambda w: (w.folder / "forge.token").unlink(),
        "forge.token_file",
        "a-new-token",
    ),
    Case("policy.credentials", "others read it", "failed", lambda w: (w.folder / "forge.token").chmod(0o644), "Others"),
    Case("policy.webhooks", "no secret", "failed", lambda w: (w.folder / "hook.key").unlink(), "not there"),
    Case("policy.webhooks", "a short secret", "failed", lambda w: _write(w.folder / "hook.key", "short"), "guessed"),
    Case("policy.webhooks", "others read it", "failed", lambda w: (w.folder / "hook.key").chmod(0o604), "Others"),
    Case("read.remote", "the remote has no branch", "failed", _empty_remote, "no branch main"),
    Case(
        "versions.named",
        "no such Helm",
        "failed",
        lambda w: w.environment.update(INFRA_MCP_HELM="/nowhere/helm"),
        "HELM",
    ),
]


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
    _with_certificate(world, 0o600)
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
    _write(world.settings.kubeconfig, json.dumps(config | {"users": users}))
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
    _changed_file(world)
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
