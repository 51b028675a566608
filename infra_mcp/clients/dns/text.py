"""Records in the text form of zone files (RFC 1035, section 5), in the one spelling that the product compares."""

from __future__ import annotations

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype

from infra_mcp.model.rrset import APEX, RRset

_CHUNK = 255  # bytes in one string of a TXT record (RFC 1035, section 3.3)
# Names in the data of these compare without regard to case (RFC 4034, section 6.2).
_OF_NAMES = frozenset({"CNAME", "DNAME", "MX", "NS", "PTR", "SRV", "SOA"})


def rrset(zone: str, name: str, kind: str, ttl: int | None, values: list[str] | tuple[str, ...]) -> RRset:
    """A record set from texts, checked and in its one spelling; values are sorted and each is there once.

    Args:
        zone: the zone, without a dot at its end.
        name: relative to the zone, or absolute with a dot at its end.
        kind: the type, in any case.
        ttl: seconds; None where it is open.
        values: the records' data as zone files write it; names in it are relative to the zone without a dot at their
            end. A TXT value may be plain text, without quotes.

    Raises:
        ValueError: a name, type or value is not well formed; the message does not repeat it.
    """
    origin = dns.name.from_text(zone)
    found = sorted({value(kind, one, origin) for one in values})
    return RRset(name=relative(name, zone), type=kind.upper(), ttl=ttl, values=tuple(found))


def value(kind: str, text: str, origin: dns.name.Name) -> str:
    """One record's data in its one spelling.

    Raises:
        ValueError: it is not well formed.
    """
    kind = kind.upper()
    if kind in {"TXT", "SPF"} and not text.startswith('"'):
        return quoted(text)
    try:
        made = dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.from_text(kind), text, origin, relativize=False)
    except (dns.exception.DNSException, ValueError, OverflowError):
        msg = f"is not valid for type {kind}"
        raise ValueError(msg) from None
    return spelled(made)


def spelled(data: dns.rdata.Rdata) -> str:
    """A record's data as text, in its one spelling."""
    text = data.to_text()
    return text.lower() if dns.rdatatype.to_text(data.rdtype) in _OF_NAMES else text


def quoted(text: str) -> str:
    """Plain text as the strings of a TXT record, each of at most 255 bytes."""
    data = text.encode()
    chunks = [data[at : at + _CHUNK] for at in range(0, len(data), _CHUNK)] or [b""]
    return " ".join('"' + "".join(map(_escaped, chunk)) + '"' for chunk in chunks)


def plain(value: str) -> str:
    """The text of a TXT record, its strings joined; a byte that is no UTF-8 is escaped."""
    strings: tuple[bytes, ...] = dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.TXT, value).strings  # type: ignore[attr-defined]
    return b"".join(strings).decode("utf-8", "backslashreplace")


def _escaped(byte: int) -> str:
    if byte in b'"\\':
        return "\\" + chr(byte)
    return chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:03d}"  # noqa: PLR2004 - printable ASCII


def relative(name: str, zone: str) -> str:
    """A name relative to a zone, in small letters; `@` for the zone itself.

    Raises:
        ValueError: it is no name, or outside the zone.
    """
    origin = dns.name.from_text(zone)
    try:
        found = dns.name.from_text(name or APEX, origin, idna_codec=dns.name.IDNA_2008_Strict)
        if not found.is_subdomain(origin):
            msg = "is outside the zone"
            raise ValueError(msg)
        text = found.relativize(origin).to_text()
    except (dns.exception.DNSException, UnicodeError):
        msg = "is no name of a zone"
        raise ValueError(msg) from None
    return text.lower()
