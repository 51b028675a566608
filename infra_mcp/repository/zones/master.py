"""Zone files in the form of RFC 1035, section 5, changed by spans: one hunk a place, and the serial is raised.

The entries found here are compared with what dnspython reads of the same text, before an edit and after it: a text
that the two read differently is not edited.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

import dns.exception
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.ttl
import dns.zone

from infra_mcp.clients.dns.text import relative, rrset, spelled
from infra_mcp.model.rrset import APEX, RRset, absolute
from infra_mcp.repository.changes import natural
from infra_mcp.repository.nodes import Unreadable, decode
from infra_mcp.repository.zones.entries import Entry, Token, entries_of

_SERIALS: Final = 2**32


def read(data: bytes, zone: str, name: str | None = None) -> list[RRset]:
    """The record sets of a zone, or of one name of it.

    Raises:
        Unreadable: it is no zone file, with the line.
    """
    text = decode(data)
    _lint(text, zone)
    held: dict[tuple[str, str], list[Entry]] = {}
    for one in entries_of(text, zone):
        if name is None or one.name == name:
            held.setdefault(one.key, []).append(one)
    return [rrset(zone, *key, min(e.ttl for e in each), [e.value for e in each]) for key, each in held.items()]


def lint(data: bytes, zone: str) -> None:
    """Whether a server would load the zone: one SOA, name servers, no CNAME beside other data.

    Raises:
        Unreadable: it would not, with the line where that is known.
    """
    _lint(decode(data), zone)


def _lint(text: str, zone: str) -> dns.zone.Zone:
    try:
        return dns.zone.from_text(text, zone, relativize=False, check_origin=True, allow_include=False)
    except dns.zone.NoSOA:
        raise Unreadable(1, f"it has no SOA record of {zone}") from None
    except dns.zone.NoNS:
        raise Unreadable(1, f"it has no NS record of {zone}") from None
    except (dns.exception.DNSException, ValueError, KeyError) as error:
        found = re.search(r":(\d+): ?", str(error))
        why = "a record is malformed, outside the zone, or beside a CNAME"
        raise Unreadable(int(found[1]) if found else 1, why) from None


def edited(data: bytes, zone: str, before: RRset | None, after: RRset | None) -> bytes:
    """The file with one record set changed, added (`before` None) or removed (`after` None), and the serial raised.

    Raises:
        Unreadable: the file cannot be read, or not edited without changing more.
    """
    one = after or before
    if one is None:
        return data
    text = decode(data)
    known = _known(_lint(text, zone))
    entries = list(entries_of(text, zone))
    if _counted(entries) != known:
        raise Unreadable(1, "it has records that are generated or written in a way that is not edited")
    mine = [entry for entry in entries if entry.key == one.key]
    made = _raised(_changed(text, entries, mine, after, zone) if mine else _added(text, entries, one, zone), zone)
    wanted = Counter({key: count for key, count in known.items() if key[:2] != one.key})
    if after is not None:
        wanted.update((after.name, after.type, after.ttl, text) for text in after.values)
    if _known(_lint(made, zone)) != wanted:
        raise Unreadable(1, "a change here would change more than was asked")
    return made.encode()


def raised(data: bytes, zone: str, above: int) -> bytes:
    """The file with its serial above another one.

    Raises:
        Unreadable: the file cannot be read.
    """
    text = decode(data)
    while _serial(text, zone)[1] <= above:
        text = _raised(text, zone, above)
    return text.encode()


def serial_of(data: bytes, zone: str) -> int:
    """The serial of a zone file.

    Raises:
        Unreadable: it has no SOA record that can be read.
    """
    return _serial(decode(data), zone)[1]


_Known = Counter[tuple[str, str, int | None, str]]


def _known(zone: dns.zone.Zone) -> _Known:
    """Every record as dnspython reads it, but for the SOA record."""
    found: _Known = Counter()
    origin = zone.origin.to_text(omit_final_dot=True) if zone.origin else ""
    for name, rdataset in zone.iterate_rdatasets():
        kind = dns.rdatatype.to_text(rdataset.rdtype)
        if kind != "SOA":
            found.update((relative(name.to_text(), origin), kind, rdataset.ttl, spelled(one)) for one in rdataset)
    return found


def _counted(entries: list[Entry]) -> _Known:
    """The same, as the entries say it: a record set has the least of its records' TTLs."""
    least: dict[tuple[str, str], int] = {}
    for one in entries:
        least[one.key] = min(one.ttl, least.get(one.key, one.ttl))
    distinct = {(one.name, one.type, one.value) for one in entries if one.type != "SOA"}
    return Counter((name, kind, least[name, kind], text) for name, kind, text in distinct)


# -- splices


def _changed(text: str, entries: list[Entry], mine: list[Entry], after: RRset | None, zone: str) -> str:
    """The text with the records of one name and type changed in place, with more lines or without some."""
    wanted = list(after.values) if after else []
    kept = [one for one in mine if one.value in wanted]
    gone = [one for one in mine if one not in kept]
    wanted = [value for value in wanted if value not in {one.value for one in kept}]
    cuts: list[tuple[int, int, str]] = []
    swapped: list[Entry] = []
    for one in gone:
        if wanted:
            cuts.append((one.data[0].start, one.data[-1].end, _data(wanted.pop(0), one)))
            swapped.append(one)
        else:
            cuts += _without(text, [other for other in entries if other not in gone], one)
    staying = [one for one in mine if one in kept or one in swapped]
    if after is not None and after.ttl is not None:
        for one in staying:
            if one.ttl != after.ttl:
                cuts.append(_with_ttl(one, after.ttl))
    if wanted and after is not None:
        last = staying[-1] if staying else mine[-1]
        cuts.append((last.end, last.end, "".join(_row(text, last, after, value, zone) for value in wanted)))
    return _spliced(text, cuts)


