"""A real ledger with a real policy in force, a clock of the test's own, and requests in it."""

from datetime import UTC, datetime, timedelta

import anyio
import policy_texts
import pytest

from infra_mcp.engine.approvals import Decisions, wait_for
from infra_mcp.errors import InfraError
from infra_mcp.ledger.ids import request_id
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.approval import Decided, Need, Verdict
from infra_mcp.model.outcome import Receipt
from infra_mcp.model.peer import Address, Caller
from infra_mcp.model.record import Record
from infra_mcp.model.request import State, Submission
from infra_mcp.policy.policy import Policy, digest_of

__all__ = ["DOCS", "EFFECT", "NEED", "PAT", "Clock", "LedgerFixture"]

DOCS = Caller(name="docs", circle="docs", strength="token")
PAT = Caller(name="pat", circle=None, strength="token", operator=True)
EFFECT = "sha256:" + "e" * 64
NEED = Need(rule="rules.two", approvals=1, seconds=600.0)

POLICY = (
    """
[clusters.sandbox]
context = "kwok-infra"
"""
    + policy_texts.DOCS
    + """
deploy_on = "release/{version} merged"
schedule = "now"
order = "semver"
"""
)


class Clock:
    """A clock that the test sets."""

    def __init__(self):
        self.time = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)  # a Monday

    def __call__(self):
        return self.time

    def forward(self, **by):
        self.time += timedelta(**by)

    @property
    def stamp(self):
        return self.time.isoformat()


class LedgerFixture:
    """The ledger, the policy and the clock of one test.

    Args:
        ledger: a fresh one.
        policy: what is in force in it.
        file: the policy's file.
    """

    def __init__(self, ledger, policy, file):
        self.ledger, self.policy, self.file, self.clock = ledger, policy, file, Clock()

    async def rule(self, more="", *, schedule="now", order="semver", workload="docs-live/deployment/docs"):
        """Put a policy in force."""
        text = POLICY.replace('"now"', f'"{schedule}"').replace('"semver"', f'"{order}"')
        text = text.replace("docs-live/deployment/docs", workload) + more
        self.file.write_text(text, encoding="utf-8")
        await self.policy.accept(digest_of(text), PAT)

    async def deploy(self, version="0.13.4", *, app="docs", caller=DOCS, **given):
        """A deploy by a tool, queued."""
        action = Deploy(app=app, version=version)
        submission = Submission(caller=caller, action=action, channel=given.pop("channel", "tool"), **given)
        taken = await self.ledger.accept(submission, request_id=request_id(), ask=None, now=self.clock.stamp)
        return taken.request

    async def release(self, version="0.13.4", *, scheduled=True):
        """A release by a notify."""
        infra = Address(name="infra")
        told = await self.ledger.mail.post(DOCS, [infra], f"release/{version} merged", now=self.clock.stamp)
        return await self.deploy(version, channel="notify", scheduled=scheduled, notify=told)

    async def ends(self, request, state=State.LANDED):
        """End a request."""
        made = Receipt(request=request.id, state=state, message="it is so", action="deploy")
        await self.ledger.finish(request.id, made, {})

    async def dry_runs(self, many):
        """So many dry runs that have ended; side by side, so that they share the ledger's waits for the disk."""

        places = anyio.Semaphore(20)  # a peer may have so many open, and more

        async def one(number):
            async with places:
                await self.ends(await self.deploy(f"2.0.{number}", dry_run=True), State.PREVIEWED)

        async with anyio.create_task_group() as group:
            for number in range(many):
                group.start_soon(one, number)

    async def awaits(self, *needs, effect=EFFECT, request=None, signers=None):
        """A deploy that awaits an approval."""
        request = request or await self.deploy()
        verdict = Verdict(decision="needs-approval", rule="rules.two", reason="Two must agree.", needs=needs or (NEED,))
        verdict = verdict.model_copy(update={"signers": signers or {}})
        waiting = wait_for(verdict, effect, None, self.clock())
        await self.ledger.record(
            request.id,
            State.AWAITING_APPROVAL,
            "approval-needed",
            {},
            record=Record(awaiting=waiting).kept(),
            effect_digest=effect,
        )
        return await self.now(request)

    async def decide(
        self, request, by=PAT, effect=EFFECT, *, approve=True, way="cli", signature=None, policy=None, bypass=""
    ):
        """One person's decision on a parked request."""
        decisions = Decisions(self.ledger)
        decided = Decided(approve=approve, way=way, signature=signature, bypass=bypass)
        return await decisions.decide(by, request.id, effect, decided, policy or Policy(), self.clock())

    async def refuses(self, request, *args, **given):
        """The error by which a decision is refused; it leaves no approval."""
        with pytest.raises(InfraError) as refused:
            await self.decide(request, *args, **given)
        assert await self.ledger.approvals.of(request.id) == []
        return refused.value

    async def now(self, request):
        """A request as it is now."""
        return await self.ledger.request(request.id)
