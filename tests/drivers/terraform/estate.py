"""A repository with Terraform workspaces, the state beside it, and an engine over both; OpenTofu is the real one."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Self

import anyio
from drivers.terraform.own_provider import ADDRESS, REQUIRED, lock_file, mirror, program

from infra_mcp.engine.engine import Engine
from infra_mcp.model.actions import ACTIONS
from infra_mcp.model.approval import Decided
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import END, Request, Submission
from infra_mcp.policy.policy import digest_of
from infra_mcp.settings import Settings

__all__ = ["ASKER", "BACKEND", "PAT", "Estate", "by_http", "until", "with_http", "with_provider"]

ASKER = Caller(name="net", circle="team-net", strength="token")
PAT = Caller(name="pat", circle=None, strength="token", operator=True)
POLICY = """\
[[tree.roots]]
path = "terraform"
delivery = "terraform"
[circles.team-net]
actions = ["terraform_apply", "configure", "deploy", "rollback", "change_set"]
workspaces = ["network"]
[apps.vpn]
owner = "net"
settings.instances = {{ at = "terraform/network/terraform.tfvars#instances", type = "integer", max = 9 }}
[workspaces.network]
path = "terraform/network"
program = "{program}"
backend = "local"
{more}
"""
BACKEND = """\
terraform {{
  backend "local" {{
    path = "{state}"
  }}
}}

"""
MAIN = (
    BACKEND
    + """\
variable "instances" {{
  type = number
}}

resource "terraform_data" "web" {{
  input = var.instances
}}

output "instances" {{
  value = terraform_data.web.output
}}
"""
)
VALUES = """\
# what the network has
instances = 2 # two are enough
"""


def with_provider(main: str, which: str = "tofu") -> dict[str, Any]:
    """What an estate needs to use the tests' own provider: options for `Estate`.

    Its world is a file beside the state, which runs may write.
    """
    configured = REQUIRED.replace("{", "{{").replace("}", "}}") + 'provider "own" {{\n  path = "{world}"\n}}\n'
    more = f'mirror = "{mirror()}"\nproviders = ["{ADDRESS}"]\n'
    return {"main": configured + main, "more": more, "which": which, ".terraform.lock.hcl": lock_file(which)}


class Estate:
    """A repository, a state and an engine."""

    def __init__(self, home: Path, which: str = "tofu", more: str = "", main: str = MAIN, **files: str) -> None:
        self._places(home)
        self.folder.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")
        self.write("main.tf", main.format(state=self.state, world=self.world))
        self.write("terraform.tfvars", VALUES)
        for name, text in files.items():
            self.write(name, text)
        policy = POLICY.format(program=program(which), more=more)
        self.settings.policy_file.write_text(policy, encoding="utf-8")
        self.commit("Begin")

    @classmethod
    def there(cls, home: Path) -> Self:
        """One that was laid out before."""
        made = cls.__new__(cls)
        made._places(home)
        return made

    def _places(self, home: Path) -> None:
        self.home, self.repo = home, home / "repo"
        self.state = home / "states" / "network.tfstate"
        self.world = home / "states" / "world.json"
        self.settings = Settings(self.repo, home / "state", home / "kubeconfig")
        self.folder = self.repo / "terraform" / "network"

    def write(self, name: str, text: str) -> None:
        """Write a file of the workspace."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def commit(self, subject: str) -> None:
        """Commit everything."""
        self.git("add", "-A")
        self.git("commit", "-qm", subject)

    def git(self, *words: str) -> str:
        """Git, as people use it."""
        named = ["-c", "user.name=u", "-c", "user.email=u@localhost"]
        done = subprocess.run(["git", "-C", str(self.repo), *named, *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def in_git(self, name: str = "terraform.tfvars") -> str:
        """A file of the workspace at the head of the branch."""
        return self.git("show", f"HEAD:terraform/network/{name}")

    def resources(self) -> dict[str, Any]:
        """The attributes of each resource of the state, by type and name."""
        if not self.state.is_file():
            return {}
        found = json.loads(self.state.read_text(encoding="utf-8"))["resources"]
        return {f"{one['type']}.{one['name']}": one["instances"][0]["attributes"] for one in found if one["instances"]}

    def web(self) -> Any:
        """The input of the resource that most tests are about."""
        return self.resources()["terraform_data.web"]["input"]["value"]

    def records(self) -> dict[str, Any]:
        """What the tests' provider made."""
        return json.loads(self.world.read_text(encoding="utf-8")) if self.world.is_file() else {}

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Rows of the ledger, read by nothing but SQLite."""
        file = f"file:{self.settings.state_dir / 'ledger.sqlite3'}?mode=ro"
        with closing(sqlite3.connect(file, uri=True, timeout=10)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query, values)]

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[Engine]:
        """An engine on it."""
        pin = digest_of(self.settings.policy_file.read_text(encoding="utf-8")) + "+" + ",".join(ACTIONS)
        async with Engine.open(self.settings, policy_pin=pin) as engine:
            yield engine

    @staticmethod
    async def submit(engine: Engine, action: str = "terraform_apply", **arguments: Any) -> Request:
        """Ask for something."""
        options = {name: arguments.pop(name) for name in ("dry_run", "reason", "idempotency_key") if name in arguments}
        if action == "terraform_apply":
            arguments.setdefault("workspace", "network")
        made = ACTIONS[action].model_validate_json(json.dumps(arguments))
        return (await engine.submit(Submission(caller=ASKER, action=made, channel="tool", **options))).request

    async def ask(self, engine: Engine, action: str = "terraform_apply", **arguments: Any) -> Request:
        """Ask for something, and wait for its end or until it waits for people."""
        return await self.end(engine, await self.submit(engine, action, **arguments))

    @staticmethod
    async def end(engine: Engine, request: Request) -> Request:
        """A request at its end, or where it waits for people."""
        found = await engine.wait(request.id, 120.0)
        assert found.state in END or found.state.value == "awaiting_approval", engine.progress(request.id)
        return found

    async def approve(self, engine: Engine, request: Request) -> Request:
        """Approve a request, and wait for its end."""
        await engine.approve(PAT, request.id, request.effect_digest, Decided(approve=True, way="cli"))
        return await engine.wait(request.id, 120.0, to_end=True)


def by_http(main: str, address: str) -> str:
    """The same with its state on a server, with locks."""
    options = "".join(f'{name} = "{address}"\n' for name in ("address", "lock_address", "unlock_address"))
    return main.replace('backend "local" {{\n    path = "{state}"', 'backend "http" {{\n' + options)


def with_http(estate: Estate) -> Estate:
    """The same, with that in policy."""
    text = estate.settings.policy_file.read_text(encoding="utf-8")
    estate.settings.policy_file.write_text(text.replace('backend = "local"', 'backend = "http"'), encoding="utf-8")
    (estate.home / "states").mkdir(exist_ok=True)
    return estate


async def until(so: Callable[[], object]) -> None:
    """Wait until something is so."""
    with anyio.fail_after(60):
        while not so():  # noqa: ASYNC110 - files and rows give no events
            await anyio.sleep(0.01)
