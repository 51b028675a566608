"""A whole server in this process over real transports, with a scripted engine behind a real ledger and policy.

The engine here decides by the real policy and ends requests as the test's script says; nothing else is made up: the
ledger, tokens, HTTP, the unix socket and the MCP client are the real ones. Tests of what the engine does are elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import httpx2
from ledger_template import open_new
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage
from mcp.types.jsonrpc import JSONRPCRequest, jsonrpc_message_adapter
from pydantic import BaseModel

from infra_mcp.dashboard.door import Dashboard
from infra_mcp.engine.signals import Signals
from infra_mcp.errors import InfraError
from infra_mcp.ledger import Accepted, Ask, AskIn, Ledger
from infra_mcp.ledger.ids import request_id
from infra_mcp.ledger.records import ReleaseIn
from infra_mcp.masking import texts
from infra_mcp.mesh.attending import AttendantSessions
from infra_mcp.mesh.intake import now
from infra_mcp.model.outcome import Receipt
from infra_mcp.model.peer import Address, Caller
from infra_mcp.model.request import END, Request, State, Submission
from infra_mcp.policy.acceptance import PolicyInForce
from infra_mcp.policy.decide import admit, refusal
from infra_mcp.policy.policy import digest_of
from infra_mcp.server import http
from infra_mcp.server.metrics import Metrics
from infra_mcp.server.operator import OPERATOR, Operator
from infra_mcp.server.outside import Outside, open_outside
from infra_mcp.server.ownership import prepared
from infra_mcp.server.socket import MAX_LINE, listen
from infra_mcp.server.tools.call import Service
from infra_mcp.settings import Settings

__all__ = ["POLICY", "FakeEngine", "RunningServer", "running_server"]

POLICY = """
[clusters.sandbox]
context = "kwok-infra"
[circles.docs]
namespaces = ["docs-*"]
actions = ["provision_namespace", "deploy"]
pull_secrets = ["X"]
labels = ["team", "tier"]
images = ["registry.example/docs/*"]
[circles.shop]
namespaces = ["shop-*"]
actions = ["provision_namespace"]
[circles.readers]
namespaces = ["docs-*"]
[pull_secrets.X]
from = "infra-secrets/registry-x"
[apps.docs]
owner = "docs"
workload = "docs-live/deployment/docs"
image = "registry.example/docs/site:{version}"
"""

Script = Callable[[Request], Receipt]


def landed(request: Request) -> Receipt:
    """Everything lands."""
    return Receipt(
        request=request.id,
        state=State.PREVIEWED if request.dry_run else State.LANDED,
        message=f"{request.action.action} is done.",
        action=request.action.action,
        effect_digest="sha256:" + "e" * 64,
        commit="c" * 40,
        objects=("namespace/docs-staging",),
    )


@dataclass
class FakeEngine:
    """What the channels need of an engine. Requests end as `script` says, once `gate` is open."""

    settings: Settings
    ledger: Ledger
    policy: PolicyInForce
    group: anyio.abc.TaskGroup
    script: Script = landed
    gate: anyio.Event = field(default_factory=anyio.Event)
    ended: dict[str, anyio.Event] = field(default_factory=dict)
    submitted: list[Submission] = field(default_factory=list)
    cancelled: set[str] = field(default_factory=set)
    asked: anyio.Event = field(default_factory=anyio.Event)  # set at the first submission
    signals: Signals = field(default_factory=Signals)
    health_of: dict[str, dict[str, Any]] = field(default_factory=dict)  # by app

    @property
    def masker(self) -> Any:
        return self.ledger.masker

    async def submit(self, submission: Submission, ask: AskIn | None = None) -> Accepted:
        action = submission.action.model_dump(mode="json")
        if self.masker.sparing(texts(action)).mask_json(action) != action:
            raise InfraError("invalid-argument", "An argument carries what looks like a secret.")
        self.submitted.append(submission)
        self.asked.set()
        budgets = self.policy.budgets(submission.caller.circle)
        accepted = await self.ledger.accept(submission, request_id=request_id(), ask=ask, now=now(), budgets=budgets)
        if accepted.fresh:
            self._begin(accepted.request)
        return accepted

    async def notified(
        self, sender: Caller, infra: Address, text: str, releases: Sequence[ReleaseIn], *, notify: str | None = None
    ) -> tuple[str, list[Accepted]]:
        known = {"now": now(), "notify": notify, "budgets": self.policy.budgets(sender.circle)}
        told, taken = await self.ledger.mail.notified(sender, infra, text, releases, **known)
        for accepted in taken:
            if accepted.fresh and accepted.request.state is not State.SCHEDULED:
                self._begin(accepted.request)
        self.signals.wake(infra.signal, Address(name=sender.name, circle=sender.circle).signal)
        return told, taken

    def progress(self, request_id: str) -> str:
        return f"{request_id} is in the test's hands"

    def _begin(self, request: Request) -> None:
        self.ended[request.id] = anyio.Event()
        self.group.start_soon(self._carry, request)

    async def _carry(self, request: Request) -> None:
        receipt = self._refused(request)
        if receipt is None:
            await self.gate.wait()
            if request.id in self.cancelled:
                return
            receipt = self.script(request)
        await self.ledger.finish(request.id, receipt, {})
        self._told(request)

    def _told(self, request: Request) -> None:
        self.ended[request.id].set()
        asker = Address(name=request.caller.name, circle=request.caller.circle)
        self.signals.wake(request.id, request.ask or "", asker.signal)

    def _refused(self, request: Request) -> Receipt | None:
        verdict = admit(self.policy.current(), request.caller, request.action)
        if verdict.decision == "allow":
            return None
        error = refusal(verdict)
        name = request.action.action
        return Receipt(request=request.id, state=State.REFUSED, message=error.what, action=name, error=error.as_dict())

    async def wait(self, request_id: str, seconds: float, seen: Callable[[Request], None] = lambda _: None) -> Request:
        if found := await self.ledger.request(request_id):
            seen(found)
        with anyio.move_on_after(seconds):
            await self.ended[request_id].wait()
        found = await self.ledger.request(request_id)
        assert found is not None
        return found

    async def wait_ask(
        self, ask_id: str, seconds: float, seen: Callable[[Ask], None] = lambda _: None, *, request: str | None = None
    ) -> Ask:
        deadline = anyio.current_time() + seconds
        while True:
            with self.signals.waiter(ask_id, *([request] if request else [])) as event:
                found = await self.ledger.ask(ask_id)
                assert found is not None
                seen(found)
                if found.state != "open" or anyio.current_time() >= deadline:
                    return found
                with anyio.move_on_at(deadline):
                    await event.wait()

    async def get(self, caller: Caller, request_id: str) -> Request | None:
        found = await self.ledger.request(request_id)
        return None if found is None or (not caller.reads_all and found.caller.circle != caller.circle) else found

    async def cancel(self, caller: Caller, request_id: str) -> Request:
        found = await self.get(caller, request_id)
        if found is None:
            raise InfraError("not-found", "There is no such request.")
        if found.state in END:
            raise InfraError("too-late", f"{request_id} has ended.")
        self.cancelled.add(request_id)
        message = "Cancelled before anything was changed."
        receipt = Receipt(request=request_id, state=State.CANCELLED, message=message, action=found.action.action)
        await self.ledger.finish(request_id, receipt, {})
        self._told(found)
        return await self.wait(request_id, 5)

    async def status(
        self, caller: Caller, *, namespace: str | None = None, app: str | None = None, place: str | None = None
    ) -> dict[str, Any]:
        told = {"cluster": "sandbox", "circle": caller.circle, "namespace": namespace, "app": app, "open": []}
        return told | ({"place": place} if place else {})

    async def apps(self, caller: Caller, app: str | None = None) -> list[dict[str, Any]]:
        return [{"app": app or "docs", "owner": caller.name, "version": "1.4.0"}]

    async def healths(self, lines: Sequence[Any], seconds: float) -> list[dict[str, Any] | None]:  # noqa: ARG002
        return [self.health_of.get(one["app"]) for one in lines]

    async def head(self) -> str:
        return "b" * 40

    def health(self) -> dict[str, Any]:
        return {"working": True}

    async def missing(self) -> list[str]:
        return []


@dataclass
class RunningServer:
    """A running server and the ways into it."""

    engine: FakeEngine
    service: Service
    operator: Operator
    url: str
    socket: Path
    tokens: dict[str, str]
    dashboard: Dashboard

    def http(self, peer: str | None, mode: str = "auto") -> AbstractAsyncContextManager[Client]:
        """A client over HTTP with the token of a peer."""
        return self._http(self.tokens[peer] if peer else None, mode)

    @asynccontextmanager
    async def _http(self, token: str | None, mode: str) -> AsyncIterator[Client]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=30) as web,
            Client(streamable_http_client(self.url, http_client=web), mode=mode, cache=None) as client,
        ):
            yield client

    def unix(self, peer: str | None, mode: str = "auto") -> AbstractAsyncContextManager[Client]:
        """A client over the unix socket, as a peer or, without one, as the operator."""
        return self._unix(self.tokens[peer] if peer else None, mode)

    def attending(self, mode: str = "auto") -> AbstractAsyncContextManager[Client]:
        """A client of a session that attends as infra, over the unix socket; its claims end with the block."""
        return self._unix(None, mode, {"attend": "infra"})

    @asynccontextmanager
    async def _unix(self, token: str | None, mode: str, hello: dict[str, Any] | None = None) -> AsyncIterator[Client]:
        hello = hello or ({"token": token} if token is not None else None)
        async with Client(unix_transport(self.socket, hello), mode=mode, cache=None) as client:
            yield client

    async def add(self, name: str, circle: str) -> None:
        """One more peer, with a token of its own; known here as its name, or name@circle where that is taken."""
        await self.engine.ledger.add_peer(name, circle)
        token = await self.engine.ledger.issue_token(name, circle)
        self.tokens[name if name not in self.tokens else f"{name}@{circle}"] = token


@asynccontextmanager
async def unix_transport(path: Path, hello: dict[str, Any] | None) -> AsyncIterator[Any]:
    """An MCP transport over the socket's framing, for the SDK's own client; `hello` is who it says it is.

    On asyncio's streams: with anyio's, a read that is cancelled as data comes (a server killed at random) can end in an
    InvalidStateError out of the event loop (`_wait_until_readable`, akin to its issue 1267).
    """
    to_client, client_reads = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    client_writes, from_client = anyio.create_memory_object_stream[SessionMessage](0)
    reader, writer = await asyncio.open_unix_connection(path, limit=MAX_LINE)

    async def send(message: BaseModel) -> None:
        writer.write(message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
        try:
            await writer.drain()
        except ConnectionError as error:
            raise anyio.BrokenResourceError from error

    try:
        async with anyio.create_task_group() as group:
            if hello is not None:
                first = JSONRPCRequest(jsonrpc="2.0", id="hello", method="infra/hello", params=hello)
                await send(first)

            async def read() -> None:
                async with to_client:
                    with suppress(ConnectionError):
                        while (line := await reader.readline()).endswith(b"\n"):
                            message = jsonrpc_message_adapter.validate_json(line, by_name=False)
                            if getattr(message, "id", None) != "hello":
                                await to_client.send(SessionMessage(message))

            async def write() -> None:
                async with from_client:
                    async for item in from_client:
                        await send(item.message)

            group.start_soon(read)
            group.start_soon(write)
            yield client_reads, client_writes
            group.cancel_scope.cancel()
    finally:
        writer.close()


@asynccontextmanager
async def running_server(
    tmp_path: Path,
    channel: str = "both",
    *,
    script: Script = landed,
    held: bool = False,
    policy: str | None = POLICY,
    grace: float = 60.0,
    outside: Outside | None = None,
) -> AsyncIterator[RunningServer]:
    """A running server with peers docs, shop and reader, each of a circle of that name.

    Args:
        tmp_path: for state and repository.
        channel: `unix` leaves HTTP out, which takes longer to stop.
        script: how requests end.
        held: requests wait for `engine.gate` before they end.
        policy: the accepted policy's text; None for none.
        grace: seconds for which asks wait after the last attendant left.
        outside: how it listens beyond loopback too.
    """
    settings = Settings(repo=tmp_path / "repo", state_dir=tmp_path / "state", kubeconfig=tmp_path / "none")
    settings.repo.mkdir(exist_ok=True)
    prepared(settings.state_dir)
    ledger = await open_new(settings.state_dir)
    in_force = PolicyInForce(settings.policy_file, ledger)
    if policy is not None:
        settings.policy_file.write_text(policy, encoding="utf-8")
        await in_force.accept(digest_of(policy), OPERATOR)
    tokens = {}
    for name, circle in (("docs", "docs"), ("shop", "shop"), ("reader", "readers")):
        await ledger.add_peer(name, circle)
        tokens[name] = await ledger.issue_token(name)
    try:
        with (
            http.open_listener(http.LOOPBACK, 0) as listener,
            open_outside(outside) if outside else nullcontext() as bound,
        ):
            beyond = (outside, bound) if outside and bound else None
            async with anyio.create_task_group() as group:
                engine = FakeEngine(settings, ledger, in_force, group, script)
                if not held:
                    engine.gate.set()
                service = Service(engine)  # type: ignore[arg-type]
                service.attendants = AttendantSessions(engine, grace)  # type: ignore[arg-type]
                await group.start(service.attendants.open)
                url = http.url_of(listener)
                server = http.make_server(service, url)
                operator = Operator(
                    ledger,
                    in_force,
                    stop=service.stopping.set,
                    health=engine.health,
                    engine=engine,  # type: ignore[arg-type]
                )
                http.open_to_operators(server, operator, Metrics(service, (await ledger.newest())[0]))
                pages = Dashboard(service, operator, url.removesuffix("/mcp"))
                http.mount(server, pages)
                operator = replace(operator, dashboard=pages.open)
                ready = anyio.Event()
                stopped = anyio.Event()

                async def web() -> None:
                    if channel != "unix":
                        await http.serve(server, listener, beyond)
                    stopped.set()

                group.start_soon(web)
                group.start_soon(listen, settings.socket, server, operator, ready)
                await ready.wait()
                try:
                    yield RunningServer(engine, service, operator, url, settings.socket, tokens, pages)
                finally:
                    service.stopping.set()
                    with anyio.CancelScope(shield=True):
                        await stopped.wait()
                    group.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await ledger.aclose()
