"""What waits for people: the notices of the operators' inbox, and those that a program of theirs gets at once.

Nothing of it is stored: it is read from the ledger's requests and events, and from the policy in force. A program's
notice is a hint and nothing depends on it. After a restart what still waits for an approval is told once more.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from infra_mcp.clients import process
from infra_mcp.engine.approvals import waiting_for
from infra_mcp.engine.run import record_of, stamp, utc
from infra_mcp.engine.signals import PARKED_CHANGED, Signals
from infra_mcp.errors import InfraError
from infra_mcp.ledger import Ledger
from infra_mcp.ledger.records import Event
from infra_mcp.model.approval import BYPASSED
from infra_mcp.model.request import AT_THE_FORGE, Request, State
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.restrictions import OrderedFreeze
from infra_mcp.settings import without_tokens
from infra_mcp.text import named, one_line

_log = logging.getLogger(__name__)
_SECONDS: Final = 30.0  # for one notice
_NEWEST: Final = 50  # of each kind
_DAY: Final = timedelta(days=1)  # after which a bypass is no news any more, and before a freeze
_MAX_REASON: Final = 200  # characters of what the program says


async def notices(ledger: Ledger, policy: Policy | None, now: datetime) -> list[dict[str, Any]]:
    """What waits for people now, each with the command that shows it and the one that answers it, where there is one.

    Approvals that are waited for, oldest first; requests that ended with something to look at, and pull requests to
    merge; bypasses of the last day; freezes that hold or begin within a day.
    """
    parked = await ledger.parked()
    found = [_values(one) for one in parked if one.state is State.AWAITING_APPROVAL]
    found += [_values(one) for one in await ledger.unresolved(_NEWEST)]
    found += [_at_the_forge(one) for one in parked if one.state in AT_THE_FORGE]
    found += [_bypass(one) for one in await bypasses(ledger, now)]
    ordered = {one.id for one in (policy.freezes if policy else ()) if isinstance(one, OrderedFreeze)}
    for one in freezes(policy, now):
        lift = {"lift": f"infra-mcp unfreeze {one['id']}"} if one["id"] in ordered else {}
        found.append({"about": "freeze"} | one | lift)
    return found


async def bypasses(ledger: Ledger, now: datetime) -> list[Event]:
    """The newest approvals of the last day by which an operator went on without the others whom a rule wants."""
    page = await ledger.search("", circle=None, kind=BYPASSED, since=stamp(now - _DAY), limit=_NEWEST)
    return list(page.events)


def freezes(policy: Policy | None, now: datetime) -> list[dict[str, Any]]:
    """The freezes that hold now or begin within a day."""
    return [
        {
            "id": one.id,
            "from": stamp(one.begins),
            "until": stamp(one.until),
            "reason": one.reason,
            "holds": one.holds(now),
        }
        for one in (policy.freezes if policy else ())
        if one.holds(now) or now <= one.begins < now + _DAY
    ]


@dataclass
class Notices:
    """Runs a program for each approval that is waited for, each bypass, and each request that a person must look at.

    Args:
        ledger: where they are found.
        signals: what says that there may be something new.
        program: an executable's path.
        repo: the infra repository, where the program runs.
    """

    ledger: Ledger
    signals: Signals
    program: str
    repo: Path
    _told: set[str] = field(default_factory=set)
    _since: str = field(default_factory=lambda: stamp(utc()))  # of bypasses that are told

    async def run(self) -> None:
        """Tell what is new at every signal, until cancelled."""
        self._told = {_key(one) for one in await self._stuck()}  # they were told when they ended
        while True:
            with self.signals.waiter(PARKED_CHANGED) as woken:
                try:
                    await self.look()
                except InfraError as error:  # the ledger, which the next signal may find again
                    _log.warning("notices could not be given: %s", error.what)
                await woken.wait()

    async def look(self) -> None:
        """Tell what was not told yet."""
        waiting = [one for one in await self.ledger.parked() if one.state is State.AWAITING_APPROVAL]
        found = {_key(one): _values(one) for one in (*waiting, *await self._stuck())}
        events = (await self.ledger.search("", circle=None, kind=BYPASSED, since=self._since)).events
        found |= {f"event {one.seq}": _bypass(one) for one in events}
        new = [values for key, values in found.items() if key not in self._told]
        self._told = set(found)
        for values in new:
            await self._tell(values)

    async def _stuck(self) -> list[Request]:
        return await self.ledger.unresolved(_NEWEST)

    async def _tell(self, values: Mapping[str, Any]) -> None:
        given = json.dumps(self.ledger.masker.mask_json(dict(values))).encode() + b"\n"
        try:
            done = await process.run(
                [self.program], cwd=self.repo, env=without_tokens(), seconds=_SECONDS, given=given, max_output=1 << 20
            )
        except OSError as error:
            _log.warning("%s cannot be started: %s", named(self.program), error.strerror)
            return
        if done.code or done.timed_out:
            why = f"took longer than {_SECONDS:g} s" if done.timed_out else f"ended with {done.code}"
            said = one_line(self.ledger.masker.mask(done.err.decode("utf-8", "replace")), _MAX_REASON)
            _log.warning("the notice of %s was not given: %s %s: %s", values["request"], named(self.program), why, said)


def _bypass(event: Event) -> dict[str, Any]:
    """What a notice says of an approval that an operator gave without the others whom a rule wants."""
    known = {"about": "bypass", "request": event.request, "by": event.peer, "at": event.at}
    return known | {"reason": event.text, "look": f"infra-mcp dashboard requests/{event.request}"}


def _key(request: Request) -> str:
    return f"{request.id} {request.state} {request.effect_digest}"


def _about(request: Request) -> dict[str, Any]:
    asker = {"action": request.action.action, "by": request.caller.name, "circle": request.caller.circle}
    return {"request": request.id} | asker | {"words": request.reason or request.words}


def _values(request: Request) -> dict[str, Any]:
    """What a notice says: as the first page of the dashboard, and the command that decides."""
    waiting = waiting_for(request) if request.state is State.AWAITING_APPROVAL else None
    if waiting is None:
        return (
            {"about": "look"}
            | _about(request)
            | {
                "state": request.state.value,
                "message": (request.receipt or {}).get("message"),
                "look": f"infra-mcp request show {request.id}",
                "resolve": f"infra-mcp request resolve {request.id} REASON",
            }
        )
    return (
        {"about": "approval"}
        | _about(request)
        | {
            "effect_digest": waiting.digest,
            "until": waiting.until,
            "rule": waiting.verdict.rule,
            "reason": waiting.verdict.reason,
            "look": f"infra-mcp dashboard requests/{request.id}/approval",
            "decide": f"infra-mcp approve {request.id} {waiting.digest}",
        }
    )


def _at_the_forge(request: Request) -> dict[str, Any]:
    """A pull request that people merge, or one that takes a change back."""
    reverts, record = request.state is State.REVERTING, record_of(request)
    mine = record.reversal if reverts else record.proposal
    known = {"about": "revert" if reverts else "merge"} | _about(request)
    return known | {"url": mine.url if mine else "", "until": mine.until if mine else ""}
