"""Streamable HTTP on loopback: tokens, both eras, and a stop that does not wait for open streams.

Beside it `/healthz` says whether the server takes calls, `/readyz` whether it could carry out a change, and
`/hooks/NAME` takes the events of forges. `/dashboard/…` is the dashboard's, where there is one, and `/metrics` are for
operators.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import anyio
import uvicorn
from mcp.server.auth.settings import AuthSettings
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import AnyHttpUrl
from starlette.responses import JSONResponse

from infra_mcp.errors import InfraError
from infra_mcp.mesh.hooks import Hooks
from infra_mcp.proof import PATH, prove
from infra_mcp.server import decisions, hooks
from infra_mcp.server.app import InfraServer
from infra_mcp.server.auth import Tokens, principal_of
from infra_mcp.server.connections import HttpConnection
from infra_mcp.server.hooks import HookDoor
from infra_mcp.server.http_guard import ALL_SESSIONS, HttpGuard, names_of
from infra_mcp.server.metrics import PATH as METRICS
from infra_mcp.server.metrics import Metrics, MetricsDoor
from infra_mcp.server.outside import Outside, OutsideGuard
from infra_mcp.server.tls import Certificate, TlsConnection

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

    from infra_mcp.model.peer import Caller
    from infra_mcp.server.operator import Operator
    from infra_mcp.server.tools.call import Service

LOOPBACK = "127.0.0.1"
_HEX = re.compile(r"[0-9a-f]{32}")
_QUEUE = 2_048  # connections that wait to be accepted; more are reset
_BACKLOG = 64  # connections accepted at once before the first of them is served
_GRACE = 1  # seconds for open streams at a stop, in which waits are answered


def open_listener(host: str, port: int) -> socket.socket:
    """Bind the port, before it is announced; 0 takes a free one.

    Raises:
        InfraError: `invalid-argument` for a host off loopback, `setup-failed` for a port that is taken.
    """
    if host not in {LOOPBACK, "localhost"}:
        what = f"This channel is on {LOOPBACK} only."
        step = "Leave --host out; to be reached from elsewhere too, give --listen, with TLS."
        raise InfraError("invalid-argument", what, next_step=step)
    # With the protocol named: only then asyncio turns Nagle's delay (40 ms a call) off for accepted connections.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
        listener.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        what = f"Port {port} cannot be used: {getattr(error, 'strerror', None) or 'not a port number'}."
        raise InfraError("setup-failed", what, next_step="Choose another: --port 0 takes a free one.") from None
    return listener


def url_of(listener: socket.socket) -> str:
    """The URL of the MCP endpoint behind a listener."""
    return f"http://{LOOPBACK}:{listener.getsockname()[1]}/mcp"


def make_server(service: Service, url: str) -> InfraServer:
    """The MCP server for both channels, with the bearer tokens of peers (RFC 6750) and its metadata (RFC 9728)."""
    # There is no authorization server: tokens are given out by the operator. The metadata has to name one; it names us.
    auth = AuthSettings(
        issuer_url=AnyHttpUrl(url.removesuffix("/mcp")),
        resource_server_url=AnyHttpUrl(url),
        validate_token_resource=False,  # a token of ours is for this server: it is looked up in this ledger
    )
    server = InfraServer(service, token_verifier=Tokens(service.credentials), auth=auth)

    async def healthz(request: Request) -> Response:  # noqa: ARG001 - the same for every caller
        # Anyone on this machine may ask, so it says no more than that the server takes calls.
        healthy = not service.stopping.is_set()
        return JSONResponse({"ok": healthy}, status_code=200 if healthy else 503)

    async def readyz(request: Request) -> Response:  # noqa: ARG001 - the same for every caller
        missing = await _missing(service)
        return JSONResponse({"ready": not missing, "missing": missing}, status_code=503 if missing else 200)

    async def proof(request: Request) -> Response:
        # Anyone may ask, and learns nothing: the key is in no answer, and no token's name can be guessed.
        which, nonce = (request.query_params.get(name, "") for name in ("token", "nonce"))
        valid = _HEX.fullmatch(which) and _HEX.fullmatch(nonce)
        key = await service.engine.ledger.key_of_token(which) if valid else None
        if key is None:
            return JSONResponse({"error": "There is no such token."}, status_code=404)
        return JSONResponse({"proof": prove(key, nonce)})

    door = HookDoor(Hooks(service.engine, service.releases, service.limits))
    server.custom_route(hooks.PATH, methods=["POST"])(door.answer)
    for path, answer in ((PATH, proof), ("/healthz", healthz), ("/readyz", readyz)):
        server.custom_route(path, methods=["GET"])(answer)
    return server


async def _missing(service: Service) -> list[str]:
    """What a change would lack now: anyone on this machine may read it, so no more than four names."""
    missing = ["server"] if service.stopping.is_set() else []
    try:
        service.engine.policy.current()
    except InfraError:
        missing.append("policy")
    return missing + await service.engine.missing()


class Pages(Protocol):
    """The dashboard, as the server mounts it; the package of that name makes it."""

    async def answer(self, request: Request) -> Response:
        """Answer one request below its path."""

    async def open(self, caller: Caller, page: str) -> dict[str, Any]:
        """A link that opens a page for a caller of the socket, once."""


def open_to_operators(server: InfraServer, operator: Operator, metrics: Metrics) -> None:
    """Take operators' decisions beside the rest, and show them the metrics."""
    server.custom_route(METRICS, methods=["GET"])(MetricsDoor(metrics).answer)
    door = decisions.DecisionDoor(operator)
    for method in decisions.METHODS:
        server.custom_route(f"/{method}", methods=["POST"])(door.answer)


