"""The Helm that is used, with its version."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import semver
from anyio import to_thread

from infra_mcp.binaries.catalogue import TOOLS
from infra_mcp.binaries.find import find, how_to_get, shown_version
from infra_mcp.clients.helm.command import Command
from infra_mcp.clients.helm.folder import Folder
from infra_mcp.errors import InfraError
from infra_mcp.text import named

OLDEST: Final = semver.VersionInfo(3, 13)  # the first one with labels for upgrades and `--dry-run=server`


@dataclass(frozen=True)
class Program:
    """A Helm."""

    path: Path
    version: semver.VersionInfo

    @property
    def name(self) -> str:
        """With its version: `helm v4.3.1`."""
        return f"helm v{self.version}"

    def command(self, folder: Folder, *, say: Callable[[str], None] | None = None) -> Command:
        """Its commands, in a private folder."""
        return Command(folder, self.version, say=say)


_known: dict[tuple[str, int], Program] = {}


async def find_helm() -> Program:
    """The Helm that INFRA_MCP_HELM names, the first one on PATH, or the one that `infra-mcp tools get` got.

    Raises:
        InfraError: `setup-failed`: there is none, or it is too old.
    """
    path, changed = await to_thread.run_sync(_locate)
    if (os.fspath(path), changed) not in _known:
        tool = TOOLS["helm"]
        shown = await shown_version(tool, path)
        try:
            version = semver.VersionInfo.parse(shown or "")
        except ValueError:
            what = f"{named(os.fspath(path))} does not say that it is Helm."
            raise InfraError("setup-failed", what, next_step=how_to_get(tool)) from None
        if version < OLDEST:
            what = f"Helm {version} is older than {OLDEST.major}.{OLDEST.minor}."
            raise InfraError("setup-failed", what, next_step=how_to_get(tool))
        _known[os.fspath(path), changed] = Program(path, version)
    return _known[os.fspath(path), changed]


def _locate() -> tuple[Path, int]:
    path = find("helm").path
    return path, path.stat().st_mtime_ns
