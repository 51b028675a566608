"""What the clients of a random load want: requests that get in each other's way, each made as a sensible client would.

A change carries an idempotency key and is sent again under it until its end is known. An ask or a notify has no key: it
is sent again when nobody said that it came, and may then be there twice, by its sender's doing.
"""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from e2e.client_sessions import ClientSession
from e2e.random_load import RandomLoad
from e2e.scenario import Reply

from infra_mcp.model.request import END

__all__ = ["AttendantSessions", "Mailbox", "RandomRequests"]

_ENDS = {state.value for state in END}
_INFRA = ("infra", None)
_PLACES = 3  # namespaces of each kind that all fight for
_PATIENCE = 5  # seconds a change is waited for at a time


def _said_again(reply: Reply) -> bool:
    """Whether the answer is about haste, and the same call will do in a moment."""
    return not reply.ok and reply.data.get("code") == "too-many"


class RandomRequests:
    """The errands of one client, one after the other.

    Args:
        storm: what they are part of.
        guest: the client.
        number: which of the clients it is.
    """

    def __init__(self, load: RandomLoad, session: ClientSession, number: int) -> None:
        self.load, self.session, self.journal = load, session, load.journal
        self.dice = random.Random(f"{load.seed} errands {number}")
        shared: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self.provision, 3), (self.guarded, 1), (self.ask_for_namespace, 2), (self.ask_in_vain, 2),
            (self.ask_a_peer, 4), (self.notify_a_peer, 3), (self.broadcast, 1), (self.dry_run, 1),
        ]  # fmt: skip
        owner: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self.deploy, 4), (self.release, 2), (self.weekly, 2), (self.chatter, 1), (self.cancelled, 1),
        ]  # fmt: skip
        chosen = shared + (owner if session.who[0] == "docs" else [])
        self._errands, self._weights = zip(*chosen, strict=True)

    async def run(self) -> None:
        """Go about errands until the load is over, the last one to its end."""
        while not self.load.closing.is_set():
            errand = self.dice.choices(self._errands, self._weights)[0]
            await errand()
            self.journal.counts[errand.__name__] += 1

    # -- changes
    async def _change(self, tool: str, key: str, **arguments: Any) -> None:
        """Send a change under its key until its end is known, or that it waits for people."""
        while True:
            reply = await self.session.call(
                tool, idempotency_key=key, wait_seconds=_PATIENCE, reason=f"for {key}", **arguments
            )
            if _said_again(reply):
                await anyio.sleep(0.2)
                continue
            self.journal.ended(reply.data)
            state = reply.data.get("state")
            if reply.data.get("code") == "idempotency-conflict" or state in _ENDS:
                return
            if state is None:
                self.load.faults.append(f"{tool} under {key} was answered so: {reply.text}")
                return
            if state == "awaiting_approval":
                await self._followed(str(reply.data["request"]))
                return

    async def _followed(self, request: str) -> None:
        """Look at a request until it has ended."""
        while True:
            reply = await self.session.call("get_request", request_id=request)
            self.journal.ended(reply.data)
            if reply.data.get("state") in _ENDS or not reply.ok:
                return
            await anyio.sleep(0.1)

    def _key(self) -> str:
        """A key of its own; at times one that the other session of this peer has used, or uses now."""
        number = self.load.number()
        return f"key-{max(1, number - self.dice.randint(1, 4)) if self.dice.random() < 0.25 else number}"

    def _place(self, word: str = "place") -> str:
        return self.load.scenario.fresh(f"{word}{self.dice.randrange(_PLACES)}")

    async def deploy(self) -> None:
        """A version of the site; now and then one whose image is not there."""
        bad = "-unpullable" if self.dice.random() < 0.15 else ""
        await self._change("deploy", self._key(), app="docs", version=f"1.{self.load.number()}.0{bad}")

    async def provision(self) -> None:
        """A namespace that others want too, each with labels of their own."""
        labels = {"turn": f"t{self.load.number()}"} if self.dice.random() < 0.5 else {}
        await self._change(
            "provision_namespace", self._key(), namespace=self._place(), pull_secrets=["X"], labels=labels
        )

    async def guarded(self) -> None:
        """One that people must approve."""
        labels = {"turn": f"t{self.load.number()}"}
        await self._change("provision_namespace", self._key(), namespace=self._place("guarded"), labels=labels)

    async def dry_run(self) -> None:
        """One that is only looked at."""
        await self._change("provision_namespace", self._key(), namespace=self._place(), dry_run=True)

    async def cancelled(self) -> None:
        """A deploy that is thought better of; it may be too late."""
        key, version = self._key(), f"1.{self.load.number()}.0"
        reply = await self.session.call("deploy", app="docs", version=version, idempotency_key=key, wait_seconds=0)
        self.journal.ended(reply.data)
        if request := reply.data.get("request"):
            self.journal.ended((await self.session.call("cancel", request_id=request)).data)
            await self._followed(str(request))

    # -- asks and notifies
    async def _send(self, tool: str, mark: str, **arguments: Any) -> Reply:
        while True:
            reply = await self.session.call(tool, trying=lambda: self.journal.tried(mark), **arguments)
            if not _said_again(reply):
                return reply
            await anyio.sleep(0.2)

    async def _ask(self, mark: str, text: str, to: str, **more: Any) -> str | None:
        """Ask, and wait for the one ack; what it says."""
        asked = await self._send("ask", mark, peer_name=to, query=text, **more)
        if not asked.ok:
            if "reply_to" not in more or asked.data.get("code") != "already-acked":  # then it came the time before
                self.load.faults.append(f"an ask was refused: {asked.text}")
            return None
        ask = asked.text.strip()
        self.journal.accepted(mark, ask)
        while True:
            acked = await self.session.call("wait_on_ack", correlation_id=ask, timeout_seconds=_PATIENCE)
            if acked.data.get("status") == "resolved":
                told = {key: acked.data.get(key) for key in ("reply", "responder", "close_reason")}
                self.journal.replies.append({"ask": ask, **told})
                self.journal.ended(acked.data)
                return str(acked.data.get("reply"))
            if not acked.ok:
                self.load.faults.append(f"{ask} cannot be waited for: {acked.text}")
                return None

    async def ask_for_namespace(self) -> None:
        """In words, which others may say at the same time."""
        place = self._place()
        if self.dice.random() < 0.5:
            mark, text = self.journal.mark(
                "ask", self.session.who, [_INFRA], f"I need a namespace '{place}' with image-pull secret X"
            )
        else:
            block = {"action": "provision_namespace", "namespace": place, "idempotency_key": self._key()}
            mark, text = self.journal.mark(
                "ask", self.session.who, [_INFRA], f"{{0}}\n```infra\n{json.dumps(block)}\n```"
            )
        await self._ask(mark, text, "infra")

    async def ask_in_vain(self) -> None:
        """Words that only an attending session can make something of."""
        mark, text = self.journal.mark(
            "ask", self.session.who, [_INFRA], "{0}: could you see to " + self._place() + "?"
        )
        await self._ask(mark, text, "infra")

    def _others(self) -> tuple[str, str]:
        return ("site", "docs") if self.session.who[0] == "docs" else ("docs", "docs")

    async def ask_a_peer(self) -> None:
        """Something that another peer answers."""
        mark, text = self.journal.mark("ask", self.session.who, [self._others()], "{0}: is the index built?")
        await self._ask(mark, text, self._others()[0])

    async def _notify(self, kind: str, to: tuple[str, str | None], text: str) -> None:
        mark, text = self.journal.mark(kind, self.session.who, [to], text)
        reply = await self._send("notify_peer", mark, peer_name=to[0], message=text)
        if not reply.ok:
            self.load.faults.append(f"a notify was refused: {reply.text}")
            return
        identity = str(reply.data.get("result") or reply.text.split()[0])
        self.journal.accepted(mark, identity)

    async def notify_a_peer(self) -> None:
        """News for another peer."""
        await self._notify("notify", self._others(), "{0}: the build is green")

    async def chatter(self) -> None:
        """News for infra of which nothing follows."""
        await self._notify("notify", _INFRA, "{0} merged, do NOT deploy yet")

    async def release(self) -> None:
        """A release that is to be deployed at once; now and then one that is older."""
        number = self.load.number()
        version = f"0.{number}.0" if self.dice.random() < 0.2 else f"1.{number}.1"
        await self._notify("release", _INFRA, f"release/{version} merged, ready to deploy")

    async def weekly(self) -> None:
        """A release that waits for its time, and takes the place of the one before."""
        await self._notify("release", _INFRA, f"weekly/1.{self.load.number()}.2 merged")

    async def broadcast(self) -> None:
        """News for the whole circle."""
        others = [("site", "docs")] if self.session.who[0] == "docs" else [("docs", "docs")]
        mark, text = self.journal.mark("broadcast", self.session.who, others, "{0}: lunch")
        reply = await self._send("broadcast", mark, message=text)
        if not reply.ok:
            self.load.faults.append(f"a broadcast was refused: {reply.text}")
            return
        self.journal.accepted(mark, str(reply.data["id"]))


