"""A set-up in which doctor finds nothing, for tests to break: a repository, a ledger with peers, and a home."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from anyio import run_process
from ledger_template import open_new

from infra_mcp.doctor import examine
from infra_mcp.ledger import Ledger
from infra_mcp.ledger.backup import backup
from infra_mcp.ledger.clock import normal
from infra_mcp.policy.acceptance import PolicyInForce
from infra_mcp.policy.policy import digest_of
from infra_mcp.server.operator import OPERATOR, Operator
from infra_mcp.settings import Settings, state_of

__all__ = ["World", "days_ago", "made"]

_ID = ("-c", "user.name=pat", "-c", "user.email=pat@localhost")
_POLICY = """
[tree]
branch = "main"
[circles.docs]
namespaces = ["docs-*"]
images = ["registry.example/*"]
actions = ["deploy"]
[circles.batch]
[apps.docs]
owner = "docs"
workload = "docs-live/deployment/docs"
[hooks.forge]
key_file = "{folder}/hook.key"
[forge]
kind = "gitea"
url = "https://git.example"
repository = "team/infra"
token_file = "{folder}/forge.token"
"""


@dataclass
class World:
    """The set-up, in a folder of its own."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    umask: int = 0o077
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def repo(self) -> Path:
        return self.folder / "repo"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def settings(self) -> Settings:
        kubeconfig = self.environment.get("INFRA_MCP_KUBECONFIG") or str(self.home / ".kube" / "config")
        return Settings(repo=self.repo, state_dir=self.state, kubeconfig=Path(kubeconfig))

    def git(self, *words: str) -> str:
        done = subprocess.run(
            ["git", *_ID, "-C", self.repo, *words], check=True, capture_output=True, text=True, env=self._env()
        )
        return done.stdout.strip()

    def sql(self, statement: str, *values: Any) -> None:
        """Change the ledger as someone who can write its file."""
        with closing(sqlite3.connect(self.state / "ledger.sqlite3")) as connection:
            connection.execute(statement, values)
            connection.commit()

    def toml(self, text: str) -> None:
        """Write another policy, and commit it."""
        (self.repo / "infra.toml").write_text(text, encoding="utf-8")
        self.git("commit", "-qam", "policy")

    def usual_state(self, common: Path) -> Path:
        """Where the state directory would be without a variable that names it."""
        return state_of(self.repo, common)

    async def accept(self) -> None:
        """Put infra.toml in force."""
        ledger = await Ledger.open_in(self.state)
        try:
            policy = PolicyInForce(self.settings.policy_file, ledger)
            await policy.accept(digest_of(await policy.read()), OPERATOR)
        finally:
            await ledger.aclose()

    async def look(self, *only: str) -> list[dict[str, str]]:
        """What doctor finds."""
        around = {"pid": os.getpid(), "user": 1000, "umask": self.umask, "version": "0"}
        return await examine(self.settings, around=around | {"environment": self.environment}, only=only)

    async def bad(self, *only: str) -> list[dict[str, str]]:
        """What doctor finds wrong or risky."""
        return [row for row in await self.look(*only) if row["level"] in {"failed", "risk"}]

    async def mend(self, fix: str, stdin: str = "") -> World:
        """Run the command as a person in a shell of the repository; what it sets is kept."""
        mark = "--- the environment"
        script = f"umask {self.umask:03o}\n{fix}\nstatus=$?\nprintf '%s\\n' '{mark}'; umask; env -0; exit $status"
        done = await run_process(
            ["sh", "-c", script], input=stdin.encode(), env=self._env(), cwd=self.repo, check=False
        )
        assert done.returncode == 0, (fix, done.stdout, done.stderr)
        for one in self.started:
            one.wait(timeout=30)  # the command has ended it
        _, _, after = done.stdout.decode().rpartition(f"{mark}\n")
        mask, _, variables = after.partition("\n")
        found = dict(one.split("=", 1) for one in variables.split("\0") if "=" in one)
        return replace(self, environment=found, umask=int(mask, 8))

    def _env(self) -> dict[str, str]:
        return self.environment


async def made(folder: Path, policy: str = _POLICY) -> World:
    """Make it: everything as the documentation says it should be."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    world = World(folder, {"PATH": path, "HOME": str(folder / "home"), "INFRA_MCP_STATE": str(folder / "state")})
    for one in (world.repo, world.home):
        one.mkdir(parents=True)
        one.chmod(0o700)
    (world.home / ".gitconfig").write_text("[user]\nname = pat\nemail = pat@localhost\n", encoding="utf-8")
    text = policy.replace("{folder}", str(folder))
    (world.repo / "infra.toml").write_text(text, encoding="utf-8")
    for name in ("hook.key", "forge.token"):
        (folder / name).write_text("x" * 40, encoding="utf-8")
        (folder / name).chmod(0o600)
    world.git("init", "-q", "-b", "main")
    world.git("add", "infra.toml")
    world.git("commit", "-qm", "first")
    await run_process(["chmod", "-R", "go-w", world.repo])
    ledger = await open_new(world.state)
    try:
        operator = Operator(ledger, PolicyInForce(world.settings.policy_file, ledger))
        await operator.call(OPERATOR, "operator/policy.accept", {"digest": digest_of(text)})
        for peer in ({"name": "docs", "circle": "docs"}, {"name": "ann", "operator": True}):
            await operator.call(OPERATOR, "operator/peer.add", peer)
    finally:
        await ledger.aclose()
    await backup(world.state, folder / "saved.tar")
    return world


def days_ago(days: float) -> str:
    """A time as the ledger writes it."""
    return normal((datetime.now(UTC) - timedelta(days=days)).isoformat())
