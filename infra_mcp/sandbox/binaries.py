"""The sandbox's binaries: found on this machine, downloaded or built, in that order, unless the user names one source.

Downloads and builds are cached by version: a set appears in the cache complete or not at all, and two processes never
get one at the same time.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from enum import StrEnum
from pathlib import Path

from anyio import to_thread

from infra_mcp.binaries.find import version_of
from infra_mcp.binaries.gomodule import build
from infra_mcp.binaries.locks import exclusive
from infra_mcp.binaries.progress import Progress
from infra_mcp.errors import InfraError
from infra_mcp.sandbox.download import download
from infra_mcp.sandbox.versions import BINARIES, MODULE, pinned
from infra_mcp.settings import cache_home, given_binaries

_NUMBER = re.compile(r"\bv?(\d+\.\d+)\.\d+")
_RENAMED = {"server": "etcd"}  # Go names a binary after its folder
# The oldest (major, minor) that is known to work, and the first that is not.
_FITS = {"etcd": ((3, 5), (4, 0)), "kwok": ((0, 8), (0, 9)), "kwokctl": ((0, 8), (0, 9))}
_KUBERNETES = ((1, 33), (2, 0))


class Source(StrEnum):
    """Where binaries come from."""

    GIVEN = "given"
    DOWNLOAD = "download"
    BUILD = "build"


def cached(source: Source | None = None) -> Path | None:
    """The folder of a complete set in the cache, from `source` where one is named; None when there is none."""
    kept = _kept()
    if _missing(kept / "bin"):
        return None
    try:
        origin = (kept / "source").read_text("utf-8").strip() if source else None
    except OSError:
        return None
    return kept / "bin" if origin == source else None


async def ensure(progress: Progress, source: Source | None = None) -> Path:
    """A folder with every binary in `BINARIES`.

    Args:
        progress: reports everything that takes longer than a moment.
        source: the only source to use; None tries them in order.

    Raises:
        InfraError: `setup-failed`, with the reason of each source.
    """
    reasons = []
    if source in (None, Source.GIVEN):
        found = await find_given()
        if isinstance(found, dict):
            return await to_thread.run_sync(_link, found)
        reasons.append(f"given: {found}")
    if source is Source.GIVEN:
        step = "Put them on PATH or into KUBEBUILDER_ASSETS, or allow another source."
        raise InfraError("setup-failed", _unavailable(reasons), next_step=step)
    if folder := cached(source):
        return folder
    root = cache_home() / "sandbox"
    async with exclusive(root / "lock", lambda: progress.say("another process is getting the binaries; waiting")):
        return cached(source) or await _get(root, progress, source, reasons)


async def find_given() -> dict[str, Path] | str:
    """The binaries in KUBEBUILDER_ASSETS or on PATH, by name; or why they cannot be used."""
    paths = _on_path()
    if missing := [name for name in BINARIES if name not in paths]:
        return f"not on this machine: {', '.join(missing)}"
    versions = {name: await _version(name, path) for name, path in paths.items()}
    wrong = []
    for name, version in versions.items():
        oldest, beyond = _FITS.get(name, _KUBERNETES)
        if version is None or not oldest <= version < beyond:
            wrong.append(f"{name} {_display(version)}")
    if wrong:
        return f"of versions that do not fit: {', '.join(wrong)}"
    kubernetes = {version for name, version in versions.items() if name.startswith("kube-")}
    if len(kubernetes) > 1:
        return f"of different Kubernetes versions: {', '.join(sorted(map(_display, kubernetes)))}"
    return paths


def _on_path() -> dict[str, Path]:
    search = given_binaries()
    return {name: Path(path).absolute() for name in BINARIES if (path := shutil.which(name, path=search))}


async def _version(name: str, path: Path) -> tuple[int, int] | None:
    shown = await version_of(path, ("version", "--client") if name == "kubectl" else ("--version",), _NUMBER)
    major, _, minor = (shown or "").partition(".")
    return (int(major), int(minor)) if shown else None


def _display(version: tuple[int, int] | None) -> str:
    return f"{version[0]}.{version[1]}" if version else "(no version)"


async def _get(root: Path, progress: Progress, source: Source | None, reasons: list[str]) -> Path:
    """Download or build them; called with the lock held."""
    work = await to_thread.run_sync(_work_folder, root)
    try:
        if source is not Source.BUILD:
            (work / "bin").mkdir()
            failure = await download(work / "bin", pinned(), progress)
            if failure is None:
                return await to_thread.run_sync(_keep, work, Source.DOWNLOAD, progress)
            reasons.append(f"download: {failure}")
            shutil.rmtree(work / "bin")
        if source is not Source.DOWNLOAD:
            (work / "bin").mkdir()
            await _build(work / "bin", progress)
            return await to_thread.run_sync(_keep, work, Source.BUILD, progress)
    except InfraError as error:
        what = _unavailable([*reasons, f"build: {error.what}"])
        raise InfraError(error.code, what, next_step=error.next_step) from error
    finally:
        progress.close()
        await to_thread.run_sync(shutil.rmtree, work, True)
    raise InfraError("setup-failed", _unavailable(reasons), next_step="Build them: omit --from, or use --from build.")


async def _build(into: Path, progress: Progress) -> None:
    # without its version the API server calls itself v0.0.0-master and clients' version checks fail
    version = f"k8s.io/component-base/version.gitVersion=v{pinned().kubernetes}"
    await build(MODULE, "the control plane", into, progress, linked=version, names=len(BINARIES))
    for name, known in _RENAMED.items():
        (into / name).rename(into / known)


def _work_folder(root: Path) -> Path:
    """A new folder to get binaries into; what a killed process left of its own is removed."""
    for left in root.glob("getting-*"):
        shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix="getting-", dir=root))


def _unavailable(reasons: list[str]) -> str:
    return f"The sandbox's binaries are not available ({'; '.join(reasons)})."


def _keep(work: Path, source: Source, progress: Progress) -> Path:
    """Move a complete set to its place in the cache; running sandboxes keep the files they have open."""
    if missing := _missing(work / "bin"):
        raise InfraError("setup-failed", f"{source} did not give {', '.join(missing)}.")
    (work / "source").write_text(f"{source}\n", "utf-8")
    work.chmod(0o755)
    kept = _kept()
    if kept.exists():
        kept.rename(kept.with_name(f"getting-old-{os.getpid()}"))
    work.rename(kept)
    progress.say(f"the binaries are in {kept / 'bin'}")
    return kept / "bin"


def _kept() -> Path:
    return cache_home() / "sandbox" / pinned().key


def _missing(folder: Path) -> list[str]:
    return [name for name in BINARIES if not os.access(folder / name, os.X_OK)]


def _link(found: dict[str, Path]) -> Path:
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