class Mailbox:
    """What a client does about its inbox: answer, mark as read. Two sessions of one peer may do so at once."""

    def __init__(self, load: RandomLoad, session: ClientSession, number: int) -> None:
        self.load, self.session, self.journal = load, session, load.journal
        self.dice = random.Random(f"{load.seed} mailbox {number}")

    async def run(self) -> None:
        """Look and see to what is there, until cancelled."""
        while True:
            box = (await self.session.call("inbox", wait_seconds=2)).data
            for ask in box.get("asks", ()):
                await self.answer(ask)
            await self.mark([str(one["id"]) for key in ("messages", "acks") for one in box.get(key, ())])

    async def answer(self, ask: dict[str, Any]) -> None:
        """Ack it, always in the same words; or with an ask in return, which closes it too."""
        identity = str(ask["id"])
        if ask.get("reply_to") is None and random.Random(f"{self.load.seed} {identity}").random() < 0.2:
            sender = (str(ask["from_peer"]), ask.get("circle"))
            mark, text = self.journal.mark("ask", self.session.who, [sender], "{0}: which one do you mean?")
            tried = {"ask": identity, "message": text, "answered": False}
            self.journal.acks.append(tried)
            asked = await self.session.call(
                "ask", trying=lambda: self.journal.tried(mark), peer_name=sender[0], query=text, reply_to=identity
            )
            if asked.ok:
                self.journal.accepted(mark, asked.text.strip())
                tried["answered"] = True
            return
        await self.ack(identity, f"re {identity}: yes")

    async def ack(self, identity: str, message: str) -> None:
        """Ack, and note whether it was taken."""
        tried = {"ask": identity, "message": message, "answered": False}
        self.journal.acks.append(tried)
        reply = await self.session.call("ack", correlation_id=identity, message=message)
        tried["answered"] = reply.ok

    async def mark(self, ids: list[str]) -> None:
        """Mark as read."""
        if ids:
            tried = {"by": list(self.session.who), "ids": ids, "answered": False}
            self.journal.read.append(tried)
            tried["answered"] = (await self.session.call("inbox", mark_read=ids)).ok


class AttendantSessions(Mailbox):
    """A session that attends as infra: it claims what the server could not answer, and acts for the asker or acks."""

    async def answer(self, ask: dict[str, Any]) -> None:
        """Claim, then act or ack. When the server dies in between, the claim is gone, and it begins anew."""
        identity = str(ask["id"])
        if not (await self.session.call("inbox", claim=identity)).ok:
            return
        if random.Random(f"{self.load.seed} {identity}").random() < 0.4:
            await self.ack(identity, f"re {identity}: no")
            return
        place = self.load.scenario.fresh(f"place{self.dice.randrange(_PLACES)}")
        reply = await self.session.call(
            "provision_namespace", namespace=place, pull_secrets=["X"], on_behalf_of=identity, wait_seconds=_PATIENCE
        )
        self.journal.ended(reply.data)
        if not reply.ok and reply.data.get("state") is None and reply.data.get("code") != "claim-taken":
            self.load.faults.append(f"an attendant could not act: {reply.text}")
