"""Programs and versions: what policy needs on this machine, and whether the server is of the version installed."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

from infra_mcp import __version__
from infra_mcp.binaries.catalogue import TOOLS
from infra_mcp.binaries.find import find, shown_version, version_of
from infra_mcp.doctor.finding import Finding, check, empty, failed, risk
from infra_mcp.doctor.look import Look
from infra_mcp.errors import InfraError
from infra_mcp.policy.helm_rights import circles_with_helm
from infra_mcp.policy.policy import Policy

_GIT: Final = (2, 36)  # the first with `--path-format` and safe.directory


@check("versions.server")
async def server(look: Look) -> AsyncIterator[Finding]:
    """The running server is of the installed version."""
    if not look.server:
        yield empty("No server runs.")
    elif look.around["version"] != __version__:
        what = f"The server is of version {look.around['version']}, and {__version__} is installed."
        yield risk(what, f"kill {look.around['pid']}")


@check("versions.named")
async def named(look: Look) -> AsyncIterator[Finding]:
    """Every program that a variable names is there."""
    for tool in TOOLS.values():
        given = look.given(tool.setting) if tool.setting else ""
        if given and shutil.which(given, path=look.given("PATH")) is None:
            yield failed(f"{tool.setting} names {given}, which is no program.", f"unset {tool.setting}")


@check("versions.programs")
async def programs(look: Look) -> AsyncIterator[Finding]:
    """Every program that the policy needs is there, and shows its version."""
    git = shutil.which("git", path=look.given("PATH"))
    shown = await version_of(Path(git), ("--version",), re.compile(r"git version (\d+\.\d+)")) if git else None
    if shown is None or tuple(map(int, shown.split("."))) < _GIT:
        yield failed(f"git {shown or ''} is not 2.36 or newer.", "apt-get install git")
    for name in _needed(look.policy):
        try:
            program = find(name)
        except InfraError as error:
            yield failed(error.what, f"infra-mcp tools get {name}")
            continue
        if await shown_version(TOOLS[name], program.path) is None:
            setting = TOOLS[name].setting if program.source == TOOLS[name].setting else ""
            fix = f"unset {setting}" if setting else f"infra-mcp tools get {name}"
            yield failed(f"{program.path} shows no version, so it is not {name}.", fix)


def _needed(policy: Policy | None) -> Iterator[str]:
    if policy is None:
        return
    if circles_with_helm(policy) or any(root.delivery == "helm" for root in policy.tree.roots):
        yield "helm"
    if policy.workspaces:
        yield "tofu"
    if any(zone.backend == "coredns" for zone in policy.zones.values()):
        yield "coredns"