def mount(server: InfraServer, pages: Pages) -> None:
    """Serve the dashboard beside the rest, below a path of its own."""
    server.custom_route("/dashboard/{rest:path}", methods=["GET", "POST"])(pages.answer)


class _Uvicorn(uvicorn.Server):
    """uvicorn without its own signal handling, which the process has, and with a longer queue."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for one in sockets or ():
            one.listen(_QUEUE)  # asyncio makes the queue as long as what it accepts at once

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    server: InfraServer,
    listener: socket.socket,
    beyond: tuple[Outside, socket.socket] | None = None,
) -> None:
    """Serve until the service is stopping; then give open calls a second to be answered, and return.

    Args:
        server: the MCP server behind the channel.
        listener: the bound port on loopback.
        beyond: how to listen elsewhere too, with the bound address.

    Raises:
        InfraError: `setup-failed`: the certificate for elsewhere does not load.
    """
    # The guard checks the names of this machine, and bounds the sessions of each peer.
    security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    app = server.streamable_http_app(host=LOOPBACK, transport_security=security, max_sessions=ALL_SESSIONS)
    service, places = server.service, server.service.connections.room("http")

    async def principal(token: str) -> str | None:
        try:
            caller = await service.credentials.caller(token)
        except InfraError as error:
            if error.code == "ledger-unavailable":
                return None
            raise
        return None if caller is None else principal_of(caller)

    guard = HttpGuard(app, principal, service.connections, service.stopping, url_of(listener))
    runners = [(_Uvicorn(_config(guard, partial(HttpConnection, places), lifespan="on")), listener)]
    shaking: set[TlsConnection] = set()
    if beyond is not None:
        outside, bound = beyond
        url, names = f"{outside.url.rstrip('/')}/mcp", names_of(outside.url)
        inner = HttpGuard(app, principal, service.connections, service.stopping, url, names)
        guarded = OutsideGuard(inner, outside, principal, service.connections.refused)
        made: partial[Any] = partial(HttpConnection, places)
        if outside.cert is not None and outside.key is not None:
            made = partial(TlsConnection, places, Certificate(outside.cert, outside.key), shaking)
        runners.append((_Uvicorn(_config(guarded, made, lifespan="off")), bound))

    async def stop() -> None:
        await service.stopping.wait()
        for runner, _ in runners:
            runner.should_exit = True
        for one in tuple(shaking):
            one.abort()

    async with anyio.create_task_group() as group:
        group.start_soon(stop)
        async with anyio.create_task_group() as serving:
            for runner, bound in reversed(runners):  # the application's own life is the first one's
                serving.start_soon(partial(runner.serve, sockets=[bound]))
        group.cancel_scope.cancel()


def _config(app: ASGIApp, connection: partial[Any], *, lifespan: Literal["on", "off"]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", connection),  # it is only called
        ws="none",
        backlog=_BACKLOG,
        log_config=None,
        access_log=False,
        lifespan=lifespan,
        proxy_headers=False,  # a proxy cannot say who calls
        timeout_graceful_shutdown=_GRACE,
        server_header=False,
        date_header=False,
        h11_max_incomplete_event_size=64 * 1024,
    )
