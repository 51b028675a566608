"""A server whose engine parks what needs an approval, and clients whose hosts put a question before a person.

Decided by the real policy, recorded in the real ledger, and approved by the engine's own `Decisions`; made up are only
the plans, and what becomes of a request that may go on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import httpx2
import running_server as running_server_module
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import ElicitResult
from running_server import POLICY, FakeEngine, RunningServer, running_server, unix_transport

from infra_mcp.engine import report
from infra_mcp.engine.approvals import Decisions, wait_for
from infra_mcp.engine.run import Planned
from infra_mcp.model.approval import Decided, Way
from infra_mcp.model.effect import Change, Effect, FieldChange, Part
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.model.peer import Caller
from infra_mcp.model.record import Record
from infra_mcp.model.request import END, Request, State
from infra_mcp.policy.decide import judge
from infra_mcp.policy.policy import Policy

__all__ = ["SITE", "Host", "ParkingEngine", "approval_server", "session", "waiting"]

SITE = "registry.example/docs/site"
RULES = """
[[rules]]
id = "docs-needs-one"
match = { namespaces = ["docs-*"] }
require = { approvals = 1, by = "operator" }
[attend]
namespaces = ["docs-*"]
actions = ["provision_namespace", "deploy"]
images = ["registry.example/docs/*"]
"""


def plan_of(request: Request, note: str | None = None) -> Planned:
    """A plan that sets the app's image, and perhaps one thing more."""
    ref = ObjectRef(cluster="sandbox", api_version="apps/v1", kind="Deployment", namespace="docs-live", name="docs")
    fields = [FieldChange(path=("spec", "image"), before=f"{SITE}:1", after=f"{SITE}:{request.action.version}")]
    if note is not None:
        fields.append(FieldChange(path=("metadata", "labels", "note"), before="old", after=note))
    change = Change(target=ref.target, operation="update", fields=tuple(fields))
    effect = Effect(
        action=request.action.model_dump(mode="json"),
        parts=(Part(driver="kubernetes", place="sandbox", stage=0, changes=(change,)),),
        files=(),
    )
    return Planned(effect, ())


@dataclass
class ParkingEngine(FakeEngine):
    """The scripted engine, with requests that wait for approval."""

    decided: list[tuple[str, bool, Way]] = field(default_factory=list)

    async def park(self, request: Request, note: str | None = None) -> bool:
        """Park a request by a plan with this note; false when policy wants nobody's approval."""
        plan = plan_of(request, note)
        verdict = judge(self.policy.current(), request.caller, request.action, plan.effect)
        if verdict.decision != "needs-approval":
            return False
        waiting = wait_for(verdict, plan.effect.digest, None, datetime.now(UTC))
        data = {
            "effect_digest": plan.effect.digest,
            "plan": report.shown_plan(plan),
            "needs": [need.model_dump(mode="json") for need in verdict.needs],
            "until": waiting.until,
        }
        await self.ledger.record(
            request.id,
            State.AWAITING_APPROVAL,
            "approval-needed",
            data,
            record=Record(awaiting=waiting).kept(),
            effect_digest=plan.effect.digest,
        )
        return True

    async def _carry(self, request: Request) -> None:
        if self._refused(request) is None and await self.park(request):
            self.signals.wake(request.id)
            self.ended[request.id].set()
            return
        await super()._carry(request)

    async def get(self, caller: Caller, request_id: str) -> Request | None:
        """As the engine does it."""
        found = await self.ledger.request(request_id)
        return found if found is not None and (caller.reads_all or found.caller.circle == caller.circle) else None

    async def approve(self, by: Caller, request_id: str, digest: str, decided: Decided) -> Request:
        """As the engine does it; what may go on lands at once."""
        decisions = Decisions(self.ledger)
        request, goes_on = await decisions.decide(by, request_id, digest, decided, Policy(), datetime.now(UTC))
        self.decided.append((digest, decided.approve, decided.way))
        if goes_on:
            await self.ledger.finish(request.id, self.script(request), {})
            request = await self.ledger.request(request_id) or request
        assert request.state in END
        return request

    def _refused(self, request: Request) -> Any:  # noqa: ARG002 - `judge` does it, in `park`
        return None


@dataclass
class Host:
    """What a person does when their host puts a form before them: `answer`, and what they were shown.

    Args:
        answer: accept, decline or cancel; with what in the form; or what to do first.
        shown: the questions.
    """

    answer: Callable[[], ElicitResult] = lambda: ElicitResult(action="accept", content={"approve": True})
    shown: list[Any] = field(default_factory=list)

    async def ask(self, _: Any, params: Any) -> ElicitResult:
        self.shown.append(params)
        answer = self.answer()
        return await answer if not isinstance(answer, ElicitResult) else answer


@asynccontextmanager
async def approval_server(
    tmp_path: Path, monkeypatch: Any, channel: str = "unix", more: str = ""
) -> AsyncIterator[RunningServer]:
    """A server where changes in docs-* need an approval, with an operator `olga` who has a token.

    `more` is added to its policy.
    """
    monkeypatch.setattr(running_server_module, "FakeEngine", ParkingEngine)
    async with running_server(tmp_path, channel, policy=POLICY + RULES + more) as at:
        await at.engine.ledger.add_peer("olga", "", operator=True)
        at.tokens["olga"] = await at.engine.ledger.issue_token("olga")
        yield at


@asynccontextmanager
async def session(at: RunningServer, who: str, mode: str, host: Host | None = None) -> AsyncIterator[Client]:
    """A client with a person behind it (or none): `attending` over the socket, or `operator`, olga over HTTP.

    Args:
        at: the server.
        who: one of the two.
        mode: the era.
        host: the person; without one the client does not say that it can ask.
    """
    callback = host.ask if host is not None else None
    if who == "attending":
        transport = unix_transport(at.socket, {"attend": "infra"})
        async with Client(transport, mode=mode, cache=None, elicitation_callback=callback) as client:
            yield client
        return
    headers = {"Authorization": f"Bearer {at.tokens['olga']}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30) as web,
        Client(
            streamable_http_client(at.url, http_client=web), mode=mode, cache=None, elicitation_callback=callback
        ) as client,
    ):
        yield client


async def waiting(at: RunningServer, **more: Any) -> Request:
    """A deploy that docs asked for and that waits for an approval."""
    async with at.unix("docs") as client:
        result = await client.call_tool("deploy", {"app": "docs", "version": "2", **more})
    with anyio.fail_after(30):
        found = await at.engine.ledger.request(result.structured_content["request"])
    assert found is not None
    assert found.state is State.AWAITING_APPROVAL
    return found
