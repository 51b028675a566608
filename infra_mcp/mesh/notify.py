"""Notifies to the infra peer: a message that is, word for word, a release of one of its sender's apps becomes requests.

Which message that is, in which order versions come and when a release may begin is in the policy (`policy.releases`,
`schedule`, `freezes`). Everything else that is sent to infra waits in its inbox for whoever attends. A notify has no
thread: what comes of it is notified back to its sender.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

from infra_mcp.engine.releases import Hold, hold, is_on_its_way
from infra_mcp.errors import InfraError
from infra_mcp.ledger.ids import request_id
from infra_mcp.ledger.records import ReleaseIn
from infra_mcp.mesh import addresses
from infra_mcp.mesh.intake import now
from infra_mcp.model.actions import RELEASE, Release
from infra_mcp.model.request import Request, State, Submission
from infra_mcp.policy import releases

if TYPE_CHECKING:
    from infra_mcp.engine import Engine
    from infra_mcp.mesh.limits import Limits
    from infra_mcp.model.peer import Caller
    from infra_mcp.policy.policy import Policy


class Notified(NamedTuple):
    """A notify that infra took: its id, and what became of it; both lists empty for one that is only kept."""

    id: str
    requests: tuple[dict[str, Any], ...]
    refused: tuple[dict[str, Any], ...]


class Releases:
    """Takes in the notifies to infra of one server, those about one app one after the other."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._locks: dict[str, anyio.Lock] = {}

    async def take(self, caller: Caller, text: str, words: str, limits: Limits) -> Notified:
        """Take in a notify, durable before this returns.

        Args:
            caller: who sent it; the owner of the apps it can release.
            text: the message, matched as a whole.
            words: what is kept of it: the message and what hung on it.
            limits: the bounds.

        Raises:
            InfraError: `too-many`, `ledger-unavailable`. A release that is not taken is no failure of the notify.
        """
        infra = addresses.infra(self._engine)
        policy = self._policy()
        found = releases.match(policy, caller, text) if policy is not None else []
        async with limits.posting(caller, [infra]), AsyncExitStack() as locked:
            for app in sorted({one.app for one in found}):
                await locked.enter_async_context(self._locks.setdefault(app, anyio.Lock()))
            given = [(one, *(await self._decided(policy, caller, one, words))) for one in found if policy is not None]
            with anyio.CancelScope(shield=True):
                notify_id, accepted = await self._engine.notified(
                    caller, infra, words, [release for _, release, _ in given]
                )
                self._engine.signals.wake(infra.signal)
        states = {one.request.id: one.request.state for one in accepted}
        requests, refused = [], []
        for one, release, held in given:
            told: dict[str, Any] = {"app": one.app, "version": one.version}
            if release.refusal is not None:
                refused.append(told | release.refusal)
                continue
            request = release.same or release.request_id
            told = {"request": request} | told
            if request in states:
                told["state"] = states[request].value
            if release.submission is not None and release.submission.reason:
                told["note"] = release.submission.reason
            if held is not None:
                told |= held.shown()
            if release.supersedes:
                told["supersedes"] = list(release.supersedes)
            requests.append(told)
        return Notified(notify_id, tuple(requests), tuple(refused))

    def _policy(self) -> Policy | None:
        """The policy in force; without one, nothing is a release."""
        try:
            return self._engine.policy.current()
        except InfraError:
            return None

    async def _decided(
        self, policy: Policy, caller: Caller, release: releases.Release, words: str
    ) -> tuple[ReleaseIn, Hold | None]:
        """What becomes of one release, by what landed and what waits at this moment."""
        app = policy.apps[release.app]
        ledger = self._engine.ledger
        waiting = [
            (one.id, one.action.version, one.state)
            for one in await ledger.open_releases(release.app)
            if isinstance(one.action, Release) and not one.dry_run and is_on_its_way(one)
        ]
        landed = await ledger.landed_version(release.app)
        decision = releases.decide(app.order, release.version, landed, waiting)
        if isinstance(decision, releases.Same):
            return ReleaseIn(same=decision.request_id), None
        if isinstance(decision, releases.Older):
            what = f"{release.app} {release.version} is older than {decision.than}, which landed or is on its way."
            error = InfraError("older-version", what)
            return ReleaseIn(refusal=error.as_dict()), None
        action = RELEASE.model_validate({"app": release.app, "version": release.version})
        identity = request_id()
        held = self._held(policy, caller, action, identity)
        submission = Submission(
            caller=caller,
            action=action,
            channel="notify",
            words=self._engine.masker.mask(words),
            reason=decision.note,
            scheduled=held is not None,
        )
        return ReleaseIn(submission=submission, request_id=identity, supersedes=decision.supersedes), held

    @staticmethod
    def _held(policy: Policy, caller: Caller, action: Release, identity: str) -> Hold | None:
        """What keeps it from beginning at once: asked of the engine as it will ask itself."""
        request = Request(
            id=identity,
            caller=caller,
            action=action,
            channel="notify",
            state=State.SCHEDULED,
            created=now(),
            notify="-",
        )
        return hold(policy, request, datetime.now(UTC))
