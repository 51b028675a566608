"""The server as a process: it owns the state directory, opens the engine, serves both doors, and stops cleanly.

Nothing happens at import, so that a process forked after the imports can start in a tenth of a second.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anyio

from infra_mcp.engine import Engine
from infra_mcp.errors import InfraError
from infra_mcp.server import http
from infra_mcp.server.operator import Operator
from infra_mcp.server.ownership import owned
from infra_mcp.server.socket import check_path, listen
from infra_mcp.server.tools.tool import Service
from infra_mcp.settings import Settings

__all__ = ["Serving", "serve"]

log = logging.getLogger("infra_mcp.server")


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
) -> None:
    """Serve until SIGTERM, SIGINT or the operator's shutdown; then finish the write in flight, record, and return.

    Args:
        settings: repository, state directory, kubeconfig.
        host: only loopback in this version.
        port: of the HTTP door; 0 takes a free one, written to `run/http.json` in the state directory.
        ready: called once, when both doors accept calls.
        policy_pin: the digest of the policy the deployment accepts, instead of an operator.

    Raises:
        InfraError: `server-running`, `setup-failed`, `ledger-newer`, `ledger-unavailable`, `invalid-argument`.
    """
    _detach()
    failure: InfraError | None = None
    with owned(settings.state_dir), http.open_listener(host, port) as listener:
        check_path(settings.socket)
        stopping = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(_stop_on_signal, stopping)
            try:
                await _serve(settings, listener, ready, policy_pin, stopping)
            except* InfraError as several:
                failure = _first(several)
            group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    log.info("stopped")


async def _serve(
    settings: Settings,
    listener: socket.socket,
    ready: Callable[[Serving], None] | None,
    policy_pin: str | None,
    stopping: anyio.Event,
) -> None:
    async with anyio.create_task_group() as opening:
        opened = anyio.Event()

        async def give_up() -> None:
            await stopping.wait()
            if not opened.is_set():  # e.g. while a cluster that does not answer is being connected to
                opening.cancel_scope.cancel()

        opening.start_soon(give_up)
        async with Engine.open(settings, policy_pin=policy_pin) as engine:
            opened.set()
            service = Service(engine, stopping=stopping)
            server = http.make_server(service, http.url_of(listener))
            operator = Operator(
                engine.ledger, engine.policy, settings.policy_file, stop=stopping.set, health=engine.health
            )
            serving = Serving(http.url_of(listener), settings.socket, os.getpid())
            async with anyio.create_task_group() as doors:
                accepting = anyio.Event()
                doors.start_soon(listen, settings.socket, server, operator, accepting)
                doors.start_soon(_announce, accepting, serving, settings, ready)
                await http.serve(server, listener)
                doors.cancel_scope.cancel()
        opening.cancel_scope.cancel()


def _first(group: BaseExceptionGroup[InfraError]) -> InfraError:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


async def _announce(
    accepting: anyio.Event, serving: Serving, settings: Settings, ready: Callable[[Serving], None] | None
) -> None:
    await accepting.wait()  # the HTTP port accepts since it was bound
    note = anyio.Path(settings.state_dir / "run" / "http.json")
    await note.write_text(json.dumps({"url": serving.url, "pid": serving.pid}), encoding="utf-8")
    if ready is not None:
        ready(serving)


async def _stop_on_signal(stopping: anyio.Event) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
        async for number in received:
            log.info("%s: stopping", signal.Signals(number).name)
            stopping.set()


def _detach() -> None:
    """Give stdin to nobody, so that no child can read a terminal or a parent's pipe, and log to stderr."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.umask(0o077)
    if not logging.getLogger().handlers:
        form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=form)
        for noisy in ("mcp", "uvicorn", "sse_starlette", "alembic", "httpx2"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
