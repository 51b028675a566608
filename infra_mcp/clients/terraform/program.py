"""Finds the OpenTofu or Terraform of this machine, and asks for its version once."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Literal, NamedTuple

from anyio import to_thread

from infra_mcp.binaries.catalogue import TOOLS
from infra_mcp.binaries.find import cached, find, how_to_get, version_of
from infra_mcp.errors import InfraError
from infra_mcp.settings import given_tool
from infra_mcp.text import named

Wanted = Literal["tofu", "terraform"]
_NAMES = {"OpenTofu": "tofu", "Terraform": "terraform"}


class Program(NamedTuple):
    """The program that plans and applies."""

    path: str
    name: str  # OpenTofu or Terraform
    version: str

    def __str__(self) -> str:
        """For people."""
        return f"{self.name} {self.version}"


_known: dict[tuple[str, int], Program] = {}


async def find_program(wanted: Wanted | None) -> Program:
    """The program of this machine.

    Args:
        wanted: which of the two; None for the one that the setting names or that is found first.

    Raises:
        InfraError: `setup-failed`: there is none, or it is the other one.
    """
    path = await to_thread.run_sync(_locate, wanted)
    key = str(path), path.stat().st_mtime_ns
    if key not in _known:
        _known[key] = await _asked(path)
    found = _known[key]
    if wanted and _NAMES[found.name] != wanted:
        raise InfraError("setup-failed", f"{named(str(path))} is {found.name}, and policy names {wanted}.")
    return found


def _locate(wanted: Wanted | None) -> Path:
    tool = TOOLS["tofu"]
    if wanted is None or given_tool(tool.setting):
        return find(tool.name).path
    gotten = cached(tool) if wanted == tool.name else None
    path = shutil.which(wanted) or (gotten.path if gotten else None)
    if path is None:
        raise InfraError("setup-failed", f"There is no {wanted} on this machine.", next_step=how_to_get(tool))
    return Path(path).absolute()


async def _asked(path: Path) -> Program:
    tool = TOOLS["tofu"]
    for name in _NAMES:
        version = await version_of(path, tool.asks[0], re.compile(rf"{name} v(\d+\.\d+\.\d+[\w.-]*)"))
        if version:
            return Program(str(path), name, version)
    what = f"{named(str(path))} is neither OpenTofu nor Terraform: it does not say its version."
    raise InfraError("setup-failed", what, next_step=how_to_get(tool))
