"""Reads what a zone's primary answers about record sets: themselves, what stands beside them, and whose they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from infra_mcp.clients.dns.server import Answer, Server, ask
from infra_mcp.drivers.dns.markers import TXT, our_place, places
from infra_mcp.drivers.dns.records import Key
from infra_mcp.errors import InfraError, Unavailable
from infra_mcp.model.rrset import APEX, TYPES, RRset, same
from infra_mcp.policy.kinds import ZoneRules

_BESIDE: Final = (*TYPES, "NS")
_SILENT: Final = frozenset({"it answers SERVFAIL"})  # it may be well again in a moment


@dataclass(frozen=True)
class Seen:
    """One record set as the primary answers it."""

    live: RRset | None
    by_wildcard: bool  # whether a wildcard's record set is the same, so that there may be none of this name
    beside: tuple[str, ...]  # other types at the name
    mark: RRset | None  # the texts at the place of our mark
    texts: dict[str, RRset | None] = field(repr=False)  # the texts at every place of marks


@dataclass(frozen=True)
class View:
    """What a primary answers about several record sets."""

    seen: dict[Key, Seen]
    negative: int  # seconds for which caches keep that there is none (RFC 2308)


async def look(server: Server, zone: str, rules: ZoneRules, keys: Sequence[Key]) -> View:
    """Ask the primary about record sets, all on one connection.

    Raises:
        Unavailable: it did not answer, or cannot now: that is never taken for an absent record.
        InfraError: `zone-denied`: it is not authoritative for the zone, or for a name of it.
    """
    questions = [(APEX, "SOA")]
    for name, kind in keys:
        questions += [(name, one) for one in dict.fromkeys((kind, *_BESIDE))]
        questions += [(one, kind) for one in wildcards(name)]
        questions += [(one, TXT) for one in places(rules, name, kind)]
    distinct = list(dict.fromkeys(questions))
    answers = dict(zip(distinct, await ask(server, zone, distinct), strict=True))
    soa = answers[APEX, "SOA"]
    if soa.rrset is None and soa.problem not in _SILENT:
        what = f"{server} is not authoritative for {zone}: {soa.problem or 'it has no SOA record of it'}."
        raise InfraError("zone-denied", what)
    for (name, kind), answer in answers.items():
        require(server, zone, name, kind, answer)
    negative = min(soa.rrset.ttl or 0, int(soa.rrset.values[0].split()[6])) if soa.rrset else 0
    return View({key: _seen(rules, key, answers) for key in keys}, negative)


def require(server: Server, zone: str, name: str, kind: str, answer: Answer) -> None:
    """Refuse an answer that says neither what there is nor that there is nothing.

    Raises:
        Unavailable: the server cannot answer now.
        InfraError: `zone-denied`.
    """
    if answer.problem in _SILENT:
        raise Unavailable("zone-unreachable", f"{server} cannot answer about {name} of {zone} now.")
    if answer.problem:
        what = f"{server} does not say what {name} {kind} of {zone} is: {answer.problem}."
        raise InfraError("zone-denied", what)


def _seen(rules: ZoneRules, key: Key, answers: dict[Key, Answer]) -> Seen:
    name, kind = key
    live = answers[key].rrset
    covering = [answers[one, kind].rrset for one in wildcards(name)]
    by_wildcard = live is not None and any(same(live.model_copy(update={"name": w.name}), w) for w in covering if w)
    beside = tuple(one for one in _BESIDE if one != kind and answers[name, one].rrset is not None)
    if answers[key].alias is not None:
        beside = ("CNAME", *beside)
    texts = {place: answers[place, TXT].rrset for place in places(rules, name, kind)}
    return Seen(live, by_wildcard, tuple(dict.fromkeys(beside)), answers[our_place(*key), TXT].rrset, texts)


def wildcards(name: str) -> Iterable[str]:
    """The wildcards that could answer for a name, the closest first: RFC 4592."""
    if name == APEX or name.startswith("*"):
        return []
    labels = name.split(".")
    return [".".join(["*", *labels[at:]]) for at in range(1, len(labels) + 1)]
