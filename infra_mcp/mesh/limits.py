"""Bounds on what one peer can send, so that a loop between two agents ends and a flood harms nobody but its sender.

What is open or unread at a receiver is counted by the ledger and bounds hold across restarts. The rate is kept in
memory: a restart gives a full bucket, which is harmless. None of it is a right or a quota: bounds are far above what
people and agents that talk to each other need.
"""

from __future__ import annotations

import json
import logging
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import anyio

from infra_mcp.errors import InfraError
from infra_mcp.mesh.addresses import own

if TYPE_CHECKING:
    from infra_mcp.engine import Engine
    from infra_mcp.model.peer import Address, Caller

MAX_TEXT: Final = 65_536  # bytes of a text
ATTACHED: Final = 65_536  # bytes of all attachments of a message, as JSON
BURST: Final = 200  # messages a sender may send at once
RATE: Final = 20.0  # messages a second a sender may go on with
IDLE: Final = 60  # dry runs, and requests that policy refuses, which the ledger keeps of one peer at once
IDLE_RATE: Final = 0.2  # and so many a second it goes on with
OPEN: Final = 50  # open asks of one sender at one receiver
UNREAD: Final = 500  # unread messages of one sender at one receiver
DEPTH: Final = 20  # asks in a row, each replying to the one before
ROWS: Final = 200  # ledger rows at once about one caller's refused calls; then one a second, which counts the others
_ROW_EVERY: Final = 60.0  # seconds between two ledger rows about one sender's refused messages
_MOST: Final = {"ask": OPEN, "post": UNREAD}
_PAIRS: Final = 100_000  # senders and receivers remembered together
_SENDERS: Final = 10_000  # senders remembered; who is forgotten begins with a full bucket

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

_log = logging.getLogger(__name__)


@dataclass
class _Pair:
    """What is known between a sender and a receiver."""

    most: int | None = None  # no more than so many are there; None when nothing is known yet
    pending: int = 0  # being written just now
    sent: int = 0  # written, or tried, since the server started


