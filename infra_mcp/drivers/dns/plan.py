"""Plans a share: its record sets compared with what the primary answers, each with whose it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydantic import JsonValue

from infra_mcp.clients.dns.update import Swap
from infra_mcp.drivers.base import Context, Prepared, Share
from infra_mcp.drivers.dns.backend import Backend
from infra_mcp.drivers.dns.look import Seen
from infra_mcp.drivers.dns.markers import MARK_TTL, TXT, is_marked, other_owner, our_place, our_text
from infra_mcp.drivers.dns.records import Desired, Key, Left, in_share, target_of
from infra_mcp.errors import InfraError
from infra_mcp.model.digest import digest
from infra_mcp.model.effect import Change, Drift, FieldChange
from infra_mcp.model.outcome import Written
from infra_mcp.model.rrset import RRset, same
from infra_mcp.policy.kinds import ZoneRules
from infra_mcp.policy.zones import beside_a_cname

_ALIAS: Final = "CNAME"
_ANY: Final = "ANY"


@dataclass(frozen=True)
class Planned:
    """One record set of the plan."""

    desired: Desired
    seen: Seen
    change: Change
    marks: bool  # whether our mark is to be there with it

    @property
    def live(self) -> RRset | None:
        """As it is answered now."""
        return self.seen.live


@dataclass(frozen=True)
class Work:
    """What the driver keeps from its plan."""

    zone: str
    records: tuple[Planned, ...]
    negative: int  # seconds for which caches keep that there is none
    swaps: tuple[Swap, ...] = ()
    absent: tuple[Key, ...] = ()
    own: Any = field(default=None, repr=False)  # the back end's

    @property
    def wanted(self) -> dict[Key, RRset | None]:
        """What the servers are to answer."""
        return {one.desired.key: one.desired.wanted for one in self.records}

    @property
    def stale(self) -> int:
        """Seconds for which caches may keep the former answers."""
        changed = [one for one in self.records if one.change.operation != "unchanged"]
        return max((one.live.ttl or 0 if one.live else self.negative for one in changed), default=0)


async def plan(backend: Backend, rules: ZoneRules, zone: str, context: Context, share: Share) -> Prepared:
    """Plan a share. Reads only; the same state gives the same changes.

    Raises:
        Unavailable: the primary does not answer.
        InfraError: `owned-elsewhere`, `exists`: a record set is another owner's; `policy-denied`: a CNAME beside other
            records; `zone-denied`, `setup-failed`.
    """
    wanted = in_share(context.policy, zone, share)
    view = await backend.look(context, [one.key for one in wanted])
    marks = backend.marks and rules.marker is not None
    for one in wanted:
        _require_ours(backend, rules, zone, one, view.seen[one.key], context)
    records = tuple(_planned(rules, zone, one, view.seen[one.key], marks=marks) for one in wanted)
    changing = [one for one in records if one.change.operation != "unchanged"]
    swaps, absent = tuple(_swaps(rules, changing)), tuple(_absent(changing))
    own = await backend.check(context, share, swaps, absent) if swaps else None
    return Prepared(
        changes=tuple(one.change for one in records),
        writes=tuple(_written(one) for one in changing),
        on_failure=share.goal.on_failure,
        timeout=share.goal.timeout,
        own=Work(zone, records, view.negative, swaps, absent, own),
        drift=tuple(_drift(zone, records)),
        notes=tuple(_notes(records)),
    )


def _planned(rules: ZoneRules, zone: str, one: Desired, seen: Seen, *, marks: bool) -> Planned:
    _require_alone(zone, one, seen)
    marks = marks and one.wanted is not None
    marked = is_marked(rules, seen.mark)
    fields = tuple(_fields(seen.live, one.wanted))
    if marks and not marked:
        fields += (FieldChange(path=("marker",), after=rules.marker, had=False),)
    elif marked and one.wanted is None:
        fields += (FieldChange(path=("marker",), before=rules.marker, has=False),)
    operation: Literal["create", "update", "delete", "unchanged"] = "update"
    if not fields:
        operation = "unchanged"
    elif one.wanted is None:
        operation = "delete"
    elif seen.live is None:
        operation = "create"
    change = Change(
        target=target_of(zone, one.key),
        operation=operation,
        fields=fields,
        checked="server-dry-run" if fields else "none",
        intent=digest([one.wanted.model_dump(mode="json") if one.wanted else None, rules.marker if marks else None]),
    )
    return Planned(one, seen, change, marks)


def _fields(live: RRset | None, wanted: RRset | None) -> Iterator[FieldChange]:
    had, has = live is not None, wanted is not None
    if not had and not has:
        return
    if live is None or not live.same_values(wanted):
        yield FieldChange(path=("values",), before=_listed(live), after=_listed(wanted), had=had, has=has)
    old, new = live.ttl if live else None, wanted.ttl if wanted else None
    if old != new and not (has and new is None):
        yield FieldChange(path=("ttl",), before=old, after=new, had=had, has=has)


def _listed(one: RRset | None) -> JsonValue:
    return list(one.values) if one else None


def _require_ours(backend: Backend, rules: ZoneRules, zone: str, one: Desired, seen: Seen, context: Context) -> None:
    """Refuse a record set that a mark says is another owner's, or that is live and was never ours."""
    name = f"{one.name} {one.type} of {zone}"
    if owner := other_owner(rules, seen.texts, backend.resources):
        what = f"{name} is owned by {owner}, as the TXT record beside it says."
        raise InfraError(
            "owned-elsewhere", what, next_step=f"Make the change where {owner.split(' ')[0]} takes it from."
        )
    ours = one.git is not None or is_marked(rules, seen.mark)
    ours |= any(Left.of(w).key == one.key and same(Left.of(w).after, seen.live) for w in _own(context, zone))
    if seen.live is None or ours or same(seen.live, one.wanted):
        return
    what = f"{name} is live ({', '.join(seen.live.values)[:200]}), and neither in the repository nor marked as ours."
    step = "Commit it to the zone's file as it is first, if it is to be changed here."
    raise InfraError("exists", what, next_step=step)


