"""Requests about DNS records: a repository, an engine with its real drivers, and the name servers of the zone."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from engine.ledger_fixture import DOCS
from name_servers import ZONE

from infra_mcp.engine.engine import Engine
from infra_mcp.model.actions.dns_record import DnsRecord
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import END, Request, Submission
from infra_mcp.policy.policy import digest_of
from infra_mcp.settings import Settings

__all__ = ["PATH", "TREE", "ZoneGround", "zone_policy"]

PATH = f"dns/{ZONE}.yaml"
TREE = """\
---
www:
  ttl: 300
  type: A
  value: 192.0.2.1
"""


def zone_policy(server: str, key_file: object, *servers: str, more: str = "", circle: str = "") -> str:
    """A policy with one zone and no cluster."""
    listed = ", ".join(f'"{one}"' for one in servers)
    return f"""
[[tree.roots]]
path = "dns"
delivery = "dns"
[circles.docs]
actions = ["dns_record", "rollback", "change_set"]
zones = ["{ZONE}"]
records = ["www", "api", "*.docs", "mail", "_sip._tcp", "@", "*"]
{circle}
[zones."{ZONE}"]
backend = "rfc2136"
server = "{server}"
key_file = "{key_file}"
servers = [{listed}]
private = true
timeout = "20s"
{more}
"""


class ZoneGround:
    """A repository with a zone's file; found again by another process, it is the same ground.

    Args:
        home: a folder.
    """

    def __init__(self, home: Path) -> None:
        self.home, self.repo = home, home / "repo"
        self.settings = Settings(self.repo, home / "state", home / "kubeconfig")

    def make(self, policy: str, files: dict[str, str]) -> None:
        """Lay it out."""
        self.repo.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")
        for path, text in files.items():
            (self.repo / path).parent.mkdir(parents=True, exist_ok=True)
            (self.repo / path).write_text(text, encoding="utf-8")
        self.settings.policy_file.write_text(policy, encoding="utf-8")
        self.git("add", "-A")
        self.git("commit", "-qm", "Begin")

    def git(self, *words: str) -> str:
        """Git, as people use it."""
        named = ["-c", "user.name=u", "-c", "user.email=u@localhost"]
        done = subprocess.run(["git", "-C", str(self.repo), *named, *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def show(self, path: str = PATH) -> str:
        """A file as the head of the branch has it."""
        return self.git("show", f"HEAD:{path}") + "\n"

    def subjects(self) -> list[str]:
        """The commits since the beginning, the first first."""
        return self.git("log", "--reverse", "--format=%s").splitlines()[1:]

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[Engine]:
        """An engine on it."""
        pin = digest_of(self.settings.policy_file.read_text(encoding="utf-8"))
        async with Engine.open(self.settings, policy_pin=f"{pin}+dns_record,rollback,change_set") as engine:
            yield engine

    @staticmethod
    async def submit(
        engine: Engine, name: str, kind: str, *values: str, caller: Caller = DOCS, **more: object
    ) -> Request:
        """Ask for a record; without values for its removal."""
        options = {key: more.pop(key) for key in ("zone", "ttl") if key in more}
        action = DnsRecord(**{"zone": ZONE} | options, name=name, type=kind, values=values, remove=not values)
        return (await engine.submit(Submission(caller=caller, action=action, channel="tool", **more))).request

    async def ask(self, engine: Engine, name: str, kind: str, *values: str, **more: object) -> Request:
        """The same, and wait for the end."""
        return await self.end(engine, await self.submit(engine, name, kind, *values, **more))

    @staticmethod
    async def end(engine: Engine, request: Request) -> Request:
        """A request at its end."""
        found = await engine.wait(request.id, 60.0)
        assert found.state in END, engine.progress(request.id)
        return found
