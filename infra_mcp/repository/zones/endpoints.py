"""Zones as external-dns reads them from a cluster: the endpoints of DNSEndpoint objects.

Source: external-dns, `apis/v1alpha1` and `endpoint/endpoint.go`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from infra_mcp.clients.dns.text import plain, relative, rrset
from infra_mcp.model.rrset import RRset, absolute
from infra_mcp.repository.changes import sorted_place
from infra_mcp.repository.edit import rewrite
from infra_mcp.repository.nodes import compose, decode, values
from infra_mcp.repository.zones.fault import ZoneFault

KIND: Final = "DNSEndpoint"
GROUP: Final = "externaldns.k8s.io"
_TYPES: Final = ("A", "AAAA", "CNAME", "MX", "NS", "PTR", "SRV", "TXT")


def read(data: bytes, zone: str, name: str | None = None) -> list[RRset]:
    """The record sets that the objects of a file give to a zone, or to one name of it.

    Raises:
        Unreadable: the file cannot be read.
        ZoneFault: an endpoint is not well formed.
    """
    return _records(values(compose(decode(data))), zone, name)


def of_object(live: dict[str, Any], zone: str) -> dict[tuple[str, str], RRset]:
    """The record sets that one object gives to a zone, by name and type.

    Raises:
        ZoneFault: an endpoint is not well formed.
    """
    return {one.key: one for one in _records([live], zone)}


def _records(documents: list[Any], zone: str, name: str | None = None) -> list[RRset]:
    objects = [one for one in documents if isinstance(one, dict) and one.get("kind") == KIND]
    entries = [one for held in objects for one in _held(held) if isinstance(one, dict) and _type(one) in _TYPES]
    found = [(_name(one, zone), one) for one in entries]
    return [_rrset(one, at, zone) for at, one in found if at is not None and name in {None, at}]


def _type(endpoint: dict[str, Any]) -> str:
    return str(endpoint.get("recordType", "")).upper()


def _name(endpoint: dict[str, Any], zone: str) -> str | None:
    """Its name in the zone; None where it is outside."""
    try:
        return relative(str(endpoint.get("dnsName", "")).rstrip(".") + ".", zone)
    except ValueError:
        return None


def _rrset(one: dict[str, Any], name: str, zone: str) -> RRset:
    kind, targets, ttl = _type(one), one.get("targets"), one.get("recordTTL")
    try:
        if not isinstance(targets, list) or not all(isinstance(target, str) for target in targets):
            msg = "has no list of targets"
            raise ValueError(msg)  # noqa: TRY301 - told like the other faults of a record
        return rrset(zone, name, kind, ttl or None, [_text(kind, target) for target in targets])
    except ValueError as error:
        raise ZoneFault(f"the {kind} endpoint of {name} {error}") from None


def _text(kind: str, target: str) -> str:
    """A target as zone files write it: its names are absolute, with a dot at their end or without."""
    return target if kind in {"A", "AAAA", "TXT"} else target.rstrip(".") + "."


def edited(data: bytes, zone: str, before: RRset | None, after: RRset | None) -> bytes:
    """The file with one record set changed, added to its first object (`before` None) or removed (`after` None).

    Raises:
        Unreadable: the place cannot be changed without changing more.
        ZoneFault: several endpoints have the name and type, or no object could take a new one.
    """
    one = after or before
    if one is None:
        return data
    documents = values(compose(decode(data)))
    kinds = [at for at, held in enumerate(documents) if isinstance(held, dict) and held.get("kind") == KIND]
    there = [at for at in kinds if _matching(_held(documents[at]), zone, one)]
    if len(there) > 1 or not kinds:
        raise ZoneFault(_shared(one) if there else f"no {KIND} is there to take the {one.type} record of {one.name}")
    number = (there or kinds)[0]
    return rewrite(data, [(number, ("spec", "endpoints"), replaced(_held(documents[number]), zone, one, after))])


def replaced(endpoints: list[Any], zone: str, one: RRset, after: RRset | None) -> list[Any]:
    """The endpoints of an object with one record set changed, added or removed (`after` None); the others stay.

    Raises:
        ZoneFault: several endpoints have the name and type.
    """
    there = _matching(endpoints, zone, one)
    if len(there) > 1 or any(endpoints[at].get("setIdentifier") for at in there):
        raise ZoneFault(_shared(one))
    if after is None:
        return [held for at, held in enumerate(endpoints) if at not in there]
    if not there:
        names = [str(held.get("dnsName", "")) for held in endpoints]
        place = sorted_place(names, _dns_name(after, zone, endpoints))
        return [*endpoints[:place], _new(after, zone, endpoints), *endpoints[place:]]
    changed = endpoints[there[0]] | dict(_changes(endpoints[there[0]], after, zone))
    return [changed if at in there else held for at, held in enumerate(endpoints)]


def _held(document: dict[str, Any]) -> list[Any]:
    found: list[Any] = (document.get("spec") or {}).get("endpoints") or []
    return found


def _matching(endpoints: list[Any], zone: str, one: RRset) -> list[int]:
    """The indexes of the endpoints of a name and type."""
    entries = [(at, held) for at, held in enumerate(endpoints) if isinstance(held, dict)]
    return [at for at, held in entries if (_name(held, zone), _type(held)) == one.key]


def _shared(one: RRset) -> str:
    return f"several endpoints share the {one.type} record of {one.name}"


def _dns_name(one: RRset, zone: str, others: list[Any]) -> str:
    dotted = any(str(other.get("dnsName", "")).endswith(".") for other in others if isinstance(other, dict))
    name = absolute(one.name, zone)
    return name if dotted else name.rstrip(".")


def _new(one: RRset, zone: str, others: list[Any]) -> dict[str, Any]:
    ttl = {} if one.ttl is None else {"recordTTL": one.ttl}
    targets = [_target(one.type, value) for value in one.values]
    return {"dnsName": _dns_name(one, zone, others), **ttl, "recordType": one.type, "targets": targets}


def _target(kind: str, value: str) -> str:
    """A value as external-dns reads it. SRV's and NAPTR's end in a dot, other names need none."""
    if kind == "TXT":
        return plain(value)
    return value if kind == "SRV" else value.removesuffix(".")


def _changes(endpoint: dict[str, Any], after: RRset, zone: str) -> Iterator[tuple[str, Any]]:
    """The keys of an endpoint that get other values: targets that stay keep their place and spelling."""
    if after.ttl is not None and endpoint.get("recordTTL") != after.ttl:
        yield "recordTTL", after.ttl
    wanted, kept = list(after.values), []
    for target in endpoint["targets"]:
        text = rrset(zone, after.name, after.type, None, [_text(after.type, target)]).values[0]
        if text in wanted:
            wanted.remove(text)
            kept.append(target)
    if wanted or len(kept) < len(endpoint["targets"]):
        for value in wanted:
            target = _target(after.type, value)
            kept.insert(sorted_place(kept, target), target)
        yield "targets", kept
