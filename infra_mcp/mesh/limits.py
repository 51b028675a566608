"""Limits on what one peer can send, so that a loop between two agents ends and a flood harms only its sender.

The ledger counts what is open or unread at a receiver, so those limits hold across restarts. Rates are kept in memory:
a restart gives a full bucket. All limits are far above what people and agents that talk to each other need.
"""

from __future__ import annotations

import json
import logging
import math
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
RATE: Final = 20.0  # messages a second after that
IDLE: Final = 60  # dry runs, and requests that policy refuses, which the ledger keeps of one peer at once
IDLE_RATE: Final = 0.2  # and the number of them a second after that
VOID: Final = 60  # requests of one peer at once that the ledger does not take and keeps a row of each; then IDLE_RATE
OPEN: Final = 50  # open asks of one sender at one receiver
UNREAD: Final = 500  # unread messages of one sender at one receiver
DEPTH: Final = 20  # asks in a row, each replying to the one before
ROWS: Final = 200  # ledger rows at once about one caller's refused calls; then one a second, which counts the others
_ROW_EVERY: Final = 60.0  # seconds between two ledger rows about one sender's refused messages
_MAX: Final = {"ask": OPEN, "post": UNREAD}
_PAIRS: Final = 100_000  # senders and receivers remembered together
_SENDERS: Final = 10_000  # senders remembered; a forgotten one has a full bucket again

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

_log = logging.getLogger(__name__)


_Key = tuple[str, str | None]  # a sender's name and circle


@dataclass
class _Pair:
    """What is known between a sender and a receiver."""

    most: int | None = None  # an upper bound of what is there; None while unknown
    pending: int = 0  # being written now
    sent: int = 0  # written, or tried, since the server started


class _Buckets:
    """A token bucket for each sender: full at first, and refilled at a rate a second."""

    def __init__(self, size: float, rate: float) -> None:
        self._size, self._rate = size, rate
        self._left: OrderedDict[_Key, tuple[float, float]] = OrderedDict()
        self._skipped: dict[_Key, int] = {}  # refused takes since the last allowed one, counted by `row`

    def take(self, sender: Caller, now: float, cost: float = 1.0) -> bool:
        """Take what something costs, a full bucket at most; false when there is too little left, which then stays."""
        key = (sender.name, sender.circle)
        left, since = self._left.pop(key, (self._size, now))
        left = min(self._size, left + (now - since) * self._rate)
        allowed = left >= min(cost, self._size)
        self._left[key] = (left - cost if allowed else left, now)
        while len(self._left) > _SENDERS:
            self._skipped.pop(self._left.popitem(last=False)[0], None)
        return allowed

    def has(self, sender: Caller, now: float) -> bool:
        """Whether there is enough for one more, which is not taken."""
        left, since = self._left.get((sender.name, sender.circle), (self._size, now))
        return left + (now - since) * self._rate >= 1.0

    def wait(self, sender: Caller, now: float, cost: float) -> int:
        """In how many seconds there will be enough for a cost, at least 1."""
        left, since = self._left.get((sender.name, sender.circle), (self._size, now))
        left = min(self._size, left + (now - since) * self._rate)
        return max(1, math.ceil((min(cost, self._size) - left) / self._rate))

    def row(self, sender: Caller, now: float) -> int | None:
        """How many takes were refused since the last allowed one; None when this one is refused."""
        key = (sender.name, sender.circle)
        if self.take(sender, now):
            return self._skipped.pop(key, 0)
        self._skipped[key] = self._skipped.get(key, 0) + 1
        return None


