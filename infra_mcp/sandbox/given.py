"""Binaries that are on this machine already: in KUBEBUILDER_ASSETS or on PATH, all of them, of fitting versions."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import anyio

from infra_mcp.sandbox.versions import BINARIES
from infra_mcp.settings import given_binaries

_SAY = {"kubectl": ("version", "--client")}
_NUMBER = re.compile(r"\bv?(\d+)\.(\d+)\.\d+")

# Oldest (major, minor) that is known to do, and the first that is not known to.
_FITS = {"etcd": ((3, 5), (4, 0)), "kwok": ((0, 8), (0, 9)), "kwokctl": ((0, 8), (0, 9))}
_KUBERNETES = ((1, 33), (2, 0))


async def find() -> dict[str, Path] | str:
    """The binaries that are there, by name; or, in words, why they do not do."""
    paths = _here()
    missing = [name for name in BINARIES if name not in paths]
    if missing:
        return f"not on this machine: {', '.join(missing)}"
    versions = {name: await _version(name, path) for name, path in paths.items()}
    wrong = [f"{name} {_shown(version)}" for name, version in versions.items() if not _fits(name, version)]
    if wrong:
        return f"of versions that do not fit: {', '.join(wrong)}"
    kubernetes = {version for name, version in versions.items() if name.startswith("kube-")}
    if len(kubernetes) > 1:
        return f"of different Kubernetes versions: {', '.join(sorted(map(_shown, kubernetes)))}"
    return paths


def _here() -> dict[str, Path]:
    search = given_binaries()
    found = {name: shutil.which(name, path=search) for name in BINARIES}
    return {name: Path(path).absolute() for name, path in found.items() if path}


async def _version(name: str, path: Path) -> tuple[int, int] | None:
    argv = [os.fspath(path), *_SAY.get(name, ("--version",))]
    try:
        with anyio.fail_after(10):
            done = await anyio.run_process(argv, stdin=subprocess.DEVNULL, check=False, start_new_session=True)
    except (OSError, TimeoutError):
        return None
    match = _NUMBER.search((done.stdout + done.stderr).decode(errors="replace"))
    return (int(match[1]), int(match[2])) if match and done.returncode == 0 else None


def _fits(name: str, version: tuple[int, int] | None) -> bool:
    oldest, beyond = _FITS.get(name, _KUBERNETES)
    return version is not None and oldest <= version < beyond


def _shown(version: tuple[int, int] | None) -> str:
    return f"{version[0]}.{version[1]}" if version else "(no version)"
