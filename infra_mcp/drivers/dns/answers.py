"""Waits until a zone's name servers answer as planned: over TCP, authoritative, each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import anyio

from infra_mcp.clients.dns.server import NoAnswer, Server, ask
from infra_mcp.drivers.dns.look import wildcards
from infra_mcp.drivers.dns.records import Key
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather
from infra_mcp.model.rrset import RRset, same

_MIN_PAUSE, _MAX_PAUSE = 0.02, 1.0  # seconds between two looks
PATIENCE: Final = 10.0  # seconds after which a server that never answered counts as out of reach


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