def _with_ttl(one: Entry, ttl: int) -> tuple[int, int, str]:
    if one.ttl_at is not None:
        return one.ttl_at.start, one.ttl_at.end, str(ttl)
    first = next(token for token in one.tokens if token is not one.owner)
    return first.start, first.start, f"{ttl} "


def _without(text: str, staying: list[Entry], one: Entry) -> list[tuple[int, int, str]]:
    """The lines of a record removed; the next that stays names its owner, where it took it from this one."""
    following = next((other for other in staying if other.start >= one.end), None)
    cuts = [(one.start, one.end, "")]
    if one.owner is not None and following is not None and following.owner is None:
        blank = following.tokens[0].start - following.start
        owner = one.owner.text
        pad = (
            " " * max(blank - len(owner), 1) if "\t" not in text[following.start : following.tokens[0].start] else "\t"
        )
        cuts.append((following.start, following.tokens[0].start, owner + pad))
    return cuts


def _added(text: str, entries: list[Entry], one: RRset, zone: str) -> str:
    """The text with records of a new name or type: after its own name, in order where the file is, else at the end."""
    names = [entry for entry in entries if entry.name == one.name and entry.type != "SOA"]
    after = names[-1] if names else _place(entries, one)
    while (following := next((e for e in entries if e.start >= after.end), None)) and following.owner is None:
        after = following  # what follows takes its owner from this one
    like = after if names else _alike(entries, after, one)
    rows = "".join(_row(text, like, one, value, zone) for value in one.values)
    end = after.end
    if text[end - 1 : end] != "\n":
        rows = "\n" + rows.removesuffix("\n")
    return text[:end] + rows + text[end:]


def _alike(entries: list[Entry], after: Entry, one: RRset) -> Entry:
    """The record to take the columns from: one of the type, without a TTL of its own where the new one needs none."""
    plain = [e for e in entries if e.owner and e.ttl_at is None and (e.ttl, e.origin) == (one.ttl, after.origin)]
    of_type = [e for e in plain if e.type == one.type]
    before = [e for e in plain if e.end <= after.end and e.type != "SOA"]
    return next(iter([*of_type[::-1], *before[::-1]]), after)


def _place(entries: list[Entry], one: RRset) -> Entry:
    """The record after which a new name goes."""
    names = [entry for entry in entries if entry.name != APEX and entry.type != "SOA"]
    order = [natural(entry.name) for entry in names]
    if len(names) > 2 and order == sorted(order):  # noqa: PLR2004 - three in order are no accident
        smaller = [entry for entry in names if natural(entry.name) <= natural(one.name)]
        return smaller[-1] if smaller else [entry for entry in entries if entry.start < names[0].start][-1]
    return entries[-1]


def _row(text: str, like: Entry, one: RRset, value: str, zone: str) -> str:
    """A line for a record, in the columns of another one."""
    line = text[like.start : like.end]
    owner = like.owner.text if like.owner is not None and like.name == one.name else _owner(one.name, like.origin, zone)
    pieces: list[tuple[int, str]] = []  # where each begins in the other's line, and its text
    for token in like.tokens:
        at = token.start - like.start
        if token is like.owner:
            continue
        if token is like.ttl_at:
            pieces.append((at, str(one.ttl)))
        elif token is like.type_at:
            pieces.append((at, one.type))
        elif token in like.data:
            pieces.append((at, _data(value, like)))
            break
        else:
            pieces.append((at, token.text))
    if like.ttl_at is None and one.ttl is not None and one.ttl != like.ttl:
        pieces.insert(0, (pieces[0][0], str(one.ttl)))
    if "\n" in line.rstrip("\n"):
        return " ".join([owner, *(piece for _, piece in pieces)]) + "\n"
    if "\t" in line[: like.type_at.start - like.start]:
        return "\t".join([owner, *(piece for _, piece in pieces)]) + "\n"
    row = owner
    for at, piece in pieces:
        row = row.ljust(at) if len(row) < at else f"{row} "
        row += piece
    return row + "\n"


def _owner(name: str, origin: str, zone: str) -> str:
    """A name as the text writes it where this origin is in force."""
    if origin == f"{zone}.":
        return name
    whole = dns.name.from_text(absolute(name, zone))
    base = dns.name.from_text(origin)
    return whole.relativize(base).to_text() if whole.is_subdomain(base) else whole.to_text()


def _data(value: str, like: Entry) -> str:
    """A value as its neighbour writes one: names of the zone are relative where the neighbour's is."""
    written = like.data[-1].text
    ending = f".{like.origin}"
    if like.type in {"CNAME", "MX", "SRV", "PTR", "NS"} and not written.endswith(".") and value.endswith(ending):
        return value.removesuffix(ending)
    return value


def _raised(text: str, zone: str, above: int = -1) -> str:
    """The text with the next serial (RFC 1982): one more, also where it is made of a date."""
    token, number = _serial(text, zone)
    fresh = max(number, above) + 1
    return _spliced(text, [(token.start, token.end, str(fresh % _SERIALS or 1))])


def _serial(text: str, zone: str) -> tuple[Token, int]:
    soa = next((one for one in entries_of(text, zone) if one.type == "SOA"), None)
    if soa is None:
        raise Unreadable(1, f"it has no SOA record of {zone}")
    return soa.data[2], int(soa.data[2].text)


def _spliced(text: str, cuts: list[tuple[int, int, str]]) -> str:
    for start, end, new in sorted(cuts, reverse=True):
        text = text[:start] + new + text[end:]
    return text
