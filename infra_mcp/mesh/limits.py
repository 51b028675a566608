"""Bounds on what one peer can send, so that a loop between two agents ends and a flood harms nobody but its sender.

What is open or unread at a receiver is counted by the ledger and bounds hold across restarts. The rate is kept in
memory: a restart gives a full bucket, which is harmless. None of it is a right or a quota: bounds are far above what
people and agents that talk to each other need.
"""

from __future__ import annotations

import json
import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio

from infra_mcp.errors import InfraError
from infra_mcp.mesh.addresses import own

if TYPE_CHECKING:
    from infra_mcp.engine import Engine
    from infra_mcp.model.peer import Address, Caller

__all__ = ["ATTACHED", "BURST", "DEPTH", "LONGEST", "OPEN", "RATE", "UNREAD", "Limits", "check_attachments"]

LONGEST: Final = 65_536  # bytes of a text
ATTACHED: Final = 65_536  # bytes of all attachments of a message, as JSON
BURST: Final = 200  # messages a sender may send at once
RATE: Final = 20.0  # messages a second a sender may go on with
OPEN: Final = 50  # open asks of one sender at one receiver
UNREAD: Final = 500  # unread messages of one sender at one receiver
DEPTH: Final = 20  # asks in a row, each replying to the one before
_ROW_EVERY: Final = 60.0  # seconds between two ledger rows about one sender's refused messages
_SENDERS: Final = 10_000  # senders remembered; who is forgotten begins with a full bucket

_log = logging.getLogger(__name__)


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
        self._pending: Counter[tuple[str, str | None, Address]] = Counter()

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

    @contextmanager
    def sending(self, sender: Caller, receiver: Address) -> Iterator[int]:
        """Hold a place for what is being sent, so that many at once cannot pass a bound together.

        Yields:
            How many others of this sender are on their way to that receiver just now.
        """
        pair = (sender.name, sender.circle, receiver)
        others = self._pending[pair]
        self._pending[pair] += 1
        try:
            yield others
        finally:
            self._pending[pair] -= 1
            if not self._pending[pair]:
                del self._pending[pair]

    async def ask(self, sender: Caller, receiver: Address, reply_to: str | None, others: int = 0) -> None:
        """Whether one more ask may be opened.

        Args:
            sender: who asks.
            receiver: who is asked.
            reply_to: the ask this one answers.
            others: how many more are on their way, from `sending`.

        Raises:
            InfraError: `too-many`.
        """
        counts = await self._engine.ledger.mail.counts(own(sender), receiver, reply_to)
        if counts.open_between + others >= OPEN:
            what = f"{receiver.name} has {OPEN} open asks of this peer already."
            await self._refuse(sender, what, "Wait until some are acked (wait_on_ack), then ask again.")
        if counts.depth >= DEPTH:
            what = f"This would be more than {DEPTH} asks in a row that answer each other by asking."
            await self._refuse(sender, what, f'Close it: ack("{reply_to}", "…"), and begin anew only if need be.')

    async def post(self, sender: Caller, receiver: Address, others: int = 0) -> str:
        """Why one more message may not be sent to a receiver; empty when it may."""
        counts = await self._engine.ledger.mail.counts(own(sender), receiver)
        full = counts.unread_between + others >= UNREAD
        return f"{receiver.name} has {UNREAD} unread messages of this peer" if full else ""

    async def refuse_post(self, sender: Caller, why: str) -> None:
        """Refuse a message for what `post` found.

        Raises:
            InfraError: `too-many`, always.
        """
        await self._refuse(sender, f"{why}.", "Wait until they are read; an ask tells when it was seen to.")

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