def _own(context: Context, zone: str) -> list[Written]:
    return [one for one in context.written if one.target.system == "dns" and one.target.place == zone]


def _require_alone(zone: str, one: Desired, seen: Seen) -> None:
    """Refuse a CNAME beside other data, which a server would drop without an error: RFC 2136, section 3.4.2.2."""
    if one.wanted is None or not seen.beside:
        return
    if one.type == _ALIAS or _ALIAS in seen.beside:
        raise beside_a_cname(zone, one.name, seen.beside)


def _swaps(rules: ZoneRules, changing: Sequence[Planned]) -> Iterator[Swap]:
    for one in changing:
        name, kind = one.desired.key
        if not same(one.live, one.desired.wanted):
            yield Swap(name, kind, one.live, _whole(one.desired.wanted, one.live))
        yield from mark_swap(rules, one.desired.key, one.seen.mark, wanted=one.marks)


def mark_swap(rules: ZoneRules, key: Key, mark: RRset | None, *, wanted: bool) -> Iterator[Swap]:
    """The change of the texts at our place, if our mark is to come or go; other texts there stay."""
    if wanted == is_marked(rules, mark) or rules.marker is None:
        return
    place, text = our_place(*key), our_text(rules)
    held = [one for one in (mark.values if mark else ()) if one != text] + ([text] if wanted else [])
    ttl = mark.ttl if mark else MARK_TTL
    after = RRset(name=place, type=TXT, ttl=ttl, values=tuple(sorted(held))) if held else None
    yield Swap(place, TXT, mark, after, only=True)


def _whole(wanted: RRset | None, live: RRset | None) -> RRset | None:
    """A record set with a TTL: the present one where the repository leaves it open."""
    if wanted is None or wanted.ttl is not None:
        return wanted
    return wanted.model_copy(update={"ttl": live.ttl if live else MARK_TTL})


def _absent(changing: Sequence[Planned]) -> Iterator[Key]:
    """What must not be there, for the server would drop the record: anything beside a CNAME, a CNAME beside others."""
    for one in changing:
        name, kind = one.desired.key
        if one.desired.wanted is not None and kind != _ALIAS:
            yield name, _ALIAS
        elif one.desired.wanted is not None and one.live is None:
            yield name, _ANY


def _written(one: Planned) -> Written:
    name, kind = one.desired.key
    left = Left(
        name=name,
        type=kind,
        before=one.live,
        after=_whole(one.desired.wanted, one.live),
        marked=any(field.path == ("marker",) for field in one.change.fields),
    )
    return Written(target=one.change.target, operation=one.change.operation, undo=left.undo())


def _drift(zone: str, records: Iterable[Planned]) -> Iterator[Drift]:
    """Where the repository and the servers differed before, though this change is about other values."""
    for one in records:
        git = one.desired.git
        if git is not None and not same(git, one.live):
            yield Drift(
                target=target_of(zone, one.desired.key), field=".values", git=_listed(git), live=_listed(one.live)
            )


def _notes(records: Iterable[Planned]) -> Iterator[str]:
    for one in records:
        if one.desired.git is None and one.live is not None and same(one.live, one.desired.wanted):
            yield f"{one.desired.name} {one.desired.type} is live already, and is imported into the repository as it is"