class Limits:
    """The limits for all senders of one server.

    Args:
        engine: for the counts, and for the rows about refused calls.
        clock: seconds that only go forward; tests give their own.
    """

    def __init__(self, engine: Engine, clock: Callable[[], float] | None = None) -> None:
        self._engine = engine
        self._clock = clock or anyio.current_time
        self._messages = _Buckets(float(BURST), RATE)
        self._idle = _Buckets(float(IDLE), IDLE_RATE)
        self._void = _Buckets(float(VOID), IDLE_RATE)
        self._noted = _Buckets(float(ROWS), 1.0)
        self._refused = _Buckets(1.0, 1 / _ROW_EVERY)
        self._pairs: dict[tuple[str, str, str | None, Address], _Pair] = {}

    async def message(self, sender: Caller, cost: float = 1.0) -> None:
        """Count one message of a sender; a broadcast costs more than one.

        Raises:
            InfraError: `too-many`.
        """
        if not self._messages.take(sender, self._clock(), cost):
            what = f"More than {BURST} messages at once or {RATE:g} a second from one peer."
            wait = self._messages.wait(sender, self._clock(), cost)
            step = f"Wait {wait} s, then send fewer; broadcast reaches a whole circle."
            await self._refuse(sender, what, step, retry_after=wait)

    def spare(self, sender: Caller) -> bool:
        """Count one more request that changes nothing; false when the ledger, which is kept for good, has too many."""
        return self._idle.take(sender, self._clock())

    async def not_void(self, sender: Caller) -> None:
        """Refuse a sender of too many requests that were void: see `void`.

        Raises:
            InfraError: `too-many`.
        """
        wait = self._void.wait(sender, self._clock(), 1.0)
        if not self._void.has(sender, self._clock()):
            what = "Too many requests of one peer used a key of another request, or held what looks like a secret."
            await self._refuse(sender, what, f"Wait {wait} s, and send none of these again.", retry_after=wait)

    def void(self, sender: Caller) -> None:
        """Count one request that the ledger did not take, and of which it keeps a row of its own."""
        self._void.take(sender, self._clock())

    def row(self, caller: Caller) -> int | None:
        """How many refused calls of a caller left no row since the last that did; None when this one leaves none."""
        return self._noted.row(caller, self._clock())

    @asynccontextmanager
    async def asking(self, sender: Caller, receiver: Address, reply_to: str | None) -> AsyncIterator[None]:
        """Hold a place for one more ask while it is written; `reply_to` is the ask that it answers.

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
        """Hold places for one message to each receiver while it is written; yields the receivers with room for it.

        Raises:
            InfraError: `too-many`, when there are receivers and none has room.
        """
        async with AsyncExitStack() as places:
            free = [one for one in receivers if await places.enter_async_context(self._place("post", sender, one))]
            if receivers and not free:
                who = receivers[0].name if len(receivers) == 1 else "Every receiver"
                what = f"{who} has {UNREAD} unread messages of this peer."
                await self._refuse(sender, what, "Wait until they are read; an ask reports when it was answered.")
            yield free

    @asynccontextmanager
    async def _place(self, kind: Literal["ask", "post"], sender: Caller, receiver: Address) -> AsyncIterator[bool]:
        """Whether there is room for one more, which is then counted, so that many cannot pass together.

        The number is known as an upper bound, since only sending adds to it. The ledger is asked at first and whenever
        the bound is reached.
        """
        pair = self._pairs.setdefault((kind, sender.name, sender.circle, receiver), _Pair())
        pair.pending += 1
        try:
            if pair.most is None or pair.most >= _MAX[kind]:
                sent = pair.sent
                counts = await self._engine.ledger.mail.counts(own(sender), receiver)
                there = counts.open_between if kind == "ask" else counts.unread_between
                pair.most = there + pair.pending - 1 + pair.sent - sent
            held = pair.most < _MAX[kind]
            pair.most += held
            yield held
        finally:
            pair.pending -= 1
            pair.sent += 1
            # Forget the pair that is known longest; the ledger is asked about it again.
            while len(self._pairs) > _PAIRS and not self._pairs[first := next(iter(self._pairs))].pending:
                del self._pairs[first]

    async def _refuse(self, sender: Caller, what: str, next_step: str, retry_after: int | None = None) -> None:
        error = InfraError("too-many", what, next_step=next_step, retry_after=retry_after)
        await self.note(sender, error)
        raise error

    async def note(self, sender: Caller, error: InfraError) -> None:
        """Record that a sender sent too many: one row a minute, with the count of such refusals since the last row."""
        if (since := self._refused.row(sender, self._clock())) is None:
            return
        data: dict[str, Any] = {"code": error.code, "what": error.what, "refused_before": since}
        data |= {"rule": error.rule} if error.rule else {}
        try:
            await self._engine.ledger.note("call-refused", sender.name, data, circle=sender.circle)
        except InfraError:
            _log.warning("refused messages of a peer could not be recorded")


def check_attachments(attachments: Sequence[dict[str, Any]]) -> None:
    """Refuse attachments that are too large or not plain JSON.

    Raises:
        InfraError: `invalid-argument`.
    """
    try:
        size = len(json.dumps(list(attachments), ensure_ascii=False).encode("utf-8")) if attachments else 0
    except (UnicodeEncodeError, ValueError, TypeError, RecursionError):
        raise InfraError("invalid-argument", "attachments: not plain JSON.", next_step="Send JSON objects.") from None
    if size > ATTACHED:
        what = f"attachments: more than {ATTACHED} bytes of JSON together."
        raise InfraError("invalid-argument", what, next_step="Put the content where both can read it, and send a link.")


def check_text(text: str, argument: str) -> None:
    """Refuse a text that is too long or not plain; `argument` is its name in the refusal.

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
