"""The server as a process: it owns the state directory, opens the engine, serves both channels, and stops cleanly.

Nothing happens at import, so that a process forked after the imports starts in a tenth of a second.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
from collections.abc import Callable
from contextlib import aclosing, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from infra_mcp import __version__, telemetry
from infra_mcp.clients.git import Git
from infra_mcp.engine import Engine
from infra_mcp.errors import InfraError
from infra_mcp.gather import unwrapped
from infra_mcp.server import http
from infra_mcp.server.connections import ConnectionCounter
from infra_mcp.server.log import to_stderr
from infra_mcp.server.metrics import Metrics, check_readers
from infra_mcp.server.operator import Operator
from infra_mcp.server.outside import Outside, open_outside
from infra_mcp.server.ownership import owned
from infra_mcp.server.socket import check_path, listen
from infra_mcp.server.tools.call import Service, Toolset
from infra_mcp.settings import Settings

if TYPE_CHECKING:
    from infra_mcp.ledger import Ledger

log = logging.getLogger("infra_mcp.server")

MakePages = Callable[[Service, Operator, str], http.Pages]  # with the server's address
_NOTE_EVERY = 300.0  # seconds
_CHECK_EVERY = 5.0  # seconds, while a server without clients has work to do


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
    dashboard: MakePages | None = None,
    outside: Outside | None = None,
) -> None:
    """Serve until SIGTERM, SIGINT or the operator's shutdown; then finish the write in flight, record, and return.

    Args:
        settings: repository, state directory, kubeconfig.
        host: only loopback in this version.
        port: of the HTTP channel; 0 takes a free one, written to `run/http.json` in the state directory.
        ready: called once, when both channels accept calls.
        policy_pin: the digest of the policy the deployment accepts, instead of an operator.
        idle: a server on demand leaves after so many seconds without a client and without work; None stays.
        log_file: its log file; None when standard error is a terminal or another program's.
        toolset: which tools it offers.
        dashboard: makes the dashboard; None for none.
        outside: how it listens beyond loopback too; None for not at all.

    Raises:
        InfraError: `server-running`, `setup-failed`, `ledger-newer`, `ledger-unavailable`, `invalid-argument`.
    """
    _detach()
    to_stderr(log_file)
    check_readers()
    telemetry.start(__version__)
    with (
        owned(settings.state_dir),
        http.open_listener(host, port) as listener,
        open_outside(outside) if outside else nullcontext() as bound,
        unwrapped(),
    ):
        beyond = (outside, bound) if outside and bound else None
        check_path(settings.socket)
        stopping = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(_stop_on_signal, stopping)
            start = _Start(settings, policy_pin, idle, log_file, toolset, ready, dashboard, beyond)
            await _serve(start, listener, stopping)
            group.cancel_scope.cancel()
    telemetry.stop()
    log.info("stopped")


@dataclass(frozen=True)
class _Start:
    """This server's start options."""

    settings: Settings
    policy_pin: str | None
    idle: float | None
    log_file: Path | None
    toolset: Toolset
    ready: Callable[[Serving], None] | None
    dashboard: MakePages | None
    beyond: tuple[Outside, socket.socket] | None

    def shown(self) -> dict[str, str | None]:
        """What the note in the state directory and `status` show of it."""
        started = "serve" if self.idle is None else "on demand"
        shown = {"started": started, "log": str(self.log_file) if self.log_file else None}
        return shown | ({"elsewhere": f"{self.beyond[0].url.rstrip('/')}/mcp"} if self.beyond else {})


async def _serve(start: _Start, listener: socket.socket, stopping: anyio.Event) -> None:
    settings = start.settings
    async with aclosing(Git(settings.repo, settings.state_dir / "git.lock")) as git:
        await git.check_usable()
    async with anyio.create_task_group() as opening:
        opened = anyio.Event()

        async def give_up() -> None:
            await stopping.wait()
            if not opened.is_set():  # e.g. while a cluster that does not answer is being connected to
                opening.cancel_scope.cancel()

        opening.start_soon(give_up)
        async with Engine.open(settings, policy_pin=start.policy_pin) as engine:
            opened.set()
            service = Service(engine, stopping=stopping, toolset=start.toolset)
            server = http.make_server(service, http.url_of(listener))

            def health() -> dict[str, Any]:
                return engine.health() | start.shown() | {"refused": service.connections.refusals() or None}

            operator = Operator(engine.ledger, engine.policy, stop=stopping.set, health=health, engine=engine)
            if start.dashboard is not None:
                pages = start.dashboard(service, operator, http.url_of(listener).removesuffix("/mcp"))
                http.mount(server, pages)
                operator = replace(operator, dashboard=pages.open)
            metrics = Metrics(service, (await engine.ledger.newest())[0])
            http.open_to_operators(server, operator, metrics)
            serving = Serving(http.url_of(listener), settings.socket, os.getpid())
            async with anyio.create_task_group() as beside:
                await beside.start(service.attendants.open)
                accepting = anyio.Event()
                beside.start_soon(_announce, accepting, serving, start)
                beside.start_soon(_note_uses, engine.ledger)
                if start.idle is not None:
                    beside.start_soon(_leave, engine, service.connections, start.idle, stopping)
                async with anyio.create_task_group() as channels:  # each closes at a stop
                    channels.start_soon(listen, settings.socket, server, operator, accepting)
                    channels.start_soon(http.serve, server, listener, start.beyond)
                beside.cancel_scope.cancel()
        opening.cancel_scope.cancel()


async def _note_uses(ledger: Ledger) -> None:
    """Write down now and then, and at the stop, which tokens were used."""
    try:
        while True:
            await anyio.sleep(_NOTE_EVERY)
            with suppress(InfraError):  # tried again the next time
                await ledger.note_uses()
    finally:
        with anyio.CancelScope(shield=True), suppress(InfraError):
            await ledger.note_uses()


async def _leave(engine: Engine, counter: ConnectionCounter, idle: float, stopping: anyio.Event) -> None:
    """Stop the server after so many seconds without clients, once no work is left."""
    while True:
        await counter.absent(idle)
        with suppress(InfraError):  # e.g. the ledger cannot be read: work may be left
            if await engine.idle() and not counter.present:
                log.info("no client for %.0f s, and no work left: stopping", idle)
                stopping.set()
                return
        await anyio.sleep(_CHECK_EVERY)


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
    """Replace stdin, so that no child can read a terminal or a parent's pipe."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
