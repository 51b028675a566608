"""Messages without an answer: a notify to one peer, a broadcast to the sender's circle.

A notify to the infra peer that is, word for word, a release of one of its sender's apps becomes requests, and their
results are notified back (see `policy.releases`). Any other waits in infra's inbox for an attending session.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

from infra_mcp.engine.releases import Hold, hold, is_on_its_way, rolled_back
from infra_mcp.errors import InfraError
from infra_mcp.ledger.ids import request_id
from infra_mcp.ledger.records import ReleaseIn
from infra_mcp.mesh import addresses
from infra_mcp.mesh.intake import now
from infra_mcp.model.actions import RELEASE, Release
from infra_mcp.model.peer import Address
from infra_mcp.model.request import Request, State, Submission
from infra_mcp.policy import releases

if TYPE_CHECKING:
    from infra_mcp.engine import Engine
    from infra_mcp.mesh.limits import Limits
    from infra_mcp.model.peer import Caller
    from infra_mcp.policy.policy import Policy

_BIG = 10  # receivers of a broadcast that cost as much as one message


class Broadcast(NamedTuple):
    """The receivers that a broadcast reached, and the others with the reason."""

    id: str
    reached: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]


async def send(engine: Engine, caller: Caller, receiver: Address, text: str, limits: Limits) -> str:
    """Send a message to one peer's inbox, where it stays until marked as read; returns its id.

    Raises:
        InfraError: `too-many`, `ledger-unavailable`.
    """
    async with limits.posting(caller, [receiver]):
        with anyio.CancelScope(shield=True):
            sent = await engine.ledger.mail.post(caller, [receiver], text, "notify", now=now())
            engine.signals.wake(receiver.signal)
    return sent


async def broadcast(engine: Engine, caller: Caller, text: str, limits: Limits) -> Broadcast:
    """Send a message to every other peer of the caller's circle, in one transaction.

    Raises:
        InfraError: `policy-denied` for a caller without a circle; `too-many`, `ledger-unavailable`.
    """
    if caller.circle is None:
        what = "Only a peer of a circle has a circle to broadcast to."
        raise InfraError("policy-denied", what, next_step="notify_peer reaches one peer by name.")
    own = addresses.own(caller)
    everyone = [
        Address(name=peer.name, circle=peer.circle)
        for peer in await engine.ledger.peers()
        if peer.role == "agent" and peer.circle == caller.circle and peer.name != own.name
    ]
    await limits.message(caller, 1 + len(everyone) // _BIG)
    sent = ""
    async with limits.posting(caller, everyone) as reached:
        if reached:
            with anyio.CancelScope(shield=True):
                sent = await engine.ledger.mail.post(caller, reached, text, "broadcast", now=now())
                engine.signals.wake(*(one.signal for one in reached))
    failed = tuple((one.name, "too many unread") for one in everyone if one not in reached)
    return Broadcast(sent, tuple(one.name for one in reached), failed)


class Notified(NamedTuple):
    """A notify to infra: its id, the requests and the refusals; both empty for a message that is no release."""

    id: str
    requests: tuple[dict[str, Any], ...]
    refused: tuple[dict[str, Any], ...]


class Releases:
    """Accepts the notifies to infra of one server, one at a time for each app."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._locks: dict[str, anyio.Lock] = {}

    async def take(self, caller: Caller, text: str, words: str, limits: Limits, notify: str | None = None) -> Notified:
        """Accept a notify, durable before this returns. A refused release is no failure of the notify.

        Args:
            caller: the sender, and the owner of the apps that it can release.
            text: the message, matched as a whole.
            words: the text to keep: the message with its attachments.
            limits: the limits.
            notify: the id of the notify, where its sender gives it one: the second of an id does nothing.

        Raises:
            InfraError: `too-many`, `ledger-unavailable`.
        """
        if notify is not None and await self._engine.ledger.mail.has(notify):
            return Notified(notify, (), ())
        infra = addresses.infra(self._engine)
        found: list[releases.Release] = []
        with suppress(InfraError):  # without a policy in force no message is a release
            policy = self._engine.policy.current()
            found = releases.match(policy, caller, text)
        async with limits.posting(caller, [infra]), AsyncExitStack() as locked:
            for app in sorted({one.app for one in found}):
                await locked.enter_async_context(self._locks.setdefault(app, anyio.Lock()))
            given = [(one, *(await self._decided(policy, caller, one, words))) for one in found]
            with anyio.CancelScope(shield=True):
                taken = [release for _, release, _ in given]
                notify_id, accepted = await self._engine.notified(caller, infra, words, taken, notify=notify)
                self._engine.signals.wake(infra.signal)
        states = {one.request.id: one.request.state for one in accepted}
        requests, refused = [], []
        for one, release, held in given:
            row: dict[str, Any] = {"app": one.app, "version": one.version}
            row |= {"environment": one.environment} if one.environment else {}
            if release.refusal is not None:
                refused.append(row | release.refusal)
                continue
            request = release.same or release.request_id
            row = {"request": request} | row
            if request in states:
                row["state"] = states[request].value
            if release.submission is not None and release.submission.reason:
                row["note"] = release.submission.reason
            row |= held.shown() if held is not None else {}
            row |= {"supersedes": list(release.supersedes)} if release.supersedes else {}
            requests.append(row)
        return Notified(notify_id, tuple(requests), tuple(refused))

    async def _decided(
        self, policy: Policy, caller: Caller, release: releases.Release, words: str
    ) -> tuple[ReleaseIn, Hold | None]:
        """Decide about one release, by the version that landed and those that wait now."""
        app = policy.apps[release.app]
        ledger = self._engine.ledger
        waiting = [
            (one.id, one.action.version, one.state)
            for one in await ledger.open_releases(release.app, release.environment)
            if isinstance(one.action, Release) and not one.dry_run and is_on_its_way(one)
        ]
        landed = await ledger.landed_version(release.app, release.environment)
        decision = releases.decide(app.order, release.version, landed, waiting)
        if isinstance(decision, releases.Same):
            return ReleaseIn(same=decision.request_id), None
        if isinstance(decision, releases.Older):
            what = f"{release.app} {release.version} is older than {decision.than}, which landed or is on its way."
            return ReleaseIn(refusal=InfraError("older-version", what).as_dict()), None
        if by := await ledger.rolled_back(release.app, release.version, release.environment):
            return ReleaseIn(refusal=rolled_back(release.app, release.version, by).as_dict()), None
        action = RELEASE.model_validate(
            {"app": release.app, "version": release.version, "environment": release.environment}
        )
        identity = request_id()
        request = Request(  # as the engine will see it: the same question decides whether it waits
            id=identity,
            caller=caller,
            action=action,
            channel="notify",
            state=State.SCHEDULED,
            created=now(),
            notify="-",
        )
        held = hold(policy, request, datetime.now(UTC))
        submission = Submission(
            caller=caller,
            action=action,
            channel="notify",
            words=self._engine.masker.mask(words),
            reason=decision.note,
            scheduled=held is not None,
        )
        return ReleaseIn(submission=submission, request_id=identity, supersedes=decision.supersedes), held
