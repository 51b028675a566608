"""The binaries, built from Go modules: only a module proxy is needed, and go.sum says what the sources must be.

A cold build takes about ten minutes on two cores. Go's own build cache makes an interrupted one go on where it
stopped.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path

import anyio
from anyio.abc import ByteReceiveStream, Process
from anyio.streams.text import TextReceiveStream

from infra_mcp.errors import InfraError
from infra_mcp.sandbox import toolchain
from infra_mcp.sandbox.progress import Progress
from infra_mcp.sandbox.versions import BINARIES, Versions

_RENAMED = {"server": "etcd"}  # Go names a binary after its folder
_LINKING = 60  # what linking one binary takes, counted in packages compiled
_CACHED = "not installed but available in build cache"
_STALE = "{{if .Stale}}{{.StaleReason}}{{else}}-{{end}}"


async def build(into: Path, versions: Versions, cache: Path, progress: Progress) -> None:
    """Build every binary into the empty folder `into`.

    Args:
        into: where the binaries go.
        versions: what go.mod names; only for the version the API server is to report.
        cache: where a Go toolchain is put when the machine has none.
        progress: told about sources, packages and binaries.

    Raises:
        InfraError: `setup-failed`, with what Go said last.
    """
    with as_file(files("infra_mcp.sandbox") / "gomod") as module:
        go = os.fspath(await toolchain.find(module, cache, progress))
        # without it the API server calls itself v0.0.0-master and clients' version checks fail
        flags = ("-trimpath", "-ldflags", f"-s -w -X k8s.io/component-base/version.gitVersion=v{versions.kubernetes}")
        sources = 0

        def fetched(line: str) -> None:
            nonlocal sources
            if line.startswith("go: downloading"):
                sources += 1
                progress.update("fetching the sources", sources, 0, "modules")

        reasons = await _go([go, "list", "-deps", *flags, "-f", _STALE, "tool"], module, fetched)
        pending = sum(reason not in ("-", _CACHED) for reason in reasons)
        total = pending + _LINKING * len(BINARIES)
        compiled = 0

        def counted(_line: str) -> None:
            nonlocal compiled
            compiled += 1
            show()

        def show() -> None:
            linked = sum(1 for _ in into.iterdir())
            progress.update("building the control plane", min(compiled, pending) + _LINKING * linked, total)

        if pending > len(reasons) // 2:
            progress.say(f"building the control plane from source, {pending} packages: some ten minutes, only once")
        await _go([go, "install", "-v", *flags, "tool"], module, counted, {"GOBIN": os.fspath(into)}, show)
    for name, known in _RENAMED.items():
        (into / name).rename(into / known)


async def _go(
    argv: list[str],
    module: Path,
    on_line: Callable[[str], None],
    extra: dict[str, str] | None = None,
    every_second: Callable[[], None] | None = None,
) -> list[str]:
    """Run Go in `module`, passing each line of its stderr on; returns the lines of its stdout."""
    last: deque[str] = deque(maxlen=5)
    out: list[str] = []

    def both(line: str) -> None:
        last.append(line)
        on_line(line)

    async def tick() -> None:
        while every_second is not None:
            every_second()  # linking prints nothing
            await anyio.sleep(1)

    process = await anyio.open_process(
        argv,
        cwd=module,
        env=toolchain.environment() | (extra or {}),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with anyio.create_task_group() as ticking:
            ticking.start_soon(tick)
            async with anyio.create_task_group() as reading:
                reading.start_soon(_lines, process.stdout, out.append)
                reading.start_soon(_lines, process.stderr, both)
            ticking.cancel_scope.cancel()
        code = await process.wait()
    finally:
        with anyio.CancelScope(shield=True):
            await _end(process)
    if code:
        what = f"`go {argv[1]}` could not build the control plane: {' / '.join(last) or f'it ended with {code}'}"
        step = "Run it again where a Go module proxy is reachable; what is built is kept. Or put the binaries on PATH."
        raise InfraError("setup-failed", what, next_step=step)
    return out


async def _end(process: Process) -> None:
    """End Go and the compilers it started: they share its session, so its process group is exactly those."""
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
    await process.aclose()


async def _lines(source: ByteReceiveStream | None, receive: Callable[[str], None]) -> None:
    if source is None:
        return
    rest = ""
    async for chunk in TextReceiveStream(source, errors="replace"):
        *whole, rest = (rest + chunk).split("\n")
        for line in whole:
            receive(line)
    if rest:
        receive(rest)
