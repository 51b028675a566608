"""Gitea, a real forge for tests and the demo: built once from its Go module. The product itself never runs it.

`python tests/gitea_program.py` builds it, which takes some minutes of CPU; `make tools` does so.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import anyio

from infra_mcp.binaries.catalogue import MACHINE, SYSTEM
from infra_mcp.binaries.gomodule import find_go, go_environment
from infra_mcp.binaries.progress import Progress
from infra_mcp.settings import cache_home

__all__ = ["NEEDED", "built", "program"]

MODULE = Path(__file__).parent / "gitea_module"
NEEDED = "There is no Gitea on this machine. Build it once, some minutes: make tools"
_PATH, _TAGS = "code.gitea.io/gitea", "sqlite sqlite_unlock_notify"
_READ_AT_RUN_TIME = ("templates", "options")  # folders of the module
_SECONDS = 3000.0
_CACHE = cache_home()  # as it was at the start: some tests give the cache another place


def program() -> Path | None:
    """The program, beside the folders that it reads; None where it was not built."""
    path = _place() / "gitea"
    return path if os.access(path, os.X_OK) else None


def built() -> Path:
    """The program, built where it is not there."""
    if found := program():
        return found
    place = _place()
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one process builds it; the others wait, and find it there
        if program() is None:
            _build(place)
    return place / "gitea"


def _place() -> Path:
    key = hashlib.sha256((MODULE / "go.sum").read_bytes() + _TAGS.encode()).hexdigest()[:12]
    return _CACHE / "tests" / f"gitea-{key}_{SYSTEM}-{MACHINE}"


def _build(place: Path) -> None:
    """Build it into a folder that appears complete or not at all."""
    sys.stderr.write("building Gitea from source: some minutes, only once\n")
    fresh = place.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    go = anyio.run(partial(find_go, MODULE, _CACHE / "toolchain", Progress(sys.stderr)))
    run = partial(
        subprocess.run,
        cwd=MODULE,
        env=go_environment() | {"CGO_ENABLED": "1"},
        stdin=subprocess.DEVNULL,
        check=True,
        text=True,
        timeout=_SECONDS,
    )
    version = run([go, "list", "-m", "-f", "{{.Version}}", _PATH], stdout=subprocess.PIPE).stdout.strip()
    flags = ["-trimpath", "-tags", _TAGS, "-ldflags", f"-s -w -X main.Version={version.removeprefix('v')}"]
    run([go, "build", *flags, "-o", fresh / "gitea", _PATH])
    source = Path(run([go, "list", "-m", "-f", "{{.Dir}}", _PATH], stdout=subprocess.PIPE).stdout.strip())
    for name in _READ_AT_RUN_TIME:
        shutil.copytree(source / name, fresh / name, copy_function=shutil.copyfile)
    for folder, _, _ in os.walk(fresh):
        Path(folder).chmod(0o755)  # the module cache has none that can be written to, or removed
    fresh.rename(place)


if __name__ == "__main__":
    sys.stdout.write(f"{built()}\n")