class Limits:
    """The bounds, for all senders of one server.

    Args:
        engine: for the counts, and for the rows about what was refused.
        clock: seconds that only go forward; tests give their own.
    """

    def __init__(self, engine: Engine, clock: Callable[[], float] | None = None) -> None:
        self._engine = engine
        self._clock = clock or anyio.current_time
        self._buckets: OrderedDict[tuple[str, str | None], tuple[float, float]] = OrderedDict()
        self._rows: dict[tuple[str, str | None], tuple[float, int]] = {}
        self._noted: OrderedDict[tuple[str, str | None], tuple[float, float, int]] = OrderedDict()
        self._idle: OrderedDict[tuple[str, str | None], tuple[float, float]] = OrderedDict()
        self._pairs: dict[tuple[str, str, str | None, Address], _Pair] = {}

    async def message(self, sender: Caller, cost: float = 1.0) -> None:
        """Count one message of a sender.

        Args:
            sender: who sends.
            cost: what it counts as; a broadcast is more than one.

        Raises:
            InfraError: `too-many`.
        """
        who = (sender.name, sender.circle)
        now = self._clock()
        left, since = self._buckets.pop(who, (float(BURST), now))
        left = min(float(BURST), left + (now - since) * RATE)
        allowed = left >= min(cost, float(BURST))
        self._buckets[who] = (left - cost if allowed else left, now)
        while len(self._buckets) > _SENDERS:
            self._buckets.popitem(last=False)
        if not allowed:
            what = f"More than {BURST} messages at once or {RATE:g} a second from one peer."
            await self._refuse(sender, what, "Wait some seconds, then send fewer; broadcast reaches a whole circle.")

    def spare(self, sender: Caller) -> bool:
        """Whether one more request of a sender that changes nothing may be kept, which is counted then.

        The ledger is kept for good, and dry runs and refusals can be asked for without end.
        """
        who, now = (sender.name, sender.circle), self._clock()
        left, since = self._idle.pop(who, (float(IDLE), now))
        left = min(float(IDLE), left + (now - since) * IDLE_RATE)
        self._idle[who] = (left - 1.0 if left >= 1.0 else left, now)
        while len(self._idle) > _SENDERS:
            self._idle.popitem(last=False)
        return left >= 1.0

    @asynccontextmanager
    async def asking(self, sender: Caller, receiver: Address, reply_to: str | None) -> AsyncIterator[None]:
        """Hold a place for one more ask while it is written.

        Args:
            sender: who asks.
            receiver: who is asked.
            reply_to: the ask this one answers.

        Raises:
            InfraError: `too-many`.
        """
        if reply_to is not None and await self._engine.ledger.mail.depth(reply_to) >= DEPTH:
            what = f"This would be more than {DEPTH} asks in a row that answer each other by asking."
            await self._refuse(sender, what, f'Close it: ack("{reply_to}", "…"), and begin anew only if need be.')
        async with self._place("ask", sender, receiver) as held:
            if not held:
                what = f"{receiver.name} has {OPEN} open asks of this peer already."
                await self._refuse(sender, what, "Wait until some are acked (wait_on_ack), then ask again.")
            yield

    @asynccontextmanager
    async def posting(self, sender: Caller, receivers: Sequence[Address]) -> AsyncIterator[list[Address]]:
        """Hold places for one message to each receiver while it is written.

        Yields:
            Those that have room for it.

        Raises:
            InfraError: `too-many`, when there are receivers and none has.
        """
        async with AsyncExitStack() as places:
            free = [one for one in receivers if await places.enter_async_context(self._place("post", sender, one))]
            if receivers and not free:
                who = receivers[0].name if len(receivers) == 1 else "Every receiver"
                what = f"{who} has {UNREAD} unread messages of this peer."
                await self._refuse(sender, what, "Wait until they are read; an ask tells when it was seen to.")
            yield free

    @asynccontextmanager
    async def _place(self, kind: Literal["ask", "post"], sender: Caller, receiver: Address) -> AsyncIterator[bool]:
        """Whether there is room for one more between two, which is then counted, so that many cannot pass together.

        What the pair has is known as an upper bound, since only sending adds to it. The ledger is asked when nothing is
        known yet and when the bound is reached.
        """
        pair = self._pairs.setdefault((kind, sender.name, sender.circle, receiver), _Pair())
        pair.pending += 1
        try:
            if pair.most is None or pair.most >= _MOST[kind]:
                sent = pair.sent
                counts = await self._engine.ledger.mail.counts(own(sender), receiver)
                there = counts.open_between if kind == "ask" else counts.unread_between
                pair.most = there + pair.pending - 1 + pair.sent - sent
            held = pair.most < _MOST[kind]
            pair.most += held
            yield held
        finally:
            pair.pending -= 1
            pair.sent += 1
            self._forget()

    def _forget(self) -> None:
        """Bound what is remembered; what is known longest is asked of the ledger again."""
        while len(self._pairs) > _PAIRS:
            first = next(iter(self._pairs))
            if self._pairs[first].pending:
                return
            del self._pairs[first]

    def row(self, caller: Caller) -> int | None:
        """Whether a refused call of this caller leaves a row in the ledger, and how many before it have left none.

        Returns:
            How many; None when this one leaves none either.
        """
        who = (caller.name, caller.circle)
        now = self._clock()
        left, since, skipped = self._noted.pop(who, (float(ROWS), now, 0))
        left = min(float(ROWS), left + now - since)
        noted = left >= 1.0
        self._noted[who] = (left - 1.0, now, 0) if noted else (left, now, skipped + 1)
        while len(self._noted) > _SENDERS:
            self._noted.popitem(last=False)
        return skipped if noted else None

    async def _refuse(self, sender: Caller, what: str, next_step: str) -> None:
        """Refuse, and leave a row a minute, which counts what was refused since the one before."""
        who = (sender.name, sender.circle)
        now = self._clock()
        last, since = self._rows.get(who, (-_ROW_EVERY, 0))
        if now - last < _ROW_EVERY:
            self._rows[who] = (last, since + 1)
        else:
            self._rows[who] = (now, 0)
            data: dict[str, Any] = {"code": "too-many", "what": what, "refused_before": since}
            try:
                await self._engine.ledger.note("call-refused", sender.name, data, circle=sender.circle)
            except InfraError:
                _log.warning("refused messages of a peer could not be recorded")
        raise InfraError("too-many", what, next_step=next_step)


def check_attachments(attachments: Sequence[dict[str, Any]]) -> None:
    """Bound what hangs on a message.

    Raises:
        InfraError: `invalid-argument`.
    """
    try:
        size = len(json.dumps(list(attachments), ensure_ascii=False).encode("utf-8")) if attachments else 0
    except (UnicodeEncodeError, ValueError, TypeError, RecursionError):
        raise InfraError("invalid-argument", "attachments: not plain JSON.", next_step="Send JSON objects.") from None
    if size > ATTACHED:
        what = f"attachments: more than {ATTACHED} bytes of JSON together."
        raise InfraError("invalid-argument", what, next_step="Put it where both can read it, and send the place.")


def check_text(text: str, argument: str) -> None:
    """Refuse a text that is too long or not plain.

    Args:
        text: the text as it came in.
        argument: the argument's name, for the refusal.

    Raises:
        InfraError: `invalid-argument`.
    """
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise InfraError("invalid-argument", f"{argument}: not plain text.", next_step="Send plain text.") from None
    if size > MAX_TEXT:
        what = f"{argument}: longer than {MAX_TEXT} bytes."
        raise InfraError("invalid-argument", what, next_step="Send less text, and a link to the rest.")
    if _CONTROL.search(text):
        raise InfraError("invalid-argument", f"{argument}: contains control characters.", next_step="Send plain text.")
