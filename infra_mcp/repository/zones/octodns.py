"""Zones as octoDNS reads them: names with their records, in YAML. Our own `dns/{zone}.yaml` has this form, too.

Source: octoDNS 1.22, `docs/records.md` and `octodns/provider/yaml.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from infra_mcp.clients.dns.text import plain, relative, rrset
from infra_mcp.model.rrset import APEX, RRset
from infra_mcp.repository.changes import natural, sorted_place
from infra_mcp.repository.edit import ABSENT, rewrite
from infra_mcp.repository.nodes import Unreadable, compose, decode, values
from infra_mcp.repository.partial import get_path
from infra_mcp.repository.scalars import Json
from infra_mcp.repository.spans import SourceText
from infra_mcp.repository.styles import lines
from infra_mcp.repository.zones.fault import ZoneFault

DEFAULT_TTL: Final = 3600  # of octoDNS' YamlProvider, where a record has none
_POOLS: Final = ("dynamic", "geo")  # what such a record answers is decided elsewhere in it
# The keys of values that are maps, in the order of the zone file's fields; octoDNS also reads the older names.
_FIELDS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "MX": (("preference", "priority"), ("exchange", "value")),
    "SRV": (("priority",), ("weight",), ("port",), ("target",)),
    "CAA": (("flags",), ("tag",), ("value",)),
}
_NUMBERS: Final = frozenset({"preference", "priority", "weight", "port", "flags"})


@dataclass(frozen=True)
class _Entry:
    """One record set and where it stands."""

    key: str  # the name, as the file has it
    index: int | None  # in the name's list; None where the name has one record
    data: dict[str, Any]

    @property
    def type(self) -> str:
        return str(self.data.get("type", "")).upper()


def read(data: bytes, zone: str, name: str | None = None) -> list[RRset]:
    """The record sets of a zone, or of one name of it.

    Raises:
        Unreadable: the file cannot be read.
        ZoneFault: a record is not well formed.
    """
    entries = (one for one in _entries(values(compose(decode(data)))) if one.type in {*_FIELDS, *_OTHERS})
    found = [_rrset(one, zone) for one in entries if name is None or _name(one.key, zone) == name]
    if len({one.key for one in found}) < len(found):
        (twice, _), *_ = Counter(one.key for one in found).most_common(1)
        raise ZoneFault(f"the {twice[1]} record of {twice[0]} stands twice")
    return found


_OTHERS: Final = ("A", "AAAA", "CNAME", "NS", "PTR", "TXT")


def _entries(documents: list[Any]) -> Iterator[_Entry]:
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise Unreadable(1, "it is not one map of names")
    for key, held in documents[0].items():
        if isinstance(held, list):
            yield from (_Entry(key, at, one) for at, one in enumerate(held) if isinstance(one, dict))
        elif isinstance(held, dict):
            yield _Entry(key, None, held)


def _name(key: str, zone: str) -> str:
    try:
        return relative(key, zone)
    except ValueError:
        return key


def _rrset(one: _Entry, zone: str) -> RRset:
    data, kind = one.data, one.type
    held = data.get("values", data.get("value"))
    each = held if isinstance(held, list) else [held]
    ttl = data.get("ttl", DEFAULT_TTL)
    try:
        if type(ttl) is not int or ttl < 0:
            msg = "has a TTL that is no number of seconds"
            raise ValueError(msg)  # noqa: TRY301 - told like the other faults of a record
        return rrset(zone, one.key, kind, ttl, [_text(kind, value) for value in each])
    except ValueError as error:
        raise ZoneFault(f"the {kind} record of {one.key or APEX} {error}") from None


def _text(kind: str, value: Json) -> str:
    """A value as zone files write it."""
    if kind in _FIELDS and isinstance(value, dict):
        fields = [next((str(value[key]) for key in keys if key in value), "") for keys in _FIELDS[kind]]
        if kind == "CAA":
            fields[2] = '"' + fields[2].replace('"', '\\"') + '"'
        return " ".join(fields)
    if not isinstance(value, str):
        msg = "has a value of another form than octoDNS reads"
        raise ValueError(msg)  # noqa: TRY004 - told like the other faults of a record
    if kind == "TXT":
        bare = value[1:-1] if value.startswith('"') else value  # as octoDNS reads it
        return bare.replace('" "', "").replace("\\;", ";")
    return value


def edited(data: bytes, zone: str, before: RRset | None, after: RRset | None, comment: str = "") -> bytes:
    """The file with one record set changed, added (`before` None) or removed (`after` None); the rest stays.

    Args:
        data: the file; empty for a new one.
        zone: the zone.
        before: what the file has.
        after: what it shall have.
        comment: written above a new name, where most names of the file have a comment.

    Raises:
        Unreadable: the place cannot be changed without changing more.
        ZoneFault: the record is one whose values are decided elsewhere.
    """
    one = after or before
    if one is None:
        return data
    if not data.strip() or not any(values(compose(decode(data)))):
        return ("---\n" + "\n".join(lines({_key(one): _new(one)})) + "\n").encode()
    read(data, zone, one.name)
    documents = values(compose(decode(data)))
    entries = list(_entries(documents))
    there = [entry for entry in entries if _name(entry.key, zone) == one.name]
    mine = next((entry for entry in there if entry.type == one.type), None)
    if mine and any(key in mine.data for key in _POOLS):
        raise ZoneFault(f"the {one.type} record of {one.name} has pools, which decide what it answers")
    if after is None:
        return data if mine is None else _removed(data, documents[0], mine)
    if mine is not None:
        at = (mine.key,) if mine.index is None else (mine.key, mine.index)
        changes = dict(_changes(mine.data, after, zone))
        if "ttl" not in mine.data and "ttl" in changes:
            data = _inserted(data, at, "ttl", changes.pop("ttl"))
        return rewrite(data, [(0, (*at, key), value) for key, value in changes.items()])
    if not there:
        return _commented(_inserted(data, (), _key(after), _new(after)), _key(after), comment)
    return rewrite(data, [(0, (there[0].key,), _beside(documents[0][there[0].key], after))])


def _inserted(data: bytes, at: tuple[str | int, ...], key: str, value: Json) -> bytes:
    """The file with a new key in a map: where the keys are in order, as octoDNS wants it, in its place; else last."""
    text = SourceText(decode(data), compose(decode(data)), as_json=False)
    wanted = values(text.roots)
    held = get_path(wanted[0], at)[1]
    place = len(held)
    orders: tuple[Callable[[str], Any], ...] = (natural, str)
    for order in orders:
        keys = [order(each) for each in held]
        if keys == sorted(keys):
            place = sum(each <= order(key) for each in keys)
            break
    cut = text.insert(text.walk(0, at)[-1], place, key, value)
    made = text.text[: cut.start] + cut.text + text.text[cut.end :]
    held[key] = value
    if values(compose(made)) != wanted:
        raise Unreadable(text.text.count("\n", 0, cut.start) + 1, "a key cannot be added here without changing more")
    return made.encode()


def _beside(held: Any, one: RRset) -> list[Any]:  # noqa: ANN401 - what the file has
    """The records of a name with one more, in the order of their types."""
    if isinstance(held, dict):
        return sorted([held, _new(one)], key=lambda record: str(record.get("type", "")).upper())
    place = sorted_place([str(record.get("type", "")) for record in held], one.type)
    return [*held[:place], _new(one), *held[place:]]


def _key(one: RRset) -> str:
    return "" if one.name == APEX else one.name


def _new(one: RRset) -> dict[str, Any]:
    """A record in octoDNS' own order of keys."""
    each = [_value(one.type, value) for value in one.values]
    held: dict[str, Any] = {"value": each[0]} if len(each) == 1 else {"values": each}
    return {"ttl": DEFAULT_TTL if one.ttl is None else one.ttl, "type": one.type, **held}


