"""Which servers a zone is delegated to, as the servers of its parent zone say (RFC 1034, section 4.2)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.resolver

from infra_mcp.clients.dns.server import PORT, NoAnswer, Server, exchange
from infra_mcp.errors import Unavailable
from infra_mcp.gather import gather

_MAX_PARENTS: Final = 3  # servers of the parent that are asked, until one answers
_MAX_SERVERS: Final = 20
_ADDRESSES: Final = ("A", "AAAA")


async def delegation(zone: str, resolver: Server | None = None, port: int = PORT) -> list[Server]:
    """The servers that the parent zone names for a zone, each with an address; none where it names none.

    Args:
        zone: the zone's name.
        resolver: a recursive server; by default the first one of this machine.
        port: of the authoritative servers.

    Raises:
        Unavailable: neither the resolver nor a server of the parent answers.
    """
    resolver = resolver or _system()
    parents = await _parents(zone, resolver, port)
    for parent in parents[:_MAX_PARENTS]:
        query = dns.message.make_query(zone, "NS", flags=0)
        try:
            reply = (await exchange(parent, [query]))[0]
        except NoAnswer:
            continue
        names = _targets(reply, zone)
        glue = {
            rrset.name: [one.to_text() for one in rrset]
            for rrset in reply.additional
            if dns.rdatatype.to_text(rrset.rdtype) in _ADDRESSES
        }
        missing = [name for name in names if name not in glue]
        found = dict(zip(missing, await gather(partial(_addresses, name, resolver) for name in missing), strict=True))
        known = {name: (glue | found).get(name, []) for name in names}
        return [
            Server(address, port, name.to_text(omit_final_dot=True)) for name in names for address in known[name][:1]
        ][:_MAX_SERVERS]
    raise Unavailable(
        "zone-unreachable", f"No server of the zone above {zone} answers, so its delegation is not known."
    )


async def _parents(zone: str, resolver: Server, port: int) -> list[Server]:
    """The servers of the closest zone above."""
    name = dns.name.from_text(zone)
    while name != dns.name.root:
        name = name.parent()
        reply = await _asked(resolver, name, "NS")
        if names := _targets(reply, name):
            several = await gather(partial(_addresses, one, resolver) for one in names[:_MAX_PARENTS])
            return [Server(address, port) for addresses in several for address in addresses[:1]]
    return []


def _targets(reply: dns.message.Message, zone: str | dns.name.Name) -> list[dns.name.Name]:
    """The name servers of a zone in an answer or a referral."""
    owner = dns.name.from_text(zone) if isinstance(zone, str) else zone
    found = [
        rrset for rrset in (*reply.answer, *reply.authority) if rrset.name == owner and rrset.rdtype == dns.rdatatype.NS
    ]
    return sorted({dns.name.from_text(one.to_text()) for rrset in found for one in rrset})


async def _addresses(name: dns.name.Name, resolver: Server) -> list[str]:
    replies = await gather(partial(_asked, resolver, name, kind) for kind in _ADDRESSES)
    return list(_texts(replies))


def _texts(replies: Iterable[dns.message.Message]) -> Iterable[str]:
    for reply in replies:
        for rrset in reply.answer:
            if dns.rdatatype.to_text(rrset.rdtype) in _ADDRESSES:
                yield from (one.to_text() for one in rrset)


async def _asked(resolver: Server, name: dns.name.Name, kind: str) -> dns.message.Message:
    return (await exchange(resolver, [dns.message.make_query(name, kind, flags=dns.flags.RD)]))[0]


def _system() -> Server:
    try:
        found = dns.resolver.get_default_resolver().nameservers
    except dns.exception.DNSException:
        found = []
    if not found:
        raise Unavailable("zone-unreachable", "This machine has no resolver, so the zone's delegation is not known.")
    return Server(str(found[0]))
