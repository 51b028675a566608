"""What is broken on purpose for `infra-mcp doctor`: one setting a case, and what must be said of it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from doctor_world import World, days_ago
from own_ca import Authority


class Case(NamedTuple):
    """One thing that is broken."""

    check: str
    what: str
    level: str
    break_it: Callable[[World], object]
    says: str  # a part of what is found
    given: str = ""  # what is typed into the command


def write(path: Path, text: str, mode: int = 0o600) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def _backdate(path: Path, seconds: float) -> None:
    path.write_bytes(b"")
    os.utime(path, (time.time() - seconds,) * 2)


def _spawning(world: World, entry: str) -> None:
    spawn = f"  spawn:\n    commands: {{claude-code: claude}}\n    allowed_paths:\n      - {entry}\n      - /nowhere\n"
    config = f"daemon:\n{spawn}"
    write(world.home / ".repowire" / "config.yaml", config)


def _branchless(world: World) -> None:
    world.git("branch", "-qm", "main", "trunk")


def _program(world: World, mode: int) -> None:
    write(world.folder / "tell", "#!/bin/sh\n", mode)
    world.environment["INFRA_MCP_NOTICE"] = str(world.folder / "tell")


async def _without_images(world: World) -> None:
    """A policy whose grant has no effect; the editor of these tests grants what is missing."""
    text = (world.repo / "infra.toml").read_text(encoding="utf-8")
    line = 'images = ["registry.example/*"]'
    world.toml(text.replace(f"{line}\n", ""))
    write(world.folder / "editor", f"#!/bin/sh\nsed -i 's|^actions|{line}\\n&|' \"$1\"\n", 0o700)
    world.environment["EDITOR"] = str(world.folder / "editor")


async def _empty_remote(world: World) -> None:
    text = (world.repo / "infra.toml").read_text(encoding="utf-8")
    world.toml(text.replace('branch = "main"', 'branch = "main"\nwrite = "push"'))
    world.git("init", "-q", "--bare", str(world.folder / "remote.git"))
    world.git("remote", "add", "origin", f"file://{world.folder}/remote.git")
    await world.accept()


def with_certificate(world: World, mode: int = 0o644) -> None:
    pair = Authority(world.folder).pair("127.0.0.2", days=90)
    pair.key.chmod(mode)
    world.environment |= {"INFRA_MCP_HTTP_CERT": str(pair.cert), "INFRA_MCP_HTTP_KEY": str(pair.key)}


def _without_pair(world: World) -> None:
    with_certificate(world, 0o600)
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
    write(usual / "run" / "http.json", f'{{"pid": {found.pid}}}')


def _forge(world: World) -> None:
    """Who can write the file can also drop the triggers that keep events as they are."""
    world.sql("DROP TRIGGER events_no_update")
    world.sql("UPDATE events SET at = ? WHERE seq = 2", days_ago(3))


async def _renamed_remote(world: World) -> None:
    text = (world.repo / "infra.toml").read_text(encoding="utf-8")
    world.toml(text.replace('branch = "main"', 'branch = "main"\nwrite = "push"'))
    world.git("remote", "add", "upstream", str(world.folder))
    await world.accept()


def changed_file(world: World) -> None:
    write(world.repo / "live.yaml", "a: 1\n")
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
    Case("checkout.clean", "a file is changed", "risk", changed_file, "live.yaml"),
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
    Case("exposure.certificate", "others read its key", "failed", with_certificate, "others may read"),
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
        lambda w: write(w.home / ".repowire" / "config.yaml", "daemon: {auth_token: x}\n", 0o644),
        "token",
    ),
    Case(
        "policy.file",
        "a policy that is none",
        "failed",
        lambda w: write(w.repo / "infra.toml", "x = [", 0o600),
        "TOML",
    ),
    Case("policy.accepted", "the file differs", "risk", lambda w: w.toml("[circles.docs]\n"), "differs"),
    Case("policy.accepted", "none was accepted", "failed", lambda w: w.sql("DELETE FROM policies"), "No version"),
    Case("policy.remarks", "a grant without effect", "risk", _without_images, "nothing is granted in images"),
    Case(
        "policy.committed",
        "not committed",
        "risk",
        lambda w: write(w.repo / "infra.toml", "[circles.docs]\n"),
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
    Case("policy.webhooks", "a short secret", "failed", lambda w: write(w.folder / "hook.key", "short"), "guessed"),
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