def _value(kind: str, text: str) -> Json:
    """A value as octoDNS writes it."""
    if kind == "TXT":
        return plain(text).replace(";", "\\;")
    if kind not in _FIELDS:
        return text
    parts = text.split(" ", len(_FIELDS[kind]) - 1)
    named = {keys[0]: part for keys, part in zip(_FIELDS[kind], parts, strict=True)}
    if kind == "CAA":
        named["value"] = named["value"].strip('"').replace('\\"', '"')
    found: dict[str, Any] = {key: int(part) if key in _NUMBERS else part for key, part in sorted(named.items())}
    return found


def _changes(data: dict[str, Any], after: RRset, zone: str) -> Iterator[tuple[str, Any]]:
    """The keys of a record that get other values: values that stay keep their place and spelling."""
    if data.get("ttl", DEFAULT_TTL) != after.ttl and after.ttl is not None:
        yield "ttl", after.ttl
    held = data.get("values", data.get("value"))
    each = held if isinstance(held, list) else [held]
    wanted, kept = list(after.values), []
    for value in each:
        text = rrset(zone, APEX, after.type, None, [_text(after.type, value)]).values[0]
        if text in wanted:
            wanted.remove(text)
            kept.append(value)
    if not wanted and len(kept) == len(each):
        return
    for text in wanted:
        value = _value(after.type, text)
        if len(kept) == len(each) or isinstance(value, dict):
            kept.insert(sorted_place(kept, value), value)
        else:
            kept.append(value)
    if "values" not in data and len(kept) == 1:
        yield "value", kept[0]
    else:
        if "value" in data:
            yield "value", ABSENT
        yield "values", kept


def _removed(data: bytes, names: dict[str, Any], mine: _Entry) -> bytes:
    held = names[mine.key]
    if mine.index is not None and len(held) > 1:
        return rewrite(data, [(0, (mine.key, mine.index), ABSENT)])
    if len(names) == 1:
        return b"---\n{}\n"
    return rewrite(_without_comment(data, mine.key), [(0, (mine.key,), ABSENT)])


def _line(data: bytes, key: str) -> tuple[list[str], int]:
    """The lines of a file, and the index of the one with a name's key."""
    text = decode(data)
    steps = SourceText(text, compose(text), as_json=False).walk(0, (key,))
    holder = steps[-1].holder
    if holder is None:
        raise Unreadable(1, "the name is not there")
    return text.splitlines(keepends=True), holder.pairs[steps[-1].position][0].line - 1


def _without_comment(data: bytes, key: str) -> bytes:
    """The file without the comment directly above a name; the one that begins the file is about all of it."""
    rows, at = _line(data, key)
    first = at
    while first and rows[first - 1].startswith("#"):
        first -= 1
    if not any(row.strip() and not row.startswith(("#", "---")) for row in rows[:first]) and first < at:
        return data
    return "".join(rows[:first] + rows[at:]).encode()


def _commented(data: bytes, key: str, comment: str) -> bytes:
    """The file with a comment above a new name, where most of the others have one."""
    rows, at = _line(data, key)
    names = [i for i, row in enumerate(rows) if i and i != at and row[:1].strip(" #-:}\r\n")]
    with_comment = sum(rows[i - 1].startswith("#") for i in names)
    if not comment or with_comment * 2 <= len(names):
        return data
    ending = "\r\n" if rows[at].endswith("\r\n") else "\n"
    return "".join([*rows[:at], f"# {comment}{ending}", *rows[at:]]).encode()
