"""Two records of the tests' provider as the conformance suite's things: the real OpenTofu, and a state beside it."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from drivers.conformance import OLD
from drivers.terraform.estate import BACKEND, Estate, with_provider
from drivers.terraform.own_provider import executable, mirror

from infra_mcp.clients.git import Entry
from infra_mcp.drivers.base import Driver, Setup, Share
from infra_mcp.drivers.terraform.driver import connect
from infra_mcp.masking import Masker
from infra_mcp.model.target import Target
from infra_mcp.policy.policy import load
from infra_mcp.repository.edits import Goal, Location
from infra_mcp.repository.value import Base, Tree

__all__ = ["TerraformKit"]

GOAL = Goal("Bring it there", subject="it", on_failure="hold", timeout=60.0)
RECORDS = BACKEND + "".join(
    f"""\
variable "{name}" {{{{
  type = string
}}}}

resource "own_record" "{name}" {{{{
  name  = "{name}"
  value = var.{name}
}}}}

"""
    for name in ("one", "two")
)
GUARDED = """\
variable "password" {
  type      = string
  sensitive = true
}

resource "own_record" "guarded" {
  name   = "guarded"
  value  = "2.0.0"
  secret = var.password
}
"""
PASSWORD = "x9Q-terraform-7Lw2"


class TerraformKit:
    """A workspace with two records, both at `OLD`."""

    names, circle, slow, writes = ("one", "two"), "team-net", "slow-0.5", 1
    secret = PASSWORD

    def __init__(self, home: Path, patch) -> None:
        options = with_provider(RECORDS)
        options["more"] += 'environment = ["TF_VAR_password"]\n'
        patch.setenv("TF_VAR_password", PASSWORD)
        self.estate = Estate(home, **options)
        self._values = dict.fromkeys(self.names, OLD)
        self.policy = load(self.estate.settings.policy_file.read_text(encoding="utf-8"))
        self.masker = Masker(b"k" * 32)
        self._apply(self._values)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Driver]:
        async def key(_):
            return b"k" * 32

        setup = Setup(self.estate.settings.kubeconfig, key, self.masker, self.estate.settings.state_dir)
        async with connect(setup, self.policy, "network") as driver:
            yield driver

    def _tree(self) -> Tree:
        """The repository with both at `OLD`."""
        files = {f"terraform/network/{path.name}": path.read_bytes() for path in self.estate.folder.iterdir()}
        files["terraform/network/terraform.tfvars"] = _tfvars(dict.fromkeys(self.names, OLD)).encode()
        entries = {path: Entry("100644", path) for path in files}
        fetch = lambda oids: {oid: files[oid] for oid in oids}  # noqa: E731 - a blob's id is its path here
        return Tree(Base("0" * 40, "", (), entries, {}, fetch, plain=("terraform",)))

    def share(self, version: str) -> Share:
        before = self._tree()
        path = "terraform/network/terraform.tfvars"
        after = before.write(path, _tfvars(dict.fromkeys(self.names, version)).encode())
        return Share(tuple(Location(path=path, field=(name,)) for name in self.names), (), before, after, GOAL)

    def secret_share(self) -> Share:
        before = self._tree()
        after = before.write("terraform/network/guarded.tf", GUARDED.encode())
        return Share((Location(path="terraform/network/guarded.tf"),), (), before, after, GOAL)

    def target(self, name: str) -> Target:
        place = "network"
        return Target(system="terraform", place=place, scope=place, kind="own_record", name=f"own_record.{name}")

    async def live(self) -> dict[str, str]:
        return {name: one["value"] for name, one in self.estate.records().items()}

    async def ground(self) -> object:
        state = json.loads(self.estate.state.read_text(encoding="utf-8"))
        return state["serial"], self.estate.records()

    async def by_others(self, name: str, version: str) -> None:
        self._values = {one: record["value"] for one, record in self.estate.records().items()} | {name: version}
        await anyio.to_thread.run_sync(self._apply, self._values)

    async def delivered(self, _: str) -> None:
        """The driver does it."""

    def _apply(self, values: dict[str, str]) -> None:
        """Somebody applies these values by hand, from a folder of their own."""
        with tempfile.TemporaryDirectory() as folder:
            for path in self.estate.folder.glob("*"):
                (Path(folder) / path.name).write_bytes(path.read_bytes())
            (Path(folder) / "terraform.tfvars").write_text(_tfvars(values), encoding="utf-8")
            config = Path(folder) / "cli.rc"
            config.write_text(f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror()}"\n  }}\n}}\n')
            env = {"PATH": os.environ["PATH"], "HOME": folder, "TF_CLI_CONFIG_FILE": str(config)}
            for words in (["init", "-input=false"], ["apply", "-input=false", "-auto-approve"]):
                argv = [executable(), *words]
                subprocess.run(argv, cwd=folder, env=env, check=True, capture_output=True, stdin=subprocess.DEVNULL)


def _tfvars(values: dict[str, str]) -> str:
    return "".join(f'{name} = "{value}"\n' for name, value in values.items())
