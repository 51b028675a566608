"""A record set of a DNS zone: all records of one name and type (RFC 2181, section 5)."""

from __future__ import annotations

import re

from infra_mcp.model.names import Frozen

APEX = "@"
# A name's record sets of these types are looked at and written; others are only carried along.
TYPES = ("A", "AAAA", "CAA", "CNAME", "MX", "PTR", "SRV", "TXT")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)


class RRset(Frozen):
    """All records of one name and type.

    Names in it are relative to the zone and in small letters, `@` for the apex; names in values are absolute.
    """

    name: str
    type: str  # in capitals
    ttl: int | None  # seconds; None where the repository leaves it to the server
    values: tuple[str, ...]  # as zone files write them, in the order of `clients.dns.text`

    @property
    def key(self) -> tuple[str, str]:
        """Its name and type."""
        return self.name, self.type

    def same_values(self, other: RRset | None) -> bool:
        """Whether another one has the same records, whatever their TTL and the strings that a text is cut into."""
        return other is not None and sorted(map(_joined, self.values)) == sorted(map(_joined, other.values))

    def __str__(self) -> str:
        """As people read it: `www A 192.0.2.1 (TTL 300)`."""
        return f"{self.name} {self.type} {', '.join(self.values)}" + ("" if self.ttl is None else f" (TTL {self.ttl})")


def same(one: RRset | None, other: RRset | None) -> bool:
    """Whether two record sets are equal; a TTL that one of them leaves open is not compared."""
    if one is None or other is None:
        return one is other
    return one.same_values(other) and (None in {one.ttl, other.ttl} or one.ttl == other.ttl)


def absolute(name: str, zone: str) -> str:
    """A name of a zone with the zone's, and a dot at its end."""
    return f"{zone}." if name == APEX else f"{name}.{zone}."


def _joined(value: str) -> str:
    return "".join(_STRING.findall(value)) if value.startswith('"') else value
