"""Finds a zone's name servers, and waits until each of them answers as planned: over TCP, authoritative."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import anyio

from infra_mcp.clients.dns.delegation import delegation
from infra_mcp.clients.dns.server import NoAnswer, Server, ask
from infra_mcp.drivers.dns.look import wildcards
from infra_mcp.drivers.dns.records import Key
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather
from infra_mcp.model.rrset import RRset, same
from infra_mcp.policy.kinds import ZoneRules

_MIN_PAUSE, _MAX_PAUSE = 0.02, 1.0  # seconds between two looks
PATIENCE: Final = 10.0  # seconds after which a server that never answered counts as out of reach
_LOOKUP: Final = 10.0  # seconds for the delegation
_KEPT: Final = 300.0  # seconds for which it is remembered


@dataclass
class Servers:
    """Finds a zone's servers: the primary, and those that policy names, or else those that it is delegated to."""

    zone: str
    rules: ZoneRules
    primary: Server
    _known: tuple[float, list[Server], str] | None = field(default=None, repr=False)

    async def all(self) -> tuple[list[Server], str]:
        """The primary first, then the others; and a remark where these are not known."""
        if self.rules.servers:
            return self._with([Server.parse(one) for one in self.rules.servers]), ""
        if self._known is None or anyio.current_time() - self._known[0] > _KEPT:
            found, why = await self._delegated()
            self._known = anyio.current_time(), self._with(found), why
        return self._known[1], self._known[2]

    async def _delegated(self) -> tuple[list[Server], str]:
        resolver = Server.parse(self.rules.resolver) if self.rules.resolver else None
        with anyio.move_on_after(_LOOKUP):
            try:
                found = await delegation(self.zone, resolver)
            except InfraError as error:
                return [], f"only the primary was asked: {error.what.rstrip('.')}"
            return found, "" if found else f"only the primary was asked: nothing delegates {self.zone}"
        return [], "only the primary was asked: the delegation could not be looked up in time"

    def _with(self, others: list[Server]) -> list[Server]:
        primary = self.primary
        return [primary, *dict.fromkeys(one for one in others if (one.host, one.port) != (primary.host, primary.port))]


@dataclass
class _State:
    """How far one server is."""

    server: Server
    reason: str = ""  # why it does not answer as planned; empty when it does
    answered: bool = False


@dataclass(frozen=True)
class Confirmed:
    """Who answers as planned, and who could not be reached."""

    by: tuple[Server, ...]
    silent: tuple[Server, ...] = ()

    def __str__(self) -> str:
        """For the ack."""
        text = f"answered so by {', '.join(map(str, self.by))}"
        return text + (f"; not reached: {', '.join(map(str, self.silent))}" if self.silent else "")


async def confirm(
    servers: Sequence[Server],
    zone: str,
    wanted: Mapping[Key, RRset | None],
    seconds: float,
    say: Callable[[str], None],
) -> Confirmed:
    """Wait until every server that can be reached answers so; the first one is the primary and must.

    Args:
        servers: the primary, then the others.
        zone: the zone's name.
        wanted: the record sets by name and type; None where there must be none.
        seconds: how long this may take.
        say: reports which server is waited for, and why.

    Raises:
        InfraError: `not-landed`, naming the server, the record and its answer.
    """
    states = [_State(server) for server in servers]
    names = ", ".join(f"{name} {kind}" for name, kind in wanted)
    began, pause = anyio.current_time(), _MIN_PAUSE
    with anyio.move_on_after(seconds):
        while True:
            waiting = [one for one in states if one.reason or not one.answered]
            await gather(partial(_look, one, zone, wanted) for one in waiting)
            waiting = [one for one in states if one.reason]
            lost = anyio.current_time() - began > PATIENCE and all(not one.answered for one in waiting)
            if not waiting or (lost and states[0] not in waiting):
                break
            say(f"{names} of {zone}: {waiting[0].server} {waiting[0].reason}")
            await anyio.sleep(pause)
            pause = min(pause * 1.5, _MAX_PAUSE)
    differing = [one for one in states if one.reason and (one.answered or one is states[0])]
    if differing or not all(one.reason or one.answered for one in states):
        one = next(iter(differing), states[0])
        what = f"{names} of {zone} is not answered as planned: {one.server} {one.reason or 'does not answer in time'}."
        raise InfraError("not-landed", what)
    return Confirmed(
        tuple(one.server for one in states if not one.reason), tuple(one.server for one in states if one.reason)
    )


async def _look(state: _State, zone: str, wanted: Mapping[Key, RRset | None]) -> None:
    """Ask one server once."""
    absent = [(card, kind) for (name, kind), one in wanted.items() if one is None for card in wildcards(name)]
    questions = list(dict.fromkeys([*wanted, *absent]))
    try:
        answers = dict(zip(questions, await ask(state.server, zone, questions), strict=True))
    except NoAnswer as error:
        state.reason = error.what.partition(" does not answer: ")[2].rstrip(".") or "does not answer"
        state.reason = f"does not answer: {state.reason}"
        return
    state.answered, state.reason = True, ""
    for (name, kind), one in wanted.items():
        answer = answers[name, kind]
        if answer.problem:
            state.reason = f"says nothing of {name} {kind}: {answer.problem}"
        elif one is None and answer.rrset is not None:
            covering = [answers[card, kind].rrset for card in wildcards(name)]
            alike = (answer.rrset.model_copy(update={"name": card.name}) for card in covering if card)
            if not any(same(card, like) for card, like in zip(filter(None, covering), alike, strict=True)):
                state.reason = f"still answers {answer.rrset}"
        elif one is not None and not same(answer.rrset, one):
            state.reason = f"answers {answer.rrset or answer.alias or 'that there is none'}"
