"""The server as a process: it owns the state directory, opens the engine, serves both channels, and stops cleanly.

Nothing happens at import, so that a process forked after the imports can start in a tenth of a second.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anyio

from infra_mcp.clients.git import Git
from infra_mcp.engine import Engine
from infra_mcp.errors import InfraError
from infra_mcp.server import http
from infra_mcp.server.connection_counter import ConnectionCounter
from infra_mcp.server.log import to_stderr
from infra_mcp.server.operator import Operator
from infra_mcp.server.ownership import owned
from infra_mcp.server.socket import check_path, listen
from infra_mcp.server.tools.tool import Service, Toolset
from infra_mcp.settings import Settings

log = logging.getLogger("infra_mcp.server")

_LOOK = 5.0  # seconds until a server that nobody visits, with work to do, looks again whether that is done


@dataclass(frozen=True)
class Serving:
    """Where a server that is ready can be reached."""

    url: str
    socket: Path
    pid: int


async def serve(
    settings: Settings,
    *,
    host: str = http.LOOPBACK,
    port: int = 0,
    ready: Callable[[Serving], None] | None = None,
    policy_pin: str | None = None,
    idle: float | None = None,
    log_file: Path | None = None,
    toolset: Toolset = "all",
) -> None:
    """Serve until SIGTERM, SIGINT or the operator's shutdown; then finish the write in flight, record, and return.

    On demand it also leaves by itself, when nobody has been there for a while and nothing is left to do.

    Args:
        settings: repository, state directory, kubeconfig.
        host: only loopback in this version.
        port: of the HTTP channel; 0 takes a free one, written to `run/http.json` in the state directory.
        ready: called once, when both channels accept calls.
        policy_pin: the digest of the policy the deployment accepts, instead of an operator.
        idle: seconds without a client on the socket or a call over HTTP after which it leaves; None stays.
        log_file: where its log goes, for those who look for it; None when that is its terminal's affair.
        toolset: which tools it offers.

    Raises:
        InfraError: `server-running`, `setup-failed`, `ledger-newer`, `ledger-unavailable`, `invalid-argument`.
    """
    _detach()
    to_stderr(log_file)
    failure: InfraError | None = None
    with owned(settings.state_dir), http.open_listener(host, port) as listener:
        check_path(settings.socket)
        stopping = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(_stop_on_signal, stopping)
            try:
                await _serve(_Start(settings, policy_pin, idle, log_file, toolset, ready), listener, stopping)
            except* InfraError as several:
                failure = _first(several)
            group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    log.info("stopped")


@dataclass(frozen=True)
class _Start:
    """How this server was started."""

    settings: Settings
    policy_pin: str | None
    idle: float | None
    log_file: Path | None
    toolset: Toolset
    ready: Callable[[Serving], None] | None

    def shown(self) -> dict[str, str | None]:
        """What the note in the state directory and `status` say of it."""
        started = "serve" if self.idle is None else "on demand"
        return {"started": started, "log": str(self.log_file) if self.log_file else None}


async def _serve(start: _Start, listener: socket.socket, stopping: anyio.Event) -> None:
    settings = start.settings
    await _check_repository(settings)
    async with anyio.create_task_group() as opening:
        opened = anyio.Event()

        async def give_up() -> None:
            await stopping.wait()
            if not opened.is_set():  # e.g. while a cluster that does not answer is being connected to
                opening.cancel_scope.cancel()

        opening.start_soon(give_up)
        async with Engine.open(settings, policy_pin=start.policy_pin) as engine:
            opened.set()
            service, counter = Service(engine, stopping=stopping, toolset=start.toolset), ConnectionCounter()
            server = http.make_server(service, http.url_of(listener))
            operator = Operator(
                engine.ledger,
                engine.policy,
                stop=stopping.set,
                health=lambda: engine.health() | start.shown(),
                engine=engine,
            )
            serving = Serving(http.url_of(listener), settings.socket, os.getpid())
            async with anyio.create_task_group() as rooms:
                await rooms.start(service.attendants.open)
                accepting = anyio.Event()
                rooms.start_soon(_announce, accepting, serving, start)
                if start.idle is not None:
                    rooms.start_soon(_leave, engine, counter, start.idle, stopping)
                async with anyio.create_task_group() as channels:  # each closes by itself at a stop
                    channels.start_soon(listen, settings.socket, server, operator, accepting, counter)
                    channels.start_soon(http.serve, server, listener, counter)
                rooms.cancel_scope.cancel()
        opening.cancel_scope.cancel()


async def _check_repository(settings: Settings) -> None:
    git = Git(settings.repo, settings.state_dir / "git.lock")
    try:
        await git.check_usable()
    finally:
        await git.aclose()


async def _leave(engine: Engine, counter: ConnectionCounter, idle: float, stopping: anyio.Event) -> None:
    """Stop the server once nobody has been there for that long and no work is left."""
    while True:
        await counter.absent(idle)
        if await _resting(engine) and not counter.present:
            log.info("nobody has been here for %.0f s, and nothing is left to do: stopping", idle)
            stopping.set()
            return
        await anyio.sleep(_LOOK)


async def _resting(engine: Engine) -> bool:
    try:
        return await engine.idle()
    except InfraError:
        return False  # e.g. a ledger that cannot be read: no time to forget what is in it


def _first(group: BaseExceptionGroup[InfraError]) -> InfraError:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


async def _announce(accepting: anyio.Event, serving: Serving, start: _Start) -> None:
    await accepting.wait()  # the HTTP port accepts since it was bound
    note = anyio.Path(start.settings.state_dir / "run" / "http.json")
    place = {"url": serving.url, "pid": serving.pid} | start.shown()
    fresh = note.with_suffix(".new")
    await fresh.write_text(json.dumps(place), encoding="utf-8")
    await fresh.chmod(0o600)
    await fresh.replace(note)  # whole, or as it was
    log.info("serving %s, pid %d", serving.url, serving.pid)
    if start.ready is not None:
        start.ready(serving)


async def _stop_on_signal(stopping: anyio.Event) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
        async for number in received:
            log.info("%s: stopping", signal.Signals(number).name)
            stopping.set()


def _detach() -> None:
    """Give stdin to nobody, so that no child can read a terminal or a parent's pipe."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
