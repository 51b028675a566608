"""What peers, attending sessions and approvers do, as scenarios for the kill test: each a flow of calls.

A flow that was cut short is gone through again from its beginning; what was answered before is not asked again, what
was not is. So it does what sensible clients do that outlive a server, all of them at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
from e2e.fault_injection import KillCase
from e2e.journal import Journal
from e2e.kill_cases import DEPLOYMENTS, INSIDE
from e2e.scenario import Reply, Scenario

from infra_mcp.errors import InfraError

__all__ = ["FLOWS", "journal"]

_DOCS, _SHOP, _INFRA = ("docs", "docs"), ("shop", "shop"), ("infra", None)
_JOURNALS: dict[str, Journal] = {}


def journal(scenario: Scenario) -> Journal:
    """What the clients of a scenario were told, over all of its flows."""
    return _JOURNALS.setdefault(scenario.name, Journal())


@dataclass
class Flow:
    """One flow: the steps that were answered, and the journal they are written into."""

    scenario: Scenario
    number: int
    answered: dict[str, Any] = field(default_factory=dict)

    @property
    def journal(self) -> Journal:
        """Of the whole scenario."""
        return journal(self.scenario)

    async def step(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        """A step's answer; asked for unless it is known."""
        if name not in self.answered:
            self.answered[name] = await call()
        return self.answered[name]

    async def send(self, kind: str, by: str, to: tuple[str, str | None], text: str) -> str:
        """Send an ask or a notify, again when nobody said that it came; its id."""
        name = f"{kind} {text}"
        if name not in self.answered:
            sender = {"docs": _DOCS, "shop": _SHOP}[by]
            first = f"{name} mark"
            self.answered.setdefault(first, self.journal.mark(kind, sender, [to], text))
            mark, words = self.answered[first]
            self.journal.tried(mark)
            if kind == "ask":
                reply = await self.scenario.tool("ask", by=by, peer_name=to[0], query=words)
            else:
                reply = await self.scenario.tool("notify_peer", by=by, peer_name=to[0], message=words)
            assert reply.ok, reply.text
            identity = str(reply.data["result"])
            self.journal.accepted(mark, identity)
            self.answered[name] = identity
        return str(self.answered[name])

    async def answer(self, tool: Callable[..., Awaitable[Reply]], *, but: str = "", claim: bool = False) -> None:
        """Answer all that is open in an inbox: also an ask whose sender never heard that it came."""
        for ask in [one["id"] for one in (await tool("inbox")).data["asks"] if one["id"] != but]:
            if claim:
                assert (await tool("inbox", claim=ask)).ok
            tried = {"ask": ask, "message": f"re {ask}: yes", "answered": False}
            self.journal.acks.append(tried)
            reply = await tool("ack", correlation_id=ask, message=tried["message"])
            tried["answered"] = reply.ok
            assert reply.ok, reply.text

    async def resolved(self, ask: str, by: str) -> None:
        """Get the one answer to an ask."""
        reply = await self.step(f"wait {ask}", lambda: self.scenario.ack(ask, by=by))
        told = {key: reply.data.get(key) for key in ("reply", "responder", "close_reason")}
        self.journal.replies.append({"ask": ask, **told})
        self.journal.ended(reply.data)

    async def read(self, by: str, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Wait for messages, and mark them as read; which ones is known, once they were seen."""

        async def look() -> list[str]:
            with anyio.fail_after(60):
                while True:
                    box = (await self.scenario.tool("inbox", by=by, wait_seconds=1)).data
                    if ids := [one["id"] for one in box["messages"] if wanted(one)]:
                        return ids
                    await anyio.sleep(0.02)  # what is there already is not what is waited for

        ids = await self.step(f"look {by}", look)
        await self.mark(list({"docs": _DOCS, "shop": _SHOP}[by]), partial(self.scenario.tool, "inbox", by=by), ids)

    async def mark(self, who: list[Any], inbox: Callable[..., Awaitable[Reply]], ids: list[str]) -> None:
        """Mark as read what is there of a reader's."""
        if ids:
            tried = {"by": who, "ids": ids, "answered": False}
            self.journal.read.append(tried)
            tried["answered"] = (await inbox(mark_read=ids)).ok

    async def change(self, tool: str, **arguments: Any) -> Reply:
        """A change under a key of the flow's."""
        reply = await self.scenario.tool(tool, idempotency_key=f"flow-{self.number}", wait_seconds=60, **arguments)
        self.journal.ended(reply.data)
        return reply


_FLOWS: dict[tuple[str, str, int], Flow] = {}


def _of(scenario: Scenario, name: str, number: int) -> Flow:
    return _FLOWS.setdefault((scenario.name, name, number), Flow(scenario, number))


# -- between peers
async def _mail(scenario: Scenario, number: int) -> None:
    """Two peers: an ask that is answered, and news; before that an ask to infra that is not understood."""
    flow = _of(scenario, "mail", number)
    vain = await flow.send("ask", "docs", _INFRA, f"{{0}}: what about {number}?")
    await flow.resolved(vain, "docs")
    ask = await flow.send("ask", "docs", _SHOP, f"{{0}}: is {number} built?")
    await flow.answer(partial(scenario.tool, by="shop"))
    await flow.resolved(ask, "docs")
    await flow.send("notify", "shop", _DOCS, f"{{0}}: build {number} is green")
    await flow.read("docs", lambda one: one["from_peer"] == "shop")


def _answered(scenario: Scenario, _number: int) -> bool:
    return not scenario.rows("SELECT id FROM asks WHERE state = 'open'") + scenario.rows(
        "SELECT id FROM messages WHERE kind = 'notify' AND receiver = 'docs' AND read IS NULL"
    )


# -- an attending session
async def _attended(scenario: Scenario, number: int) -> None:
    """An ask that only people understand: claimed, and done for the asker; and news that nothing follows from."""
    flow = _of(scenario, "attended", number)
    async with scenario.attend() as client:
        call = partial(scenario.call, client)
        ask = await flow.send("ask", "docs", _INFRA, f"{{0}}: could you see to number {number}?")
        await flow.send("notify", "docs", _INFRA, f"{{0}}: {number} merged, do NOT deploy yet")
        while not (row := scenario.rows("SELECT * FROM asks WHERE id = ?", ask)[0])["request"]:
            assert row["state"] == "open", row
            claimed = await call("inbox", claim=ask)
            assert claimed.ok, claimed.text
            await call("provision_namespace", namespace=_place(scenario, number), pull_secrets=["X"], on_behalf_of=ask)
        await flow.answer(call, but=ask, claim=True)
        news = [one["id"] for one in (await call("inbox")).data["messages"]]
        await flow.mark(list(_INFRA), partial(call, "inbox"), news)
    await flow.resolved(ask, "docs")


def _place(scenario: Scenario, number: int) -> str:
    return scenario.fresh(f"f{number}")


def _there(scenario: Scenario, number: int) -> bool:
    account = scenario.live_object("serviceaccount", "default", _place(scenario, number)) or {}
    return account.get("imagePullSecrets") == [{"name": "registry-x"}]


# -- people who approve
async def _approved(scenario: Scenario, number: int) -> None:
    """A change that is parked until an operator says yes."""
    flow = _of(scenario, "approved", number)
    arguments = {"namespace": scenario.fresh(f"guarded{number}"), "pull_secrets": ["X"]}
    reply = await flow.change("provision_namespace", **arguments)
    if reply.data["state"] == "awaiting_approval":
        request, effect = reply.data["request"], reply.data["effect_digest"]
        flow.journal.decided.append({"request": request, "approve": True, "answered": False})
        try:
            await scenario.approve(request, effect)
        except InfraError as error:
            assert error.code == "approval-mismatch", error  # noqa: PT017 - it was heard the time before, and goes on
        else:
            flow.journal.decided[-1]["answered"] = True
    with anyio.fail_after(60):
        while (await flow.change("provision_namespace", **arguments)).data["state"] != "landed":  # noqa: ASYNC110
            await anyio.sleep(0.02)  # a wait ends early where people are waited for


def _guarded(scenario: Scenario, number: int) -> str:
    return scenario.fresh(f"guarded{number}")


def _opened(scenario: Scenario, number: int) -> bool:
    return scenario.live_object("secret", "registry-x", _guarded(scenario, number)) is not None


# -- releases by notify
async def _released(scenario: Scenario, number: int) -> None:
    """A release notice that is a deploy, whose outcome is notified."""
    flow = _of(scenario, "released", number)
    await flow.send("release", "docs", _INFRA, f"release/1.{number}.1 merged, ready to deploy")
    await flow.read("docs", lambda one: one["kind"] == "outcome")


def _live(scenario: Scenario, _number: int) -> str:
    return scenario.namespace


def _deployed(scenario: Scenario, number: int) -> bool:
    return scenario.image().endswith(f":1.{number}.1")


async def _waiting(scenario: Scenario, number: int) -> None:
    """Two releases of one app that must wait: the newer takes the older's place, still waits after a start, and is
    given up."""
    flow = _of(scenario, "waiting", number)
    await flow.send("release", "docs", _INFRA, f"weekly/1.{number}.2 merged")
    await flow.send("release", "docs", _INFRA, f"weekly/1.{number}.3 merged")
    newest = scenario.requests()[-1]
    assert newest["state"] in {"scheduled", "cancelled"}, newest
    reply = await flow.step("cancel", lambda: scenario.tool("cancel", request_id=newest["id"]))
    flow.journal.ended(reply.data)
    await flow.read("docs", lambda one: one["request"] == newest["id"])


def _given_up(scenario: Scenario, number: int) -> bool:
    rows = [row for row in scenario.requests() if f'"1.{number}.' in row["action"]]
    return {row["state"] for row in rows} == {"superseded", "cancelled"} and len(rows) == 2


FLOWS = {
    case.name: case
    for case in (
        KillCase("mail", _mail, frozenset(), (), _live, _answered, "ledger.answer", journal),
        KillCase("attended", _attended, frozenset({"landed"}), INSIDE, _place, _there, "ledger.mail.ask", journal),
        KillCase("approved", _approved, frozenset({"landed"}), INSIDE, _guarded, _opened, journal=journal),
        KillCase(
            # a notice that nobody answered is sent again, and by then the deploy may have landed
            "released", _released, frozenset({"landed", "unchanged"}), (DEPLOYMENTS,), _live, _deployed,
            "ledger.mail.notified", journal,
        ),
        KillCase(
            "waiting", _waiting, frozenset({"superseded", "cancelled"}), (DEPLOYMENTS,), _live, _given_up,
            "ledger.mail.notified", journal,
        ),
    )
}  # fmt: skip
