"""The protocol of a piece of evidence, and how one is waited for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Final, NamedTuple, Protocol

import anyio
from pydantic import JsonValue

from infra_mcp.drivers.base import Context
from infra_mcp.errors import InfraError, Unavailable
from infra_mcp.gather import gather

_FIRST_PAUSE: Final = 0.1  # seconds between two looks
_LEAST_PAUSE: Final = 0.5  # the same, however much news there is: a forge bounds how often it may be asked


class Evidence(Protocol):
    """One thing that policy names as evidence. A module a kind."""

    @property
    def shown(self) -> str:
        """For people: `workload media/deployment/player`."""

    async def before(self, context: Context) -> JsonValue:
        """The state before the commit, as `fresh`, `holds` and `gone` need it.

        Raises:
            InfraError: it can never hold: what it is about is not there, or may not be read.
        """

    def fresh(self, before: JsonValue) -> bool:
        """Whether it did not hold before the commit. What held already shows nothing by itself."""

    async def holds(self, context: Context, before: JsonValue, seconds: float) -> str:
        """Wait until it holds, and say so.

        Raises:
            InfraError: `not-landed`, with the cause.
        """

    async def gone(self, context: Context, before: JsonValue, seconds: float) -> str:
        """Wait until it shows the state before the commit again, and say so; the commit is the revert.

        Raises:
            InfraError: `not-landed`, with the cause.
        """


class LateError(InfraError):
    """It did not hold in time; nothing failed. Others may be late, too."""


class Seen(NamedTuple):
    """One look: whether it is as it should be, and what was seen."""

    so: bool
    text: str


async def together(waits: Iterable[Callable[[], Awaitable[str]]]) -> str:
    """Wait for all pieces, and say what each shows. The first that fails ends the others.

    Raises:
        InfraError: `not-landed`: one failed, or all those that are late.
    """
    late: list[LateError] = []

    async def one(wait: Callable[[], Awaitable[str]]) -> str:
        try:
            return await wait()
        except LateError as error:
            late.append(error)
            return ""

    facts = await gather(partial(one, wait) for wait in waits)
    if late:
        raise InfraError("not-landed", " ".join(error.what for error in late))
    return "; ".join(filter(None, facts))


async def poll(
    shown: str,
    look: Callable[[], Awaitable[Seen]],
    seconds: float,
    say: Callable[[str], None],
    longest: float,
    news: Callable[[], AbstractContextManager[anyio.Event]] | None = None,
) -> str:
    """Look until it is so, and return what was seen. A system that does not answer is asked again.

    Args:
        shown: the evidence, for people.
        look: looks once.
        seconds: how long this may take.
        say: reports what was seen last.
        longest: seconds between two looks, once it takes long.
        news: an event that is set when it is worth another look; see `Setup.news`.

    Raises:
        LateError: `not-landed`, with what was seen last.
    """
    last, pause = "nothing was seen of it", _FIRST_PAUSE
    with anyio.move_on_after(seconds):
        while True:
            with news() if news else nullcontext(anyio.Event()) as event:
                try:
                    seen = await look()
                except Unavailable as away:
                    seen = Seen(False, away.what.rstrip("."))
                if seen.so:
                    return seen.text
                last = seen.text
                say(f"{shown}: {last}")
                await anyio.sleep(min(pause, _LEAST_PAUSE))
                with anyio.move_on_after(pause - _LEAST_PAUSE):
                    await event.wait()
            pause = min(pause * 1.5, longest)
    raise LateError("not-landed", f"{shown}: not within {seconds:.0f} s: {last}.")
