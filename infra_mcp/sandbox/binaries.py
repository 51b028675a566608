"""The sandbox's binaries, had in one of three ways: given, downloaded, or built; kept in the cache.

The first way that works is taken, in that order, unless the user names one. What was downloaded or built is kept by
version, so it happens once; it appears in the cache whole or not at all, and two processes never do it at once.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from enum import StrEnum
from pathlib import Path

import anyio
import anyio.to_thread

from infra_mcp.errors import InfraError
from infra_mcp.sandbox import given
from infra_mcp.sandbox.build import build
from infra_mcp.sandbox.download import download
from infra_mcp.sandbox.locks import exclusive
from infra_mcp.sandbox.progress import Progress
from infra_mcp.sandbox.versions import BINARIES, pinned
from infra_mcp.settings import cache_home


class Source(StrEnum):
    """Where binaries come from."""

    GIVEN = "given"
    DOWNLOAD = "download"
    BUILD = "build"


def cached(source: Source | None = None) -> Path | None:
    """The folder of binaries that is in the cache already, whole, and from `source` where one is named."""
    kept = _kept()
    if not all(os.access(kept / "bin" / name, os.X_OK) for name in BINARIES):
        return None
    try:
        whence = (kept / "source").read_text("utf-8").strip()
    except OSError:
        whence = ""
    return kept / "bin" if source is None or whence == source else None


async def ensure(progress: Progress, source: Source | None = None) -> Path:
    """A folder with every binary in `BINARIES`.

    Args:
        progress: told about everything that takes longer than a moment.
        source: the only way to have them; None tries them in order.

    Raises:
        InfraError: `setup-failed`, with what each way said.
    """
    reasons = []
    if source in (None, Source.GIVEN):
        found = await given.find()
        if isinstance(found, dict):
            return await anyio.to_thread.run_sync(_gather, found)
        reasons.append(f"given: {found}")
    if source is not Source.GIVEN:
        folder = cached(source)
        if folder is not None:
            return folder
        root = cache_home() / "sandbox"
        async with exclusive(root / "lock", lambda: progress.say("another process is getting the binaries; waiting")):
            folder = cached(source)
            return folder or await _get(progress, source, reasons)
    what = f"The sandbox's binaries cannot be had ({'; '.join(reasons)})."
    step = "Put them on PATH or into KUBEBUILDER_ASSETS, or allow another way."
    raise InfraError("setup-failed", what, next_step=step)


async def _get(progress: Progress, source: Source | None, reasons: list[str]) -> Path:
    """Download or build them; called with the lock held."""
    versions = pinned()
    root = cache_home() / "sandbox"
    for left in root.glob("getting-*"):
        await anyio.to_thread.run_sync(shutil.rmtree, left, True)
    work = Path(tempfile.mkdtemp(prefix="getting-", dir=root))
    try:
        (work / "bin").mkdir()
        if source in (None, Source.DOWNLOAD):
            failure = await download(work / "bin", versions, progress)
            if failure is None:
                return await _keep(work, Source.DOWNLOAD, progress)
            reasons.append(f"download: {failure}")
            shutil.rmtree(work / "bin")
            (work / "bin").mkdir()
        if source in (None, Source.BUILD):
            await build(work / "bin", versions, cache_home() / "toolchain", progress)
            return await _keep(work, Source.BUILD, progress)
    except InfraError as error:
        what = f"The sandbox's binaries cannot be had ({'; '.join([*reasons, f'build: {error.what}'])})"
        raise InfraError(error.code, what, next_step=error.next_step) from error
    finally:
        progress.close()
        await anyio.to_thread.run_sync(shutil.rmtree, work, True)
    what = f"The sandbox's binaries cannot be had ({'; '.join(reasons)})."
    raise InfraError("setup-failed", what, next_step="Let them be built: leave --from away, or say --from build.")


async def _keep(work: Path, source: Source, progress: Progress) -> Path:
    """Move what is whole to where it is looked for; running sandboxes keep the files they have open."""
    missing = [name for name in BINARIES if not os.access(work / "bin" / name, os.X_OK)]
    if missing:
        raise InfraError("setup-failed", f"{source} did not give {', '.join(missing)}.")
    folder = await anyio.to_thread.run_sync(_move, work, source)
    progress.say(f"the binaries are in {folder}")
    return folder


def _move(work: Path, source: Source) -> Path:
    (work / "source").write_text(f"{source}\n", "utf-8")
    work.chmod(0o755)
    kept = _kept()
    if kept.exists():
        kept.rename(kept.with_name(f"getting-old-{os.getpid()}"))
    work.rename(kept)
    return kept / "bin"


def _kept() -> Path:
    return cache_home() / "sandbox" / pinned().key


def _gather(found: dict[str, Path]) -> Path:
    """One folder of links to binaries that may lie in several."""
    state = "\n".join(f"{name} {path}" for name, path in sorted(found.items()))
    folder = cache_home() / "sandbox" / f"given-{hashlib.sha256(state.encode()).hexdigest()[:12]}" / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in found.items():
        link = folder / name
        if not link.is_symlink():
            temporary = folder / f".{name}.{os.getpid()}"
            temporary.symlink_to(path)
            temporary.replace(link)
    return folder
